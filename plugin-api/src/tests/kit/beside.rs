//! Work beside requests by the kit's clock, and topics.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::HOUR;
use crate::{Context, Error, Handler, Request, Response, Result, TopicError, testing::Host};

/// All that happens is beside it.
struct Idle;

impl Handler for Idle {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::empty())
    }
}

/// A run that is longer than its period is alone: ticks that come meanwhile are left out.
#[test]
fn a_run_is_never_beside_another() {
    let moments = Arc::<Mutex<Vec<_>>>::default();
    let noted = moments.clone();
    let make = move |context: &Context| {
        let (own, made) = (context.clone(), context.now());
        let work = move || {
            let (context, noted) = (own.clone(), noted.clone());
            async move {
                let note = |what: &'static str| {
                    let halves = (context.now() - made).as_secs() / (HOUR / 2).as_secs();
                    noted.lock().unwrap().push((halves, what));
                };
                note("begins");
                context.sleep(HOUR * 5 / 2).await;
                note("ends");
            }
        };
        drop(context.every(HOUR, work)?);
        Ok::<_, Error>(Idle)
    };
    let kit = Host::made(make).start().unwrap();
    kit.advance(HOUR * 8);
    let moments = moments.lock().unwrap();
    let expected = [(2, "begins"), (7, "ends"), (8, "begins"), (13, "ends"), (14, "begins")];
    assert_eq!(*moments, expected);
}

#[test]
fn a_run_comes_whatever_the_last_has_done() {
    let runs = Arc::<AtomicUsize>::default();
    let counted = runs.clone();
    let make = move |context: &Context| {
        let work = move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match run % 3 {
                    0 => Err(Error::new("lost")),
                    1 => panic!("asked to"),
                    _ => Ok(()),
                }
            }
        };
        drop(context.every(HOUR, work)?);
        Ok::<_, Error>(Idle)
    };
    let kit = Host::made(make).start().unwrap();
    kit.advance(HOUR * 6);
    assert_eq!(runs.load(Ordering::Relaxed), 6);
    let lost = kit.logs().iter().filter(|it| it.to_string().contains("error=lost")).count();
    let panics: Vec<_> = kit.panics().into_iter().map(|it| it.message).collect();
    assert_eq!((lost, panics), (2, vec!["asked to".to_owned(); 2]));
}

#[test]
fn a_topic_needs_a_name() {
    let make = |context: &Context| {
        for (length, is_one) in [(0, false), (1, true), (128, true), (129, false)] {
            let named = context.topic("x".repeat(length)).map(|it| it.name().len());
            assert_eq!(named, if is_one { Ok(length) } else { Err(TopicError::BadName) });
        }
        Ok::<_, Error>(Idle)
    };
    Host::made(make).start().unwrap();
}
