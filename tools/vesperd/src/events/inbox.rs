// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the loop tells the thread. That something moved is told once, however often it does until the thread looks.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use vesper_api::GuestRef;
use vesper_config::Rules;
use vesper_events::{Meanings, Report, Who};
use vesper_grant::DomId;
use vesper_relay_mirror::Reader;
use vesper_stream::frame::Clock;
use vesper_xenback::action::listener::{Export, Words};

use super::lock;
use crate::hooks::Ran;

/// What happened to a guest.
pub(crate) enum Note {
    /// This is who it is.
    Is(Who),
    /// So its clock is translated.
    Clock(Clock),
    /// A channel can be read whose records mean something.
    Exported(Export, Reader, Meanings),
    /// A channel has ended.
    Unexported {
        /// Its number.
        number: u32,
        /// What to say if it was one that tells of faults; `None`: that was to be expected.
        lost: Option<String>,
    },
    /// It wrote last words.
    Words(Words),
    /// dom0 saw something for itself.
    Seen(Report),
    /// It can be read no more, if it could.
    Unreadable(String),
    /// It beats: if it was hung, that is over.
    Recovered,
    /// The domain has ended.
    Ended(Report),
    /// There is no such domain any more.
    Gone,
    /// What it recorded last is saved.
    Saved(GuestRef, PathBuf),
}

/// What there is to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) notes: VecDeque<(DomId, Note)>,
    pub(super) moved: BTreeSet<DomId>,
    /// What was done about events.
    pub(super) ran: Vec<Ran>,
    /// What makes something failed from now on.
    pub(super) rules: Option<Arc<Rules>>,
    /// The daemon stops.
    pub(super) stop: bool,
}

/// What the thread has yet to look at.
#[derive(Default)]
pub(super) struct Inbox {
    work: Mutex<Work>,
    there: Condvar,
}

impl Inbox {
    pub(super) fn put(&self, domid: DomId, note: Note) {
        lock(&self.work).notes.push_back((domid, note));
        self.there.notify_one();
    }

    pub(super) fn moved(&self, domid: DomId) {
        if lock(&self.work).moved.insert(domid) {
            self.there.notify_one();
        }
    }

    pub(super) fn ran(&self, ran: Ran) {
        lock(&self.work).ran.push(ran);
        self.there.notify_one();
    }

    pub(super) fn rules(&self, rules: Arc<Rules>) {
        lock(&self.work).rules = Some(rules);
        self.there.notify_one();
    }

    pub(super) fn stop(&self) {
        lock(&self.work).stop = true;
        self.there.notify_one();
    }

    /// Takes what there is; waits for it if there is nothing, at most so long.
    pub(super) fn take(&self, wait: Option<Duration>) -> Work {
        let work = lock(&self.work);
        let nothing = |work: &mut Work| {
            let nothing_told = work.notes.is_empty() && work.moved.is_empty() && work.ran.is_empty();
            nothing_told && work.rules.is_none() && !work.stop
        };
        let mut work = match wait {
            None => self.there.wait_while(work, nothing).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => {
                let waited = self.there.wait_timeout_while(work, wait, nothing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let stop = work.stop;
        Work { stop, ..std::mem::take(&mut *work) }
    }
}
