//! The file with the master's process id, for whoever wants to signal it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::sys::{path::PathError, start::give_mode};

/// Everybody may know the number; whoever could change it would choose what is signalled.
const MODE: u32 = 0o644;

/// The file; removed with the value, if it still names this process.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it whole: whoever reads it finds a number or no file.
    pub(super) fn write(path: &Path) -> Result<Self, PathError> {
        let written = Self::write_whole(path);
        written.map_err(|error| PathError::new("write the pid file", path, "--pid-file", error))
    }

    fn write_whole(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}", std::process::id()));
        // An earlier process of this number may have left one that cannot be written to.
        let _ = fs::remove_file(&part);
        let mut file = File::create_new(&part)?;
        let written = give_mode(&file, MODE).and_then(|()| file.write_all(content().as_bytes()));
        written.and_then(|()| fs::rename(&part, &path)).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        Ok(Self(path))
    }

    /// One that an earlier image of this process has written.
    pub(super) fn remembered(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

fn content() -> String {
    format!("{}\n", std::process::id())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another host may have taken the name meanwhile.
        if fs::read_to_string(&self.0).is_ok_and(|text| text == content()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_removed_unless_it_is_somebody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
