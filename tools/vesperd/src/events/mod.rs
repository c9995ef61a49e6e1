// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that make events of what happens and tell clients of them.
//!
//! The loop tells the first what it sees and never waits for it. It has a reader of its own for each channel whose schema says that
//! some of its records are events, writes what it learns into the journal, and only then hands it on: to the thread that tells
//! clients, and to the hooks. What these have done goes into the journal, too.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the thread, as the loop sees it |
//! | `inbox.rs` | what the loop tells it |
//! | `watcher.rs` | its rounds: what was told, what is to be read, what is to be said |
//! | `watched.rs` | one guest's channels |
//! | `records.rs` | the records of one piece |
//! | `keeper.rs` | the journal, or its absence |
//! | `feed.rs` | events on their way to one client |
//! | `teller.rs` | the thread that sends them |

mod feed;
mod inbox;
mod keeper;
mod records;
mod teller;
mod watched;
mod watcher;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

pub(crate) use feed::{Feed, Meant};
use inbox::Inbox;
pub(crate) use inbox::Note;
use keeper::Keeper;
use nix::sys::eventfd::{EfdFlags, EventFd};
pub(crate) use teller::Reader;
use teller::Teller;
use vesper_config::Rules;
use vesper_events::{Kept, Recent, Standing};
use vesper_grant::DomId;
use watcher::Watcher;

use crate::hooks::{self, Hooks};

/// Where the journal is, how large it may be, and what is done about events.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) limit: u64,
    /// Members of this group may read it.
    pub(crate) group: Option<u32>,
    pub(crate) hooks: hooks::Rules,
    /// What makes something failed.
    pub(crate) rules: Arc<Rules>,
}

/// The threads.
pub(crate) struct Events {
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    teller: Teller,
}

/// What it has told.
struct Shared {
    recent: Mutex<Recent>,
    standing: Mutex<Standing>,
    /// Readable when the thread that tells clients has something to do.
    to_tell: EventFd,
    heard: Mutex<Vec<Heard>>,
    /// Readable when something was heard, for the loop.
    has_heard: EventFd,
}

/// Last words of which all that came is on disk.
pub(crate) struct Heard {
    pub(crate) domid: DomId,
    pub(crate) boot_id: String,
    pub(crate) slot: u32,
}

impl Events {
    /// Starts them. The first begins with reading the journal.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn start(place: Place) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let shared = Arc::new(Shared::new()?);
        let (keeper, kept) = Keeper::open(&place);
        // Before anybody can ask.
        shared.add_kept(&kept);
        let (told, does) = (inbox.clone(), inbox.clone());
        let hooks = Hooks::new(place.hooks, &kept, move |ran| does.ran(ran))?;
        let mut watcher = Watcher::new(keeper, &kept, hooks, place.rules, shared.clone());
        watcher.act_on(kept.pending());
        let teller = Teller::start(shared.clone())?;
        let thread = thread::Builder::new().name("events".into()).spawn(move || watcher.run(&told))?;
        Ok(Self { inbox, shared, thread: Some(thread), teller })
    }

    /// Something happened to a guest.
    pub(crate) fn note(&self, domid: DomId, note: Note) {
        self.inbox.put(domid, note);
    }

    /// There is something to read in a guest's channels.
    pub(crate) fn moved(&self, domid: DomId) {
        self.inbox.moved(domid);
    }

    /// These say from now on what makes something failed.
    pub(crate) fn follow(&self, rules: Arc<Rules>) {
        self.inbox.rules(rules);
    }

    /// What was told.
    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        lock(&self.shared.recent)
    }

    /// What still counts of each guest.
    pub(crate) fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.shared.standing)
    }

    /// From now on this client is told, until it goes away or has all it asked for.
    pub(crate) fn tell(&self, client: Reader) {
        self.teller.take(client);
    }

    /// Takes the last words that the next daemon need not hear again.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        // Nothing to read: nothing was heard.
        if self.shared.has_heard.read().is_err() {
            return Vec::new();
        }
        std::mem::take(&mut lock(&self.shared.heard))
    }
}

/// Readable when something was [heard](Events::heard).
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.has_heard.as_fd()
    }
}

impl Drop for Events {
    /// What was seen is written down, although the daemon stops.
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that makes events has failed");
        }
    }
}

impl Shared {
    fn new() -> io::Result<Self> {
        let event_fd = || EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let (recent, standing, heard) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { recent, standing, to_tell: event_fd()?, heard, has_heard: event_fd()? })
    }

    fn add(&self, events: Vec<Arc<vesper_events::Event>>) {
        let (mut recent, mut standing) = (lock(&self.recent), lock(&self.standing));
        for event in events {
            standing.add(&event);
            recent.add(event);
        }
        drop((recent, standing));
        raise(&self.to_tell);
    }

    /// What a predecessor told; of that only what is of this boot of dom0 still counts.
    fn add_kept(&self, kept: &Kept) {
        kept.of_this_boot().iter().for_each(|event| lock(&self.standing).add(event));
        kept.events.iter().for_each(|event| lock(&self.recent).add(Arc::new(event.clone())));
    }

    fn are_safe(&self, words: Vec<Heard>) {
        lock(&self.heard).extend(words);
        raise(&self.has_heard);
    }

    /// Nothing more is told of these guests.
    fn forget(&self, guests: Vec<(u16, String)>) {
        let mut standing = lock(&self.standing);
        guests.into_iter().for_each(|(domid, uuid)| standing.forget(domid, uuid));
    }
}

fn raise(event_fd: &EventFd) {
    // It only fails when it is raised already.
    let _ = event_fd.write(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
