//! Files of every kind, offered as a binary.

use std::os::unix::{fs::symlink, net::UnixListener};

use super::*;
use crate::artifact::{digest, elf::fixture::Fixture};

struct Bench {
    folder: tempfile::TempDir,
}

fn bench() -> Bench {
    Bench { folder: tempfile::tempdir().unwrap() }
}

fn program(name: &str) -> Vec<u8> {
    Fixture { interpreter: true, ..Fixture::new(name) }.build()
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn keep(&self, source: &Path) -> Result<Kept, BinaryError> {
        keep(source, &self.path("bin"))
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("bin")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[track_caller]
    fn refused(&self, source: &Path, words: &str) {
        let text = self.keep(source).unwrap_err().to_string();
        assert_eq!((text.as_str(), text.lines().count()), (words, 1));
        assert_eq!(self.kept(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_program_is_kept_by_its_content() {
    let bench = bench();
    let (one, two) = (program("one"), program("two"));
    let source = bench.put("hotseat", &one, 0o755);
    symlink("hotseat", bench.path("link")).unwrap();
    let kept = bench.keep(&bench.path("link")).unwrap();
    assert_eq!(kept.digest, digest(&one));
    assert_eq!(kept.path, bench.path("bin").join(digest(&one).to_string()));
    assert_eq!(fs::read(&kept.path).unwrap(), one);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&kept.path), mode(&bench.path("bin"))), (0o500, 0o700));
    // Again: the same content under the same name, but newer than it was.
    File::open(&kept.path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(bench.keep(&source).unwrap(), kept);
    assert_ne!(fs::metadata(&kept.path).unwrap().modified().unwrap(), std::time::UNIX_EPOCH);
    fs::write(&source, &two).unwrap();
    bench.keep(&source).unwrap();
    assert_eq!(bench.kept().len(), 2, "nothing else is left");
}

/// What lies under the name and cannot be it is replaced.
#[test]
fn a_damaged_copy_is_replaced() {
    let bench = bench();
    let source = bench.put("hotseat", &program("one"), 0o755);
    let kept = bench.keep(&source).unwrap();
    fs::remove_file(&kept.path).unwrap();
    bench.put(&format!("bin/{}", kept.digest), b"half", 0o500);
    assert_eq!(bench.keep(&source).unwrap(), kept);
    assert_eq!(fs::read(&kept.path).unwrap(), program("one"));
}

#[test]
fn what_is_no_program_is_refused() {
    let bench = bench();
    let good = program("good");
    bench.refused(&bench.path("nowhere"), "No such file or directory");
    bench.refused(&bench.put("empty", b"", 0o755), "it is empty");
    let text = bench.put("text", b"hello\n", 0o755);
    bench.refused(&text, "it is no ELF binary: it looks like text");
    bench.refused(&bench.put("plain", &good, 0o644), "not executable: run chmod +x");
    let library = bench.put("library", &Fixture::new("x").build(), 0o755);
    bench.refused(&library, "it is no program but a library");
    let mut other = good.clone();
    other[18] = 22;
    let own = if cfg!(target_arch = "x86_64") { "x86-64" } else { "aarch64" };
    let words = format!("it is built for s390x, this machine is {own}");
    bench.refused(&bench.put("other", &other, 0o755), &words);
    let half = bench.put("half", &good[..good.len() - 1], 0o755);
    let (size, wanted) = (good.len() - 1, good.len());
    bench
        .refused(&half, &format!("it is truncated: it has {size} bytes, its tables name {wanted}"));
}

#[test]
fn what_is_no_file_is_refused() {
    let bench = bench();
    bench.refused(bench.folder.path(), "it is a folder");
    let pipe = bench.path("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    // It returns: nobody will ever write there.
    bench.refused(&pipe, "it is a pipe");
    let socket = bench.path("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    bench.refused(&socket, "it is a socket");
    bench.refused(Path::new("/dev/null"), "it is a device");
    symlink("round", bench.path("round")).unwrap();
    bench.refused(&bench.path("round"), "Too many levels of symbolic links");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let bench = bench();
    let source = bench.put("hotseat", &program("one"), 0o755);
    let folder = bench.path("missing/bin");
    let text = keep(&source, &folder).unwrap_err().to_string();
    let words = "its copy cannot be kept: `";
    assert!(text.starts_with(words) && text.ends_with("`: No such file or directory"), "{text}");
}

#[test]
fn errors_of_the_system_are_told_plainly() {
    let text = |errno| unreadable(errno).to_string();
    assert_eq!(text(Errno::ACCESS), "permission denied");
    assert_eq!(text(Errno::PERM), "permission denied");
    let full = not_kept(Path::new("/x"), Errno::NOSPC.into(), 7).to_string();
    let words = "its copy cannot be kept: no space left on the device of `/x`: 7 bytes needed, ";
    assert!(full.starts_with(words), "{full}");
}

/// Nobody was there to remove it.
#[test]
fn what_a_dead_process_left_is_swept() {
    let bench = bench();
    let source = bench.put("hotseat", &program("one"), 0o755);
    fs::create_dir(bench.path("bin")).unwrap();
    // Beyond the largest process id of any kernel.
    let left = bench.put(&format!("bin/{TEMPORARY}99999999"), b"half", 0o500);
    let alive = bench.put(&format!("bin/{TEMPORARY}1"), b"half", 0o500);
    let kept = bench.keep(&source).unwrap();
    assert!(kept.path.exists() && alive.exists() && !left.exists());
}
