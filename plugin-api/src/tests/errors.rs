//! Errors of an application's own kind, and futures that have no end: what has to compile, and runs.

use std::{error::Error as StdError, time::Duration};

use axum::Router;
use serde::Deserialize;

use crate::{
    Context, Error, Result,
    abi::{Str, root::Root},
    axum_host,
    export::NoRuntime,
    service::{prepare_nothing, root},
    testing::Host,
};

#[derive(Deserialize)]
struct Settings {
    room: String,
}

/// An application that asks its context for everything that can fail, with that error, and what an
/// export makes of it.
macro_rules! asking {
    ($name:ident, $error:ty) => {
        fn $name(context: &Context) -> Result<Router, $error> {
            let Settings { room } = context.config_as()?;
            context.cell("count").set_as(&1)?;
            context.cell("count").update_as(|count: Option<u8>| count.unwrap_or(0) + 1)?;
            let topic = context.topic(&room)?;
            let subscription = topic.subscribe()?;
            topic.publish("made")?;
            drop(context.spawn(async move { drop(subscription) })?);
            drop(context.every(Duration::from_secs(60), || async {})?);
            context.cells()?;
            Ok(Router::new())
        }

        const _: Root = root(Str::new(b"\0"), $name, prepare_nothing, &NoRuntime);
    };
}

asking!(with_ours, Error);
asking!(with_anyhow, anyhow::Error);
asking!(with_eyre, eyre::Report);
asking!(with_boxed, Box<dyn StdError + Send + Sync>);
asking!(with_local, Box<dyn StdError>);

/// `?` takes what a context says, whatever kind of error the author has; and its text is the same.
#[test]
fn contexts_errors_are_taken_by_errors_of_any_kind() {
    macro_rules! check {
        ($($app:ident)*) => {$({
            let kit = axum_host!($app).config(r#"{"room": "a"}"#).start().unwrap();
            assert_eq!(kit.cells()["count"], b"2");
            assert_eq!(kit.published().len(), 1);
            let refused = axum_host!($app).start().unwrap_err();
            assert_eq!(
                refused.to_string(),
                "[plugin.test]: missing field `room` (there is no such table)"
            );
            let long = format!(r#"{{"room": "{}"}}"#, "x".repeat(1000));
            let refused = axum_host!($app).config(long).start().unwrap_err();
            assert!(refused.to_string().contains("topic"), "{refused}");
        })*};
    }
    check!(with_ours with_anyhow with_eyre with_boxed with_local);
}

/// A loop that nobody leaves has the type `!`, which has no name.
#[test]
fn futures_without_an_end_can_be_spawned() {
    let app = |context: &Context| {
        let (once, again) = (context.clone(), context.clone());
        drop(context.spawn(async move {
            loop {
                once.sleep(Duration::from_secs(1)).await;
                once.counter("seconds", 1.0, &[]);
            }
        })?);
        drop(context.every(Duration::from_secs(1), move || {
            let again = again.clone();
            async move {
                loop {
                    again.sleep(Duration::from_secs(1)).await;
                }
            }
        })?);
        drop(context.spawn(async { panic!("it has no other end") })?);
        Ok::<_, crate::SpawnError>(Router::new())
    };
    let kit = Host::service(app).start().unwrap();
    kit.advance(Duration::from_secs(3));
    assert_eq!(kit.metric("seconds"), Some(3.0));
    assert_eq!(kit.panics()[0].message, "it has no other end");
}
