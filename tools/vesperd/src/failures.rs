// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures of the backend and of commands in the API's words, with what to do about them.

use vesper_action::{self as action, SubmitError};
use vesper_api::{Errno, ErrorKind, Failure, GuestRef, Log};
use vesper_xenback::Error;

/// `EBUSY` of Linux.
const EBUSY: i32 = 16;
/// `EEXIST` of Linux.
const EEXIST: i32 = 17;

/// What to do when no frontend answers.
pub(crate) const LOAD_THE_FRONTEND: &str = "the module vesper_front is not loaded in the guest: install vesper-front there, \
     then `modprobe vesper_front`. The device stays prepared and connects as soon as it is loaded";

/// What to do when a queue is full.
pub(crate) const WAIT_FOR_COMMANDS: &str =
    "try again when commands before it have ended: vesper list shows how many wait";

/// What to do when the daemon could not do its part.
const SEE_THE_LOG: &str = "see what the daemon says of it (journalctl -u vesperd), and try again";

/// How messages call a guest: by its name where it has one, and its number.
pub(crate) fn label(guest: &GuestRef) -> String {
    if guest.name.is_empty() {
        format!("guest {}", guest.domid)
    } else {
        format!("{} ({})", guest.name, guest.domid)
    }
}

pub(crate) fn log_of(outcome: &action::Outcome) -> Log {
    Log {
        lines: outcome.log.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        truncated: outcome.log_truncated,
    }
}

/// Why a command did not succeed. `load` tells which system call an error number is of.
pub(crate) fn of_command(failure: &action::Failure, guest: &GuestRef, module: &str, load: bool) -> Failure {
    use action::Failure as F;
    let (doing, done) = if load { ("load", "loaded") } else { ("unload", "unloaded") };
    let who = label(guest);
    let failed = |kind, message: String| Failure::new(kind, message).guest(guest.clone());
    match failure {
        F::Refused { errno } => {
            let errno = if load { Errno::of_load(*errno) } else { Errno::of_unload(*errno) };
            let message = format!("the kernel of {who} refused to {doing} {module}: {}", errno.name);
            Failure { errno: Some(Box::new(errno)), ..failed(ErrorKind::Refused, message) }
        }
        F::Busy { since, .. } => {
            let seconds = since.elapsed().as_secs();
            busy(guest, seconds)
        }
        F::GuestGone => failed(ErrorKind::GuestGone, format!("{who} went away before {module} was {done}")),
        F::NotAttached => {
            failed(ErrorKind::NotAttached, format!("{who} was detached before {module} was {done}"))
        }
        F::TimedOut { sent: true } => {
            failed(ErrorKind::TimedOut, format!("{who} has not {done} {module} in time, and may still do it"))
                .remedy(format!("see what became of it with: vesper status {}", guest.domid))
        }
        F::TimedOut { sent: false } => failed(
            ErrorKind::TimedOut,
            format!("{who} did not take the command to {doing} {module} in time; it never will"),
        )
        .remedy(format!("see what it is busy with, or whether it is paused: vesper status {}", guest.domid)),
        F::DeviceStopped { reason } => stopped(guest, reason),
        F::Interrupted { outcome_unknown: true } => failed(
            ErrorKind::OutcomeUnknown,
            format!("the connection to {who} was lost while it {doing}ed {module}: outcome unknown"),
        )
        .remedy(format!("see what became of it with: vesper status {}", guest.domid)),
        F::Interrupted { outcome_unknown: false } | F::Cancelled => failed(
            ErrorKind::Interrupted,
            format!("the command to {doing} {module} was interrupted; {who} kept nothing of it"),
        )
        .remedy("give the command again"),
    }
}

/// Why the backend did not do as asked.
pub(crate) fn of_backend(error: &Error, guest: &GuestRef) -> Failure {
    let who = label(guest);
    let failed = |kind, message: String| Failure::new(kind, message).guest(guest.clone());
    match error {
        Error::NoSuchGuest(_) | Error::OtherGuest { .. } => {
            failed(ErrorKind::GuestGone, format!("{who} went away"))
        }
        Error::NotAttached(_) => failed(ErrorKind::NotAttached, format!("{who} is not attached"))
            .remedy(format!("attach it first: vesper attach {}", guest.domid)),
        Error::NotConnected(_) => {
            failed(ErrorKind::NotAttached, format!("{who} is attached, but nothing in it has answered yet"))
                .remedy(LOAD_THE_FRONTEND)
        }
        Error::DeviceStopped { reason, .. } => stopped(guest, reason),
        Error::ModulesLoaded { modules, .. } => {
            let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
            failed(
                ErrorKind::ModulesLoaded,
                format!("{who} has modules that were loaded through VESPER: {}", names.join(", ")),
            )
            .remedy("unload them first (vesper rmmod), or leave them in with --force")
        }
        Error::Submit { source: SubmitError::QueueFull(_), .. } => {
            failed(ErrorKind::QueueFull, format!("{who}: {}", inner(error))).remedy(WAIT_FOR_COMMANDS)
        }
        Error::Submit { source: SubmitError::Busy { since, .. }, .. } => {
            busy(guest, since.elapsed().as_secs())
        }
        Error::Submit { .. } => failed(ErrorKind::BadImage, format!("{who}: {}", inner(error))),
        _ => failed(ErrorKind::Internal, format!("{who}: {error}")).remedy(SEE_THE_LOG),
    }
}

/// What a guest recorded last was to be saved, and was not.
pub(crate) fn nothing_saved(dom: &str) -> Failure {
    Failure::new(
        ErrorKind::NoSuchGuest,
        format!("{dom} is gone, and what it recorded last could not be saved"),
    )
    .remedy("the daemon says why: journalctl -u vesperd")
}

/// Whether a module was not loaded because it is in.
pub(crate) fn is_in_already(failure: &Failure) -> bool {
    failure.errno.as_ref().is_some_and(|errno| errno.number == EEXIST)
}

/// Whether the guest only had no time, or was at something else.
pub(crate) fn may_pass(failure: &Failure) -> bool {
    matches!(failure.kind, ErrorKind::TimedOut | ErrorKind::Busy | ErrorKind::QueueFull)
}

fn inner(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The device is stopped.
pub(crate) fn stopped(guest: &GuestRef, reason: &str) -> Failure {
    let message = format!("the device of {} was stopped for a protocol error: {reason}", label(guest));
    Failure::new(ErrorKind::DeviceStopped, message)
        .guest(guest.clone())
        .remedy(format!("once the guest's module is in order, connect again: vesper attach {}", guest.domid))
}

fn busy(guest: &GuestRef, seconds: u64) -> Failure {
    let message = format!(
        "the kernel of {} has been busy with an earlier command for {seconds} s (a module whose init hangs?)",
        label(guest)
    );
    let errno = Some(Box::new(Errno::of_load(EBUSY)));
    Failure { errno, ..Failure::new(ErrorKind::Busy, message).guest(guest.clone()) }.remedy(format!(
        "wait until it has ended, as vesper status {} shows; if it never does, only a reboot of the guest helps",
        guest.domid
    ))
}

#[cfg(test)]
mod tests {
    use std::io;

    use vesper_grant::DomId;

    use super::*;

    #[test]
    fn what_somebody_can_do_something_about_says_what() {
        let guest = GuestRef { domid: 3, name: "web1".into(), uuid: String::new() };
        let command = |failure| of_command(&failure, &guest, "probe", true);
        let domid = DomId(3);
        for failure in [
            command(action::Failure::TimedOut { sent: true }),
            command(action::Failure::TimedOut { sent: false }),
            command(action::Failure::Interrupted { outcome_unknown: true }),
            command(action::Failure::Interrupted { outcome_unknown: false }),
            command(action::Failure::DeviceStopped { reason: "x".into() }),
            busy(&guest, 31),
            of_backend(&Error::NotAttached(domid), &guest),
            of_backend(&Error::NotConnected(domid), &guest),
            of_backend(&Error::Submit { domid, source: SubmitError::QueueFull(64) }, &guest),
            of_backend(&Error::Os { what: "epoll", source: io::ErrorKind::OutOfMemory.into() }, &guest),
        ] {
            assert!(failure.remedy.is_some(), "{}", failure.message);
        }
    }
}
