//! Client commands against a real control plane on a socket.

use std::{path::PathBuf, thread, time::Duration};

use tokio::{net::UnixListener, sync::watch};

use super::*;
use crate::{
    admin::{self, Door, Listener, testing},
    config::{Listen, raw::address::ListenAt},
    deploy::{condition::Condition, desk::Outcome, order::Order},
    ids::Generation,
};

fn seven() -> Condition {
    Condition::generation(Generation(7))
}

/// As typed.
fn at(at: Listen, json: bool) -> RemoteArgs {
    RemoteArgs { control: vec![ListenAt(at)], config: None, json }
}

pub(in crate::cli) struct Host {
    folder: tempfile::TempDir,
    door: watch::Sender<Door>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Host {
    fn start(outcome: impl Fn(&Order) -> Outcome + Send + 'static) -> Self {
        Self::with(move || testing::working(outcome))
    }

    /// The plane is made on the thread that serves it.
    pub(in crate::cli) fn with(plane: impl FnOnce() -> testing::Plane + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (door, opened) = watch::channel(Door::Open);
        let (ready, bound) = std::sync::mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = Listener::Unix(UnixListener::bind(path).unwrap());
                ready.send(()).unwrap();
                let router = plane().router;
                admin::serve(vec![listener], router, opened, 0).await;
            });
        });
        bound.recv_timeout(Duration::from_secs(10)).unwrap();
        Self { folder, door, thread: Some(thread) }
    }

    pub(in crate::cli) fn remote(&self, json: bool) -> RemoteArgs {
        let path: PathBuf = self.folder.path().join("control");
        at(Listen::Unix(path), json)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The thread may have ended by a panic of its own, which the join shows.
        self.door.send_replace(Door::Closed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn orders_are_sent_as_typed_and_answered_with_a_code() {
    let here = std::env::current_dir().unwrap();
    let host = Host::start(move |order| match order {
        Order::Deploy { path, force: true, .. } if *path == here.join("x y.so") => {
            Ok(testing::swapped())
        }
        Order::Deploy { condition, .. } if *condition == seven() => Ok(testing::swapped()),
        Order::Unload { plugin, condition } if plugin.as_str() == "echo" => match condition {
            Condition::None => Ok(testing::swapped()),
            given if *given == seven() => Err(testing::refusal(Kind::Condition)),
            _ => Err(testing::refusal(Kind::Host)),
        },
        Order::Rollback { plugin: None, to: None, condition: Condition::None } => {
            Ok(testing::swapped())
        }
        Order::Rollback { condition, .. } if *condition == seven() => {
            Err(testing::refusal(Kind::Condition))
        }
        Order::Rollback { plugin: Some(_), to: Some(_), .. } => {
            Err(testing::refusal(Kind::Conflict))
        }
        Order::Rollback { .. } => Err(testing::refusal(Kind::Host)),
        _ => Err(testing::refusal(Kind::Busy)),
    });
    for json in [false, true] {
        let path: PathBuf = "x y.so".into();
        let to_load = |force, if_generation| LoadArgs {
            path: path.clone(),
            force,
            if_generation,
            remote: host.remote(json),
        };
        assert_eq!(load(to_load(true, None)), DONE);
        assert_eq!(load(to_load(false, None)), FAILED);
        assert_eq!(load(to_load(false, Some(7))), DONE);
        let name: PluginName = "echo".parse().unwrap();
        let to_unload = |if_generation| UnloadArgs {
            name: name.clone(),
            if_generation,
            remote: host.remote(json),
        };
        assert_eq!(unload(to_unload(None)), DONE);
        assert_eq!(unload(to_unload(Some(7))), REFUSED);
        let back = |name: Option<&PluginName>, to| RollbackArgs {
            name: name.cloned(),
            to,
            if_generation: None,
            remote: host.remote(json),
        };
        assert_eq!(rollback(back(None, None)), DONE);
        let conditional = RollbackArgs { if_generation: Some(7), ..back(Some(&name), Some(3)) };
        assert_eq!(rollback(conditional), REFUSED);
        assert_eq!(rollback(back(Some(&name), Some(3))), REFUSED);
        assert_eq!(rollback(back(Some(&name), None)), FAILED);
        assert_eq!(status(&host.remote(json)), DONE);
        assert_eq!(history(HistoryArgs { limit: 3, remote: host.remote(json) }), DONE);
    }
}

#[test]
fn pages_are_shown_as_they_come() {
    let host = Host::start(|_| Err(testing::refusal(Kind::Host)));
    let ask = |json| {
        let whom = find(&host.remote(json)).unwrap();
        let (method, path, body) = (Method::GET, "/v1/status".to_owned(), String::new());
        client::ask(&whom, Question { method, path, body, json }).unwrap().body
    };
    assert!(ask(false).starts_with("hotseat 0.1.0, serving, pid 4242, up "));
    assert!(ask(true).starts_with("{\n  \"version\": \"0.1.0\",\n  \"pid\": 4242,\n"));
}

#[test]
fn nobody_there_is_a_failure_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Listen::Unix(folder.path().join("nobody"));
    for (clue, ends) in [(None, "with `--control`"), (Some("a clue"), "with `--control`; a clue")] {
        let whom = Whom { at: nobody.clone(), clue: clue.map(str::to_owned) };
        let (method, path, body) = (Method::GET, "/".to_owned(), String::new());
        let error = client::ask(&whom, Question { method, path, body, json: false }).unwrap_err();
        assert!(error.to_string().starts_with("cannot connect to the host at unix:/"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("is the host running? ") && hint.ends_with(ends), "{hint}");
    }
    assert_eq!(status(&at(nobody, true)), FAILED);
}

#[test]
fn a_path_that_is_not_text_is_refused_here() {
    use std::os::unix::ffi::OsStringExt;
    let path = PathBuf::from(std::ffi::OsString::from_vec(b"a\xff.so".to_vec()));
    let remote = at(Listen::Unix("/nowhere".into()), false);
    assert_eq!(load(LoadArgs { path, force: false, if_generation: None, remote }), REFUSED);
}
