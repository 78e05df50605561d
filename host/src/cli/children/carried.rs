//! Open artifacts that a master hands to a check, on its standard input.
//!
//! Owns nothing of them. Whoever starts the command by hand hands nothing over.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt::socket_type;

use crate::{
    ids::Digest,
    link::{Channel, Order, Received},
    sys::inherited,
};

/// For a master to say what it has; it has said so before it does anything else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Artifacts by their content.
#[derive(Debug, Default)]
pub(super) struct Carried(BTreeMap<Digest, File>);

impl Carried {
    /// Takes what there is.
    pub(super) fn take() -> Self {
        let mut carried = Self::default();
        let input = inherited::standard_input().ok().filter(|it| socket_type(it).is_ok());
        let Some(channel) = input.and_then(|input| Channel::adopt(input).ok()) else {
            return carried;
        };
        while let Ok(Received::Message(Order::Carry { digests }, given)) =
            channel.receive_within(PATIENCE)
        {
            carried.add(&digests, given);
        }
        carried
    }

    fn add(&mut self, digests: &[String], given: Vec<OwnedFd>) {
        for (digest, bytes) in digests.iter().zip(given) {
            if let Ok(digest) = digest.parse() {
                self.0.insert(digest, File::from(bytes));
            }
        }
    }

    /// How large one is. Units: bytes.
    pub(super) fn size(&self, digest: Digest) -> Option<u64> {
        Some(self.0.get(&digest)?.metadata().ok()?.len())
    }

    /// The bytes of one, and where other processes of this account find it as long as this one
    /// lives.
    pub(super) fn find(&self, digest: Digest) -> Option<(Arc<[u8]>, PathBuf)> {
        let file = self.0.get(&digest)?;
        let bytes = read(file).ok().filter(|bytes| crate::artifact::digest(bytes) == digest)?;
        // Without `/proc` it has no name, and the folder is asked.
        Some((bytes.into(), place_of(file)?))
    }

    /// Where other processes find what was handed over by this name, which need be no digest of it.
    pub(super) fn place(&self, name: &str) -> Option<PathBuf> {
        place_of(self.0.get(&name.parse().ok()?)?)
    }
}

fn place_of(file: &File) -> Option<PathBuf> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Some(PathBuf::from(path)).filter(|it| it.exists())
}

/// By position: the offset is shared with every process that has this file open.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
