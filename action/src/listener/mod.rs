// SPDX-License-Identifier: MIT OR Apache-2.0
//! The probe listener of one guest: what it exports, what time it is there, its last words, and whether it lives.
//!
//! As the loader, it is a state machine without clock, thread or I/O: the Communication layer calls it with each
//! [`Ask`] and is called back through [`Link`], which maps what is offered. What happened is fetched with
//! [`Listener::happened`].
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the host's side: connections, turns, the end |
//! | `asked.rs` | the guest's side: what it asks and what it is answered |
//! | `link.rs` | what passes between this and the Communication layer |
//! | `export.rs` | one export: mirror, parts, the look-out |
//! | `quota.rs` | how much is shared, by a guest and by all |
//! | `clock.rs` | four stamps, and what they say of the guest's clock |
//! | `fatal.rs`, `words.rs` | records that report the end, in a channel and outside of any |
//! | `heart.rs`, `beats.rs`, `pulse.rs` | looks at a guest, and a verdict by two of them |
//! | `bell.rs` | what readers see before a kick comes |

mod asked;
mod beats;
mod bell;
mod clock;
mod export;
mod fatal;
mod heart;
mod link;
mod name;
mod pulse;
mod quota;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use vesper_relay_mirror::{BufferStatus, Reader, Start};

pub use beats::Beats;
pub use clock::{Clock, DRIFT_NS_PER_S, GuestStamps};
pub use export::{Export, ExportEnd};
pub use fatal::FatalRecord;
pub use heart::{DeadCause, Domain, Look, MISSED_BEATS, Vcpu, Verdict, Why, judge};
pub use link::{Answer, Ask, Link, Mapped, Offer, Refusal};
pub use name::{ExportName, InvalidExportName};
pub use quota::{Limits, Quota};
pub use words::{Heard, SLOTS, Words};

use crate::LogLimit;
use bell::Bell;
use clock::Exchanges;
use export::Held;
use pulse::Pulse;
use quota::Rate;

/// How long an export that was shared before a reconnect is waited for.
const RETURN: Duration = Duration::from_secs(10);
/// Records that report the end which are told of one guest in [`FATAL_PERIOD`]; it has one end.
const FATAL_MAX: u32 = 32;
const FATAL_PERIOD: Duration = Duration::from_secs(10);

/// The probe listener of one guest.
pub struct Listener {
    label: String,
    quota: Arc<Quota>,
    rate: Rate,
    lag_limit: Duration,
    /// Of the frontend that is or was connected.
    boot_id: Option<String>,
    held: BTreeMap<u32, Held>,
    /// Until when exports of the connection before are waited for.
    return_by: Option<Instant>,
    exchanges: Exchanges,
    heard: Heard,
    /// Those of them that a successor need not hear again.
    noted: Heard,
    words: Vec<Words>,
    pulse: Pulse,
    bell: Arc<Bell>,
    waker: Waker,
    fatal: Fatal,
    happened: VecDeque<Happening>,
    counters: Counters,
    log_limit: LogLimit,
}

/// The records that report the end which were told.
#[derive(Default)]
struct Fatal {
    /// The guest's clock in the newest of them.
    newest_ns: u64,
    /// A predecessor has told those up to here.
    told_ns: u64,
    since: Option<Instant>,
    count: u32,
}

/// What happened to a guest's channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A channel can be read.
    Exported {
        /// Its number.
        number: u32,
        /// Its name.
        name: ExportName,
    },
    /// A channel has ended. Its readers get what they have not read, then the end.
    Unexported {
        /// Its number.
        number: u32,
        /// Its name.
        name: ExportName,
        /// Why.
        why: ExportEnd,
    },
    /// There is something to read in one or more channels.
    Moved,
    /// The guest wrote last words.
    LastWords(Words),
    /// A channel has a record that reports the end of the guest.
    Fatal {
        /// The channel's number.
        number: u32,
        /// Its name.
        name: ExportName,
        /// As in [`Export::owner`].
        owner: Option<String>,
        /// As in [`Export::schema`]: the export may be gone when this is read.
        schema: Option<Arc<str>>,
        /// The record.
        record: FatalRecord,
    },
}

/// What one turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Something had moved, so a kick was not for nothing.
    pub moved: bool,
    /// There may be more, for which no kick comes.
    pub more: bool,
}

/// One channel, as it stands.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    /// The export.
    pub export: Export,
    /// Whether it is shared now; if not, it is waited for.
    pub shared: bool,
    /// Each of its buffers, in the order of [`Export::cpus`].
    pub buffers: Vec<BufferStatus>,
    /// When something was last seen to move.
    pub moved_at: Option<Instant>,
}

/// What one guest's listener did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exports that were offered.
    pub exports: u64,
    /// Exports and parts that were not taken.
    pub refused: u64,
    /// Records that reported the end, and were not told because there were too many.
    pub fatal_left_out: u64,
}

/// What is left of a guest that ended: private copies, nothing is shared any more.
pub struct Remains {
    /// The frontend's boot id.
    pub boot_id: Option<String>,
    /// Its clock, as last known.
    pub clock: Option<Clock>,
    /// Its channels, each with a reader that begins at the oldest that was still there.
    pub exports: Vec<(Export, Reader)>,
    /// Its last words.
    pub words: Vec<Words>,
}

/// What must outlive the daemon, beside the exports themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The places of last words that were read, and of which what came is safe.
    pub heard: Heard,
    /// The guest's clock in the newest record that reports the end.
    pub fatal_ns: u64,
}

impl Listener {
    /// A listener with nothing shared. A reader that stands still for `lag_limit` does not hold the guest up any more;
    /// `label` names the guest in the log. `wake` is called by any thread that reads when a [turn](Listener::turn) is
    /// due of which no kick will tell.
    pub fn new(
        quota: Arc<Quota>,
        lag_limit: Duration,
        label: impl Into<String>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let bell = Bell::new(wake);
        Self {
            waker: bell.waker(),
            bell,
            label: label.into(),
            quota,
            rate: Rate::default(),
            lag_limit,
            boot_id: None,
            held: BTreeMap::new(),
            return_by: None,
            exchanges: Exchanges::default(),
            heard: Heard::default(),
            noted: Heard::default(),
            words: Vec::new(),
            pulse: Pulse::default(),
            fatal: Fatal::default(),
            happened: VecDeque::new(),
            counters: Counters::default(),
            log_limit: LogLimit::default(),
        }
    }

    /// A frontend is connected. If it is the one of before, its exports go on when it announces them; else they have
    /// ended.
    pub fn connected(&mut self, boot_id: Option<&str>, now: Instant) {
        if self.boot_id.as_deref() != boot_id || boot_id.is_none() {
            self.end_all(ExportEnd::Lost, now);
            self.boot_id = boot_id.map(str::to_owned);
            (self.heard, self.noted) = (Heard::default(), Heard::default());
            self.words.clear();
            self.fatal = Fatal::default();
        }
        self.exchanges = Exchanges::default();
        self.pulse = Pulse::default();
        self.return_by = (!self.held.is_empty()).then(|| now + RETURN);
    }

    /// Takes over what a predecessor knew of the guest that is connected.
    pub fn remember(&mut self, memory: &Memory) {
        (self.heard, self.noted) = (memory.heard, memory.heard);
        self.fatal.told_ns = memory.fatal_ns;
        self.fatal.newest_ns = memory.fatal_ns;
    }

    /// What a successor must know.
    pub fn memory(&self) -> Memory {
        Memory { heard: self.noted, fatal_ns: self.fatal.newest_ns }
    }

    /// The connection is lost and may come again: everything is unmapped at once. Readers keep what they have not read,
    /// and wait.
    pub fn disconnected(&mut self, now: Instant) {
        for number in self.held.keys().copied().collect::<Vec<_>>() {
            self.watch_to_the_end(number, now);
        }
        for held in self.held.values_mut() {
            held.suspend();
        }
        self.return_by = None;
        self.pulse = Pulse::default();
    }

    /// It is over: every export ends, and everything is unmapped at once.
    pub fn end(&mut self, why: ExportEnd, now: Instant) {
        for number in self.held.keys().copied().collect::<Vec<_>>() {
            self.watch_to_the_end(number, now);
        }
        self.end_all(why, now);
        self.pulse = Pulse::default();
    }

    /// The guest has ended. What can be read of it is copied first; then everything is unmapped.
    pub fn bury(&mut self, now_ns: u64, now: Instant) -> Remains {
        let exports = self
            .held
            .values()
            .map(|held| (held.export.clone(), held.export.channel.reader(Start::Oldest)))
            .collect();
        let clock = self.clock(now_ns);
        self.end(ExportEnd::GuestGone, now);
        Remains { boot_id: self.boot_id.clone(), clock, exports, words: self.words.clone() }
    }

    /// Looks where the guest is, so that readers need not wait for the turn that must follow. True if anything moved.
    pub fn look_first(&mut self, now: Instant) -> bool {
        // What is seen here wakes readers, and nobody is to be woken for it that is here already.
        self.bell.muffle();
        let mut moved = false;
        for held in self.held.values_mut() {
            moved |= held.update(now);
        }
        if moved {
            self.happened.push_back(Happening::Moved);
        }
        moved
    }

    /// One turn: looks where the guest is, and looks out for records that report the end, at most `budget` of them.
    /// Then the guest is told when to kick again.
    pub fn turn(&mut self, budget: u32, now: Instant) -> Turn {
        let mut turn = Turn { moved: self.look_first(now), more: false };
        let mut budget = budget;
        // What readers saw up to here has just been seen; what they see from here on is told by `arm` or by the bell.
        self.bell.silence();
        for number in self.held.keys().copied().collect::<Vec<_>>() {
            turn.more |= self.watch(number, &mut budget, now);
        }
        for held in self.held.values() {
            let generation = held.export.channel.generation();
            turn.more |= held.export.channel.arm();
            held.export.channel.wake_after(generation, &self.waker);
        }
        turn
    }

    /// Whether a turn is due of which no kick tells.
    pub fn is_rung(&self) -> bool {
        self.bell.is_rung()
    }

    /// As [`Listener::is_rung`]; the turn is the caller's from now on.
    pub fn take_rung(&mut self) -> bool {
        self.bell.silence()
    }

    /// Lets time pass: readers that stand still are left behind, and exports that do not come back have ended. Returns
    /// when to be called again.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        if self.return_by.is_some_and(|at| at <= now) {
            self.return_by = None;
            let lost: Vec<u32> =
                self.held.iter().filter(|(_, held)| !held.is_mapped()).map(|(number, _)| *number).collect();
            for number in lost {
                self.end_one(number, ExportEnd::Lost, now);
            }
        }
        let lag = self.held.values().filter_map(|held| held.export.channel.tick(now)).min();
        lag.into_iter().chain(self.return_by).min()
    }

    /// Takes a look at the guest, and judges it by this and an earlier one.
    pub fn look(&mut self, look: Look) -> Verdict {
        self.pulse.look(look)
    }

    /// What is known of the guest's clock at `now_ns` on the host's.
    pub fn clock(&self, now_ns: u64) -> Option<Clock> {
        self.exchanges.clock(now_ns)
    }

    /// Takes the next thing that happened.
    pub fn happened(&mut self) -> Option<Happening> {
        self.happened.pop_front()
    }

    /// The frontend's boot id.
    pub fn boot_id(&self) -> Option<&str> {
        self.boot_id.as_deref()
    }

    /// The export of that name.
    pub fn export(&self, name: &str) -> Option<Export> {
        let held = self.held.values().find(|held| held.export.name.as_str() == name)?;
        Some(held.export.clone())
    }

    /// All channels, in the order of their numbers.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let channel = |held: &Held| ChannelInfo {
            export: held.export.clone(),
            shared: held.is_mapped(),
            buffers: held.export.channel.status(),
            moved_at: held.moved_at,
        };
        self.held.values().map(channel).collect()
    }

    /// What it did.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Looks out in one export. True if there may be more.
    fn watch(&mut self, number: u32, budget: &mut u32, now: Instant) -> bool {
        let Some(held) = self.held.get_mut(&number) else { return false };
        let watched = held.watch(budget);
        let Export { name, owner, schema, .. } = held.export.clone();
        for record in watched.found {
            if record.time_ns <= self.fatal.told_ns {
                continue;
            }
            if !self.fatal.admit(now) {
                self.counters.fatal_left_out += 1;
                continue;
            }
            // Only with those that are told: each change of it is written down.
            self.fatal.newest_ns = self.fatal.newest_ns.max(record.time_ns);
            let (name, owner, schema) = (name.clone(), owner.clone(), schema.clone());
            self.happened.push_back(Happening::Fatal { number, name, owner, schema, record });
        }
        watched.more
    }

    /// Looks out over all that is left of one export, before it goes. A channel is finite, and nothing is written to it
    /// by a guest that has ended; one that goes on writing is not followed for ever.
    fn watch_to_the_end(&mut self, number: u32, now: Instant) {
        const LAST_BUDGET: u32 = 1 << 20;
        let mut budget = LAST_BUDGET;
        if let Some(held) = self.held.get_mut(&number).filter(|held| held.is_mapped()) {
            held.update(now);
            self.watch(number, &mut budget, now);
        }
    }

    fn end_one(&mut self, number: u32, why: ExportEnd, now: Instant) {
        let Some(held) = self.held.remove(&number) else { return };
        held.export.channel.close();
        let name = held.export.name.clone();
        let label = &self.label;
        self.log_limit
            .line(log::Level::Info, now, || format!("{label}: export {number} ({name}) has ended: {why:?}"));
        self.happened.push_back(Happening::Unexported { number, name, why });
    }

    fn end_all(&mut self, why: ExportEnd, now: Instant) {
        while let Some((&number, _)) = self.held.first_key_value() {
            self.end_one(number, why, now);
        }
        self.return_by = None;
    }
}

impl Drop for Listener {
    /// The readers of a guest may outlive it, its mappings may not.
    fn drop(&mut self) {
        for held in self.held.values() {
            held.export.channel.close();
        }
    }
}

impl Fatal {
    fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= FATAL_PERIOD) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= FATAL_MAX
    }
}
