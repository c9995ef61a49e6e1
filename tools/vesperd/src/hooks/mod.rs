// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that act on events: `HOOKS.D/EVENT.d/*`, and `HOOKS.D/failed.d/*` on those with which something failed; each in the
//! order of their names.
//!
//! For one guest they run one after the other, for several guests at the same time, up to a bound. Each has a thread while it
//! runs, and nobody waits for it but what comes next for its guest.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | whose turn it is |
//! | `find.rs` | which files are hooks, and which are refused |
//! | `child.rs` | one that runs: its input, its output, its end |

mod child;
mod find;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use child::{Child, Outcome};
use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_api::{GuestRef, printable};
use vesper_events::journal::Kept;
use vesper_events::{Event, Failed, Kind};

/// Events that wait for the hooks of one guest; of more, those that are in the least hurry are not acted on.
const WAITING_MAX: usize = 256;
/// Faults of which it is remembered which hooks have run.
const REMEMBERED_MAX: usize = 4096;
/// What hooks that run have left when the daemon stops.
const LAST: Duration = Duration::from_secs(5);

/// Where they are, and what they may cost.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) dir: PathBuf,
    /// How long one may run.
    pub(crate) limit: Duration,
    /// How many guests' may run at the same time.
    pub(crate) at_once: usize,
}

/// What has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// A hook has run.
    Hook { fault: u64, hook: String, outcome: String },
    /// All of them have, for this document.
    All { fault: u64, kind: Kind, serial: u64 },
}

/// Called from any thread.
type Tell = Box<dyn Fn(Ran) + Send + Sync>;

/// The hooks.
pub(crate) struct Hooks(Arc<Shared>);

struct Shared {
    rules: Rules,
    tell: Tell,
    state: Mutex<State>,
    /// A thread has ended.
    ended: Condvar,
    /// Readable once the daemon stops.
    stop: EventFd,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<(u16, String), VecDeque<Job>>,
    /// Guests whose turn has come, in this order; none of them has one now.
    ready: VecDeque<(u16, String)>,
    threads: usize,
    stopping: bool,
    /// By fault.
    ran: BTreeMap<u64, BTreeSet<String>>,
}

struct Job {
    event: Arc<Event>,
    /// A daemon before this one may have begun with it.
    again: bool,
}

impl Job {
    /// What is in a hurry comes first: a guest that failed, then a service that did; the rest, of which a guest can make much, after
    /// them.
    fn rank(&self) -> u8 {
        match (self.event.failed, &self.event.service) {
            (None, _) => 2,
            (Some(_), Some(_)) => 1,
            (Some(_), None) => 0,
        }
    }
}

impl Hooks {
    /// None run yet. What those of a predecessor have done is not done again.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new(
        rules: Rules,
        kept: &Kept,
        tell: impl Fn(Ran) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let stop = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let all = |hooks: &BTreeSet<String>| {
            hooks.iter().flat_map(|hook| [hook, for_less(hook)]).map(str::to_owned).collect()
        };
        let ran = kept.acted.iter().map(|(fault, acted)| (*fault, all(&acted.hooks))).collect();
        let state = Mutex::new(State { ran, ..State::default() });
        Ok(Self(Arc::new(Shared { rules, tell: Box::new(tell), state, ended: Condvar::new(), stop })))
    }

    /// Acts on an event; that all was done is told when it is. False: there is nothing to do.
    pub(crate) fn act(&self, event: Arc<Event>, again: bool) -> bool {
        if find::find(&self.0.rules.dir, &event).is_empty() {
            return false;
        }
        let key = (event.guest.domid, event.guest.uuid.clone());
        let serial = event.serial;
        let mut state = self.0.lock();
        let job = Job { event, again };
        let mut left_out = None;
        match state.guests.get_mut(&key) {
            // Its turn comes, or goes on.
            Some(jobs) => {
                jobs.insert(jobs.partition_point(|waiting| waiting.rank() <= job.rank()), job);
                left_out = if jobs.len() > WAITING_MAX { jobs.pop_back() } else { None };
            }
            None => {
                state.guests.insert(key.clone(), VecDeque::from([job]));
                state.ready.push_back(key);
            }
        }
        if state.threads < self.0.rules.at_once {
            state.threads += 1;
            let shared = self.0.clone();
            let thread = thread::Builder::new().name("hooks".into()).spawn(move || shared.run());
            if let Err(error) = thread {
                state.threads -= 1;
                log::error!("hooks wait, no thread can be had for them: {error}");
            }
        }
        drop(state);
        let Some(Job { event, .. }) = left_out else { return true };
        let is_this_one = event.serial == serial;
        let (who, fault, kind, serial) = (label(&event.guest), event.fault, event.event, event.serial);
        log::error!(
            "{WAITING_MAX} events wait for the hooks of {who}; nothing is done about event {fault}, {kind}"
        );
        if !is_this_one {
            (self.0.tell)(Ran::All { fault, kind, serial });
        }
        !is_this_one
    }

    /// The daemon stops: those that run have a moment left, no other begins. What was not done is left to the next daemon.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock();
        state.stopping = true;
        // It only fails when it is raised already.
        let _ = self.0.stop.write(1);
        while state.threads > 0 {
            state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in it is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread: guests in turn, an event each.
    fn run(&self) {
        while let Some((key, job)) = self.next() {
            self.act(&job);
            let mut state = self.lock();
            if state.guests.get(&key).is_some_and(|jobs| !jobs.is_empty()) {
                state.ready.push_back(key);
            } else {
                state.guests.remove(&key);
            }
        }
        self.ended.notify_all();
    }

    fn next(&self) -> Option<((u16, String), Job)> {
        let mut state = self.lock();
        let taken = if state.stopping { None } else { state.ready.pop_front() };
        let taken = taken.and_then(|key| {
            let job = state.guests.get_mut(&key)?.pop_front()?;
            Some((key, job))
        });
        if taken.is_none() {
            state.threads -= 1;
        }
        taken
    }

    /// All hooks for an event.
    fn act(&self, Job { event, again }: &Job) {
        let fault = event.fault;
        for find::Found { of, name, file } in find::find(&self.rules.dir, event) {
            let hook = once(name, event);
            if !self.begins(fault, &hook) {
                continue;
            }
            let who = label(&event.guest);
            let what = format!("hook {of}/{} for event {fault} of {who}", printable(&hook));
            let outcome = match file {
                Ok(file) => {
                    let child = Child { what: &what, file: &file, limit: self.rules.limit, stop: &self.stop };
                    child.run(&variables(event, *again), &vesper_api::to_line(&**event))
                }
                Err(why) => Outcome::Refused(why),
            };
            match &outcome {
                Outcome::Left => {
                    log::warn!("{what}: {outcome}; the next daemon begins with it anew");
                    return;
                }
                Outcome::Done(_) => log::info!("{what}: {outcome}"),
                _ => log::error!("{what}: {outcome}"),
            }
            (self.tell)(Ran::Hook { fault, hook, outcome: outcome.to_string() });
        }
        if !self.lock().stopping {
            (self.tell)(Ran::All { fault, kind: event.event, serial: event.serial });
        }
    }

    /// Whether a hook has yet to be run for a fault; it counts as run from now on. One that was killed with the daemon is not in
    /// the journal.
    fn begins(&self, fault: u64, hook: &str) -> bool {
        let mut state = self.lock();
        if state.stopping {
            return false;
        }
        let begins = state.ran.entry(fault).or_default().insert(hook.to_owned());
        while state.ran.len() > REMEMBERED_MAX {
            state.ran.pop_first();
        }
        begins
    }
}

/// What is done once for a fault: a hook by its name, and once more if the fault turns out to be worse than it had been told
/// (an oops that only a service failed with becomes a panic).
fn once(hook: String, event: &Event) -> String {
    match (event.failed, &event.service) {
        (None, _) => hook,
        (Some(_), Some(service)) => format!("{hook} (service {service} failed)"),
        (Some(failed), None) => format!("{hook} ({} failed)", failed.name()),
    }
}

/// The same hook for the same fault, had nothing failed with it. What has been done for more need not be done for that.
fn for_less(hook: &str) -> &str {
    match hook.rsplit_once(" (") {
        Some((name, what)) if what.ends_with(" failed)") => name,
        _ => hook,
    }
}

/// What only dom0 says; everything else is in the document.
fn variables(event: &Event, again: bool) -> Vec<(&'static str, String)> {
    vec![
        ("VESPER_EVENT", event.event.to_string()),
        ("VESPER_SEVERITY", event.severity.to_string()),
        ("VESPER_SERIAL", event.serial.to_string()),
        ("VESPER_FAULT", event.fault.to_string()),
        ("VESPER_DOMID", event.guest.domid.to_string()),
        ("VESPER_NAME", printable(&event.guest.name)),
        ("VESPER_UUID", event.guest.uuid.clone()),
        ("VESPER_FAILED", event.failed.map_or("", Failed::name).to_owned()),
        ("VESPER_SERVICE", event.service.clone().unwrap_or_default()),
        ("VESPER_BOOT_ID", event.boot_id.clone().unwrap_or_default()),
        ("VESPER_AGAIN", u8::from(again).to_string()),
    ]
}

fn label(guest: &GuestRef) -> String {
    format!("{} ({})", printable(&guest.name), guest.domid)
}
