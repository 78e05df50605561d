//! A line that a full disk has cut: what comes next, from whomever, begins on a line of its own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use hotseat_test_support::{eventually, fault, host};
use rustix::process::Signal;
use serde_json::{Map, Value};

use crate::hints::mounting;

/// Uses up the disk of `folder`; the file that does.
fn fill(folder: &Path) -> std::path::PathBuf {
    let filler = folder.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    filler
}

/// The worker has had a line cut and is killed: the other half never comes. The master and the next
/// worker write whole lines; a reader of the file loses that one line and no other.
#[test]
fn a_line_that_was_cut_stands_alone() {
    for redirect in [">>", ">"] {
        let prepare = format!(
            "mkdir -m 777 log && mount -t tmpfs -o size=128k,mode=0777 none log && \
             exec 2{redirect}log/log"
        );
        let Some(words) = mounting(&prepare) else { return };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let builder = host!().through(&words).arg("--log-format=json");
        let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
        let home = host.home().path();
        let log = format!("/proc/{}/root{}/log", host.pid(), home.display());
        let (folder, log) = (Path::new(&log), Path::new(&log).join("log"));
        let read = || fs::read_to_string(&log).unwrap();
        let filler = fill(folder);
        // Until the last page of the file is full, and a line is cut by its end.
        let is_cut = || {
            let refused = host.deploy(&fault("new_fails"), "libhandler_v2.so");
            refused.assert_refused(422, "new_failed");
            !read().ends_with('\n')
        };
        eventually!(is_cut(), "{}", read());
        let worker = host.worker_pid();
        host.signal_process(worker, Signal::KILL);
        host.wait_other_worker(worker);
        fs::remove_file(filler).unwrap();
        eventually!(read().contains("ended unasked"), "{}", read());
        eventually!(read().matches("a worker serves").count() == 2, "{}", read());
        host.deploy(&fault("plain_v2"), "libhandler_v3.so").swapped();
        eventually!(
            read().ends_with('\n') && read().contains("handler v3 is serving"),
            "{}",
            read()
        );
        let text = read();
        let record = |line: &str| serde_json::from_str::<Map<String, Value>>(line).ok();
        let bad: Vec<_> =
            text.lines().filter(|it| !it.is_empty() && record(it).is_none()).collect();
        assert!(bad.len() <= 1, "{bad:#?}");
        assert!(bad.iter().all(|it| it.matches("\"timestamp\"").count() <= 1), "{bad:#?}");
        let whole = |word: &str| {
            let told = |it: Map<String, Value>| it["message"].as_str().unwrap().contains(word);
            text.lines().filter_map(record).any(told)
        };
        assert!(whole("a worker has ended unasked"), "{text}");
    }
}
