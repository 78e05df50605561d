//! A socket pair that carries whole messages and descriptors.
//!
//! Owns framing: one datagram a message, JSON inside; a large one travels in a memory file. Never
//! blocks unless it is told to.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Descriptors of one message. Source: the kernel's `SCM_MAX_FD` is 253.
pub const DESCRIPTORS_MAX: usize = 200;

/// Larger messages travel in a memory file. Units: bytes; well below the least send buffer.
const INLINE_MAX: usize = 32 << 10;

const INLINE: u8 = 0;
const IN_FILE: u8 = 1;

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<T> {
    /// A message and what came with it.
    Message(T, Vec<OwnedFd>),
    /// Something that this build does not understand.
    Garbled(String),
    /// Nothing at the moment.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// A message on its way out.
#[derive(Debug)]
pub struct Packet {
    kind: u8,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Packet {
    /// Packs `message` and copies of `descriptors`.
    ///
    /// # Errors
    /// No descriptor or memory is left.
    pub fn new<T: Serialize>(message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let mut bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut copies = Vec::with_capacity(descriptors.len() + 1);
        let mut kind = INLINE;
        if bytes.len() > INLINE_MAX {
            kind = IN_FILE;
            let mut file = File::from(memfd_create("hotseat-message", MemfdFlags::CLOEXEC)?);
            file.write_all(&bytes)?;
            copies.push(OwnedFd::from(file));
            bytes.clear();
        }
        for descriptor in descriptors {
            copies.push(descriptor.try_clone_to_owned()?);
        }
        Ok(Self { kind, bytes, descriptors: copies })
    }
}

impl Channel {
    /// Two ends, closed on exec, that never block.
    ///
    /// # Errors
    /// The system's own.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// The end that a process was given.
    ///
    /// # Errors
    /// The system's own.
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket })
    }

    /// Another descriptor of it, to wait for.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// The descriptor itself.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends without waiting. False: there is no room now.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn try_send(&self, packet: &Packet) -> io::Result<bool> {
        let descriptors: Vec<BorrowedFd<'_>> = packet.descriptors.iter().map(AsFd::as_fd).collect();
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let parts = [IoSlice::new(std::slice::from_ref(&packet.kind)), IoSlice::new(&packet.bytes)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&self.socket, &parts, &mut control, flags) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends, waiting for room at most `patience`.
    ///
    /// # Errors
    /// The other side is gone, or does not read.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> io::Result<()> {
        let packet = Packet::new(message, descriptors)?;
        let end = std::time::Instant::now() + patience;
        while !self.try_send(&packet)? {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait(PollFlags::OUT, left)?;
        }
        Ok(())
    }

    /// Receives, waiting at most `patience`.
    ///
    /// # Errors
    /// The system's own.
    pub fn receive_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> io::Result<Received<T>> {
        match self.receive()? {
            Received::Nothing => {
                self.wait(PollFlags::IN, patience)?;
                self.receive()
            }
            received => Ok(received),
        }
    }

    fn wait(&self, flags: PollFlags, patience: Duration) -> io::Result<()> {
        let time = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next message, if there is one.
    ///
    /// # Errors
    /// The system's own.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        let mut bytes = vec![0; INLINE_MAX + 1];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        // Told once, before the last words: the other side has gone without hearing everything.
        let received = match recvmsg(&self.socket, parts, &mut control, flags) {
            Err(Errno::CONNRESET) => recvmsg(&self.socket, parts, &mut control, flags),
            received => received,
        };
        let read = match received {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(list) = message {
                descriptors.extend(list);
            }
        }
        // A message has at least the byte that says where it is.
        if read == 0 {
            return Ok(Received::Closed);
        }
        let text = if bytes[0] == IN_FILE && !descriptors.is_empty() {
            let mut file = File::from(descriptors.remove(0));
            let mut text = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut text)?;
            text
        } else {
            bytes[1..read].to_vec()
        };
        Ok(match serde_json::from_slice(&text) {
            Ok(message) => Received::Message(message, descriptors),
            Err(error) => Received::Garbled(error.to_string()),
        })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_their_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        let large = "x".repeat(1 << 20);
        let (null, _) = Channel::pair().unwrap();
        for text in ["small", &large] {
            one.send(&text, &[null.as_fd(), null.as_fd()], Duration::ZERO).unwrap();
        }
        for text in ["small", &large] {
            let Received::Message(got, with) = other.receive::<String>().unwrap() else { panic!() };
            assert_eq!((got.as_str(), with.len()), (text, 2));
        }
        assert!(matches!(other.receive::<String>().unwrap(), Received::Nothing));
        one.send(&7, &[], Duration::ZERO).unwrap();
        assert!(matches!(other.receive::<String>().unwrap(), Received::Garbled(_)));
        drop(one);
        assert!(matches!(other.receive::<String>().unwrap(), Received::Closed));
    }

    #[test]
    fn the_last_words_of_who_did_not_listen_are_heard() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&"not read", &[], Duration::ZERO).unwrap();
        other.send(&"last", &[], Duration::ZERO).unwrap();
        drop(other);
        let Received::Message(got, _) = one.receive::<String>().unwrap() else { panic!() };
        assert_eq!(got, "last");
        assert!(matches!(one.receive::<String>().unwrap(), Received::Closed));
    }

    #[test]
    fn a_reader_that_does_not_read_does_not_block() {
        let (one, other) = Channel::pair().unwrap();
        let packet = Packet::new(&"x".repeat(INLINE_MAX - 2), &[]).unwrap();
        let mut sent = 0;
        while one.try_send(&packet).unwrap() {
            sent += 1;
        }
        assert!(sent > 0);
        let Received::Message(..) = other.receive::<String>().unwrap() else { panic!() };
        assert!(one.try_send(&packet).unwrap());
    }
}
