//! The pid file: whoever reads it finds the master's process id, whole, or no file.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::*;

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Somebody who reads the file all the time, and what was found in it.
struct Reader {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Reader {
    fn of(path: PathBuf) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !end.load(Ordering::SeqCst) {
                seen.extend(read(&path));
                std::thread::yield_now();
            }
            seen
        });
        Self { ended, thread }
    }

    fn end(self) -> Vec<String> {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().unwrap().into_iter().collect()
    }
}

/// It names the master, over upgrades, is never half written, and goes at the end.
#[test]
fn the_pid_file_names_the_master() {
    let builder = whoami(quick(host!()));
    let path = builder.home().path().join("run").join("hotseat.pid");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let reader = Reader::of(path.clone());
    let mut host = builder.arg(format!("--pid-file={}", path.display())).start();
    let content = format!("{}\n", host.pid());
    assert_eq!(read(&path), Some(content.clone()));
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(read(&path), Some(content.clone()));
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left");
    assert_eq!(reader.end(), [content]);
}

/// It follows the settings, once they are committed.
#[test]
fn the_pid_file_follows_the_settings() {
    let builder = whoami(quick(host!()));
    let path = |name: &str| builder.home().path().join(name);
    let text = |name: &str| format!("pid_file = '{}'\n", path(name).display());
    let mut host = builder.clone().config(&text("one.pid")).start();
    let content = Some(format!("{}\n", host.pid()));
    assert_eq!(read(&path("one.pid")), content);
    host.home().rewrite_config(&text("two.pid"));
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!((read(&path("one.pid")), read(&path("two.pid"))), (None, content.clone()));
    // An upgrade that fails changes nothing.
    host.home().rewrite_config(&format!("{}nonsense = 1\n", text("three.pid")));
    host.upgrade(&["--wait"]).assert_code(3);
    assert_eq!((read(&path("two.pid")), read(&path("three.pid"))), (content, None));
    host.home().rewrite_config("");
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(read(&path("two.pid")), None);
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
}

/// A file that cannot be written: the host does not start, and says why.
#[test]
fn a_pid_file_that_cannot_be_written_is_an_error() {
    let (status, log) = host!().arg("--pid-file=/no/such/folder/pid").start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("write the pid file"), "{log}");
}

/// One that never comes to serve leaves none behind.
#[test]
fn a_host_that_does_not_come_up_leaves_no_pid_file() {
    let taken = listener();
    let address = taken.local_addr().unwrap().to_string();
    let builder = host!().listen(&[&address]);
    let path = builder.home().path().join("pid");
    let (status, log) = builder.arg(format!("--pid-file={}", path.display())).start_in_vain();
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(read(&path), None);
}
