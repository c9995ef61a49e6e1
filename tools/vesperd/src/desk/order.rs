// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request that has been accepted and is not answered yet.

use std::sync::Arc;
use std::time::Instant;

use vesper_action::{ModuleName, Outcome};
use vesper_api::{Attached, Detached, Done, Errno, ErrorKind, Failure, GuestRef, Loaded, Unloaded};
use vesper_config::rules::Probe;
use vesper_grant::DomId;
use vesper_xenback::{GuestInfo, Uuid};

use crate::clients::ClientId;
use crate::failures::{self, label};
use crate::images::Seen;
use crate::logging::NOTICE;
use crate::view;

/// When what a rule wants is tried again.
const AGAIN: &str = "it is tried again when the guest connects anew, or at: systemctl reload vesperd";

/// What was asked.
#[derive(Debug)]
pub(super) enum What {
    Attach,
    Detach,
    Load(Box<Load>),
    Unload { module: String },
    Alive { module: Option<String>, now: bool },
}

/// A module to load.
#[derive(Debug)]
pub(super) struct Load {
    /// Its file: what a client called it (**client's text**), or where it was found.
    pub(super) file: String,
    pub(super) args: String,
    /// Its name; that of the file until the image has been looked at.
    pub(super) module: String,
    /// Of the image.
    pub(super) bytes: u64,
    /// Of the file.
    pub(super) seen: Seen,
}

impl Load {
    pub(super) fn of(file: String, args: String) -> Self {
        Self { module: file.clone(), file, args, bytes: 0, seen: Seen::default() }
    }
}

/// Who asked.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// A client, which waits for an answer; who that is, for the log.
    Client(ClientId, Arc<str>),
    /// A rule wants a probe in the guest; once more, after the guest had no time for it.
    Rule { probe: Arc<Probe>, again: bool },
}

/// The request, who asked, and the guest that it is pinned to.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) by: By,
    pub(super) domid: DomId,
    pub(super) uuid: Uuid,
    pub(super) guest: GuestRef,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) what: What,
}

impl Order {
    pub(super) fn is_of(&self, client: ClientId) -> bool {
        matches!(self.by, By::Client(by, _) if by == client)
    }

    pub(super) fn is_for(&self, domid: DomId) -> bool {
        self.domid == domid
    }

    /// The device is connected, as far as this order waits for that.
    pub(super) fn attached(&self, info: &GuestInfo, now: Instant) -> Done {
        Done::Attached(Attached {
            guest: self.guest.clone(),
            already: false,
            kernel: info.kernel_release.clone(),
            total_ms: self.millis(now),
        })
    }

    /// The device is gone, as far as this order waits for that.
    pub(super) fn detached(&self, now: Instant) -> Done {
        Done::Detached(Detached { guest: self.guest.clone(), total_ms: self.millis(now) })
    }

    /// The command ended.
    pub(super) fn ended(&self, outcome: Outcome, now: Instant) -> Result<Done, Failure> {
        let log = failures::log_of(&outcome);
        let kernel_us = outcome.took.as_micros() as u64;
        let total_us = now.saturating_duration_since(self.started).as_micros() as u64;
        let guest = self.guest.clone();
        match (&self.what, outcome.result) {
            (What::Load(load), Ok(())) => {
                let (module, bytes) = (load.module.clone(), load.bytes);
                Ok(Done::Loaded(Loaded { guest, module, bytes, kernel_us, total_us, log }))
            }
            (What::Unload { module }, Ok(())) => {
                Ok(Done::Unloaded(Unloaded { guest, module: module.clone(), kernel_us, total_us, log }))
            }
            (what, Err(failure)) => {
                let load = matches!(what, What::Load(_));
                let failure = failures::of_command(&failure, &self.guest, self.module(), load);
                Err(Failure { log, ..failure })
            }
            (What::Attach | What::Detach | What::Alive { .. }, Ok(())) => {
                unreachable!("only loads and unloads are submitted as commands")
            }
        }
    }

    /// The time limit passed while the daemon waited: for the guest's device, or for the image to be ready.
    pub(super) fn timed_out(&self, info: Option<&GuestInfo>) -> Failure {
        let who = label(&self.guest);
        let seconds = self.deadline.saturating_duration_since(self.started).as_secs_f32();
        let failure = match self.what {
            What::Attach => {
                let state = info.map_or("gone", |info| view::domain(info.domain.as_ref()));
                let message =
                    format!("no frontend answered in {who} within {seconds} s (the guest is {state})");
                Failure::new(ErrorKind::NoFrontend, message).remedy(failures::LOAD_THE_FRONTEND)
            }
            What::Detach => Failure::new(
                ErrorKind::TimedOut,
                format!("the device of {who} did not close within {seconds} s"),
            )
            .remedy(format!(
                "it will be removed even if the guest never answers: see vesper status {}",
                self.guest.domid
            )),
            What::Alive { .. } => Failure::new(
                ErrorKind::TimedOut,
                format!("{seconds} s were not enough to see whether {who} is alive"),
            )
            .remedy("ask again, with a longer --timeout"),
            What::Load(_) | What::Unload { .. } => {
                let message = format!(
                    "{seconds} s had passed before the command could be sent to {who}; it never will be"
                );
                Failure::new(ErrorKind::TimedOut, message)
                    .remedy("give the command again, with a longer --timeout")
            }
        };
        failure.guest(self.guest.clone())
    }

    pub(super) fn gone(&self) -> Failure {
        Failure::new(ErrorKind::GuestGone, format!("{} went away", label(&self.guest)))
            .guest(self.guest.clone())
    }

    /// Another client wanted the opposite, and got it.
    pub(super) fn overtaken(&self, state: &str) -> Failure {
        let message = format!("{} was {state} by another client meanwhile", label(&self.guest));
        Failure::new(ErrorKind::Interrupted, message)
            .guest(self.guest.clone())
            .remedy("give the command again, if it is still wanted")
    }

    /// The daemon stops before this ended.
    pub(super) fn abandoned(&self) -> Failure {
        let message = format!("vesperd was stopped before {} ended: outcome unknown", self.describe());
        Failure::new(ErrorKind::OutcomeUnknown, message)
            .guest(self.guest.clone())
            .remedy(format!("once it runs again, see what became of it: vesper status {}", self.guest.domid))
    }

    /// The module that it is about, or nothing.
    pub(super) fn module(&self) -> &str {
        match &self.what {
            What::Load(load) => &load.module,
            What::Unload { module } => module,
            What::Attach | What::Detach | What::Alive { .. } => "",
        }
    }

    /// Bytes of its image, once that is known.
    pub(super) fn image_bytes(&self) -> u64 {
        if let What::Load(load) = &self.what { load.bytes } else { 0 }
    }

    /// For the log.
    pub(super) fn describe(&self) -> String {
        let who = label(&self.guest);
        // Until a file has been looked at, its name is any text: it cannot pass for more of the line.
        let module = match self.module() {
            name if ModuleName::new(name).is_ok() => name.to_owned(),
            text => format!("{text:?}"),
        };
        match (&self.what, &self.by) {
            (What::Attach, _) => format!("attach of {who}"),
            (What::Detach, _) => format!("detach of {who}"),
            (What::Load(_), By::Client(..)) => format!("insmod of {module} into {who}"),
            (What::Load(_), By::Rule { probe, .. }) => {
                format!("insmod of {module} into {who}, as the rule at {} wants", probe.rule)
            }
            (What::Unload { .. }, _) => format!("rmmod of {module} from {who}"),
            (What::Alive { .. }, _) => format!("question whether {who} is alive"),
        }
    }

    /// One line in the log for each order that ended.
    pub(super) fn log_end(&self, result: &Result<Done, Failure>, now: Instant) {
        let (what, details) = (self.describe(), self.injection().unwrap_or_default());
        match result {
            Ok(_) => log::info!(target: self.target(), "{what}: done in {} ms{details}", self.millis(now)),
            Err(failure) if matches!(self.by, By::Rule { .. }) && failures::is_in_already(failure) => {
                log::info!(target: self.target(), "{what}: it is in already{details}");
            }
            Err(failure) => {
                let meaning = failure
                    .errno
                    .as_deref()
                    .map_or(String::new(), |Errno { meaning, .. }| format!(" ({meaning})"));
                // A client is told what to do about it.
                let may_pass = failures::may_pass(failure);
                let next = if may_pass { "it is tried again after a while" } else { AGAIN };
                let remedy = match (&self.by, &failure.remedy) {
                    (By::Client(..), _) => String::new(),
                    (By::Rule { .. }, None) => format!("; {next}"),
                    (By::Rule { .. }, Some(remedy)) => format!("; {remedy}; {next}"),
                };
                let is_told = may_pass && matches!(self.by, By::Rule { again: true, .. });
                let level = if is_told { log::Level::Debug } else { log::Level::Warn };
                let (took, message) = (self.millis(now), &failure.message);
                log::log!(level, "{what}: failed after {took} ms: {message}{meaning}{remedy}{details}");
            }
        }
    }

    /// One line in the log when a guest's queue gets an injection: should the daemon end midway, that is known.
    pub(super) fn log_begin(&self) {
        if let Some(details) = self.injection() {
            log::info!("{}: begun{details}", self.describe());
        }
    }

    /// Its client went away before anything was sent.
    pub(super) fn log_given_up(&self) {
        let details = self.injection().unwrap_or_default();
        let what = self.describe();
        log::info!(target: self.target(), "{what}: given up, its client went away before anything was sent{details}");
    }

    /// Of an injection: who wants it, what exactly goes in, and where.
    fn injection(&self) -> Option<String> {
        let by = match &self.by {
            By::Client(_, who) => who,
            By::Rule { .. } => "vesperd",
        };
        let guest = &self.guest.uuid;
        match &self.what {
            What::Load(load) => Some(format!(" [{by}; file {:?}, {}; guest {guest}]", load.file, load.seen)),
            What::Unload { .. } => Some(format!(" [{by}; guest {guest}]")),
            What::Attach | What::Detach | What::Alive { .. } => None,
        }
    }

    fn target(&self) -> &'static str {
        match self.what {
            What::Load(_) | What::Unload { .. } => NOTICE,
            What::Attach | What::Detach | What::Alive { .. } => module_path!(),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }
}
