//! What a candidate has to stand before a worker hears of it: staging, checking, binding.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    rc::Rc,
    time::Instant,
};

use super::{BINARIES, Failure, STEP_TIME, Step, failed};
use crate::{
    cells::CARGO,
    error::Coded as _,
    link::{
        Channel, MEMORY_SCHEMA, Order, PROTO, SETTINGS_CHILD, STAGE_CHILD,
        channel::{DESCRIPTORS_MAX, Packet},
        wire::{Checked, StagedBinary},
    },
    master::{
        Master, Plan,
        binary::{Pinned, Stamp},
        child::{Ended, Task},
        led::Cargo,
        origin::{self, open_workdir},
    },
    sys::{
        path::remedy,
        process::{random_word, shortage_of},
    },
    upgrade::Verdict,
};

impl Master {
    /// The operator's commands have ended; a failure of theirs is a veto.
    pub(in crate::master) fn hooks_before_upgrade_ended(&mut self, veto: Option<String>) {
        if let Some(veto) = veto {
            return self.fail(failed(Verdict::Preflight, format!("vetoed by a hook: {veto}")));
        }
        if let Err(failure) = self.stage() {
            self.fail(failure);
        }
    }

    pub(super) fn stage(&mut self) -> Result<(), Failure> {
        let folder = self.state.path().join(BINARIES);
        let time = self.plan.settings.limits.stage_time;
        let current = self.plan.binary.clone();
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        let source = &upgrade.source;
        let stamp = Stamp::of(source).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "put the binary there, or name another one with `--binary`".to_owned()
                }
                _ => remedy(source, &error, "--binary"),
            };
            let text = format!("binary `{}`: {error}", source.display());
            (Verdict::Preflight, text, Some(hint))
        })?;
        upgrade.stamp = Some(stamp);
        if current.source == *source && current.stamp == Some(stamp) {
            upgrade.binary = Some(current);
            return self.check();
        }
        // With the binary that runs: nothing of the candidate is trusted yet.
        let mut command = current.command();
        command.arg(STAGE_CHILD).arg(source).arg(folder);
        let task = Task::start(command, time).map_err(|error| {
            let text = format!("a copy of the binary cannot be made: {error}");
            (Verdict::Preflight, text, shortage_of(&error))
        })?;
        upgrade.step = Step::Staging(task);
        Ok(())
    }

    /// A child of the running upgrade has ended.
    pub(in crate::master) fn upgrade_task_ended(
        &mut self,
        (ended, token): (Ended, Option<String>),
    ) {
        let next = match token {
            None => self.staged(&ended),
            Some(token) => self.checked(&ended, &token),
        };
        if let Err(failure) = next {
            self.fail(failure);
        }
    }

    pub(super) fn staged(&mut self, ended: &Ended) -> Result<(), Failure> {
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        let text = |trouble: &str| format!("binary `{}`: {trouble}", upgrade.source.display());
        if !ended.trouble.is_empty() {
            // It prints one line of its own; the rest is how it ended.
            let said = ended.trouble.split_once(": ").map_or(&*ended.trouble, |(_, said)| said);
            return Err(failed(Verdict::Preflight, text(said)));
        }
        let staged: StagedBinary = serde_json::from_slice(&ended.answer)
            .map_err(|error| failed(Verdict::Preflight, text(&error.to_string())))?;
        let binary = Pinned::copy(&staged.path, staged.digest, &upgrade.source, upgrade.stamp)
            .map_err(|error| failed(Verdict::Preflight, text(&error.to_string())))?;
        upgrade.binary = Some(Rc::new(binary));
        self.check()
    }

    /// Has the candidate read the settings and try the plugins that serve.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let time = self.plan.settings.limits.check_time;
        let (workdir, held) = (self.origin.workdir.clone(), self.plan.workdir.clone());
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        let Some(binary) = &upgrade.binary else { return Ok(()) };
        // By its name, which a release may have pointed elsewhere.
        let opened = open_workdir(&workdir).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("the working directory `{}` is gone", workdir.display())
                }
                _ => format!("the working directory `{}`: {error}", workdir.display()),
            };
            let hint = "make it again: settings and plugins are looked for from there";
            (Verdict::Preflight, text, Some(hint.to_owned()))
        })?;
        // One descriptor for as many plans as are in the same place.
        let same = origin::same(opened.as_fd(), held.as_fd());
        upgrade.workdir = Some(if same { held } else { Rc::new(opened) });
        let args = self.origin.with_config(upgrade.pending.request.config.as_deref());
        let token = random_word();
        let mut command = binary.command();
        command.arg(SETTINGS_CHILD).arg(&token).args(&args).current_dir(workdir);
        let text = "the candidate cannot be started";
        let (ours, theirs) = Channel::pair()
            .map_err(|error| failed(Verdict::Preflight, format!("{text}: {error}")))?;
        command.stdin(theirs.into_socket());
        hand_over(&self.cargo, self.cells.as_ref(), &ours);
        let task = Task::start(command, time).map_err(|error| {
            (Verdict::Preflight, format!("{text}: {error}"), shortage_of(&error))
        })?;
        upgrade.step = Step::Checking(task, token);
        Ok(())
    }

    pub(super) fn checked(&mut self, ended: &Ended, token: &str) -> Result<(), Failure> {
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        if !ended.trouble.is_empty() {
            let text = format!("the check of the candidate failed: {}", ended.trouble);
            return Err(failed(Verdict::Preflight, text));
        }
        let checked: Checked = serde_json::from_slice(&ended.answer).map_err(|_| {
            let text = format!("`{}` is no hotseat of this kind", upgrade.source.display());
            failed(Verdict::Preflight, text)
        })?;
        if checked.token != token {
            return Err(failed(Verdict::Preflight, "the check repeats a token that is not ours"));
        }
        if checked.proto != PROTO {
            let text = format!(
                "the candidate speaks protocol {}, this master {PROTO}: restart the host instead",
                checked.proto
            );
            return Err(failed(Verdict::Preflight, text));
        }
        let state_dir = self.origin.workdir.join(&checked.settings.state_dir);
        let (here, there) = (self.state.path(), std::path::absolute(state_dir).ok());
        if there.as_deref() != Some(here) && !is_same(there.as_deref(), here) {
            let text = "the state folder cannot be changed while the host runs";
            return Err(failed(Verdict::Preflight, text));
        }
        for warning in &checked.warnings {
            tracing::warn!("{warning}");
        }
        let added = self
            .sockets
            .bind_missing(&checked.settings, &mut Vec::new())
            .map_err(|error| (Verdict::Preflight, error.to_string(), error.hint()))?;
        let args = self.origin.with_config(upgrade.pending.request.config.as_deref());
        let found = upgrade.binary.clone().zip(upgrade.workdir.clone());
        let Some((binary, workdir)) = found else { return Ok(()) };
        upgrade.added = added;
        upgrade.takes_memory = checked.memory == MEMORY_SCHEMA;
        upgrade.plan = Some(Rc::new(Plan {
            args,
            settings: checked.settings,
            file: checked.file,
            // Everything was read anew.
            standing: RefCell::default(),
            binary,
            version: checked.version,
            workdir,
        }));
        upgrade.step = Step::Freezing;
        let patience = self.plan.settings.limits.freeze_time + STEP_TIME;
        upgrade.due = Instant::now() + patience;
        let old = upgrade.old;
        if let Some(worker) = self.worker(old) {
            worker.tell(&Order::Freeze, &[]);
        }
        Ok(())
    }
}

/// Whether another name leads to the same folder.
fn is_same(there: Option<&Path>, here: &Path) -> bool {
    let open = |path: &Path| open_workdir(path).ok();
    let both = there.and_then(open).zip(open(here));
    both.is_some_and(|(there, here)| origin::same(there.as_fd(), here.as_fd()))
}

/// Lets a check see the artifacts and cells that are open here; it finds other artifacts in the state
/// folder.
fn hand_over(cargo: &Cargo, cells: Option<&OwnedFd>, channel: &Channel) {
    let open = cargo
        .iter()
        .filter_map(|(version, bytes)| Some((&*version.digest, bytes.as_ref()?.as_fd())));
    let open: Vec<_> = open.chain(cells.map(|it| (CARGO, it.as_fd()))).collect();
    for some in open.chunks(DESCRIPTORS_MAX) {
        let digests = some.iter().map(|(digest, _)| (*digest).to_owned()).collect();
        let bytes: Vec<_> = some.iter().map(|(_, bytes)| *bytes).collect();
        let sent = Packet::new(&Order::Carry { digests }, &bytes)
            .and_then(|packet| channel.try_send(&packet));
        if let Err(error) = sent {
            tracing::warn!(%error, "open artifacts are not handed to the check");
        }
    }
}
