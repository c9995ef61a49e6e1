// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that saves what guests recorded last, when they have ended.
//!
//! What it reads is the daemon's own by then: nothing of the guest is mapped any more. Files are written here and nowhere
//! else in the daemon, so that a slow or full disk costs what would have been saved, and nothing more.

mod shelf;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};
use shelf::Shelf;
use vesper_api::{GuestRef, Saved};
use vesper_relay_mirror::Piece;
use vesper_stream::frame::{Data, Guest};
use vesper_stream::{Frame, Recording};

use crate::streams::{Drain, Flow};

/// Where, how much, and who may read it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) limit: u64,
    /// Members of this group may read what was saved.
    pub(crate) group: Option<u32>,
}

/// What is left of a guest.
pub(crate) struct Job {
    pub(crate) guest: Guest,
    /// All that is to be told of it.
    pub(crate) flow: Flow,
    /// Bytes that this will be at most, about.
    pub(crate) bytes: u64,
}

/// What there is of a guest that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This.
    Saved(Saved),
    /// Something, soon: it is being saved.
    Coming,
    /// Nothing.
    Nothing,
}

/// The thread, and what it has saved.
pub(crate) struct Saver {
    jobs: Option<mpsc::Sender<Job>>,
    shelf: Arc<Mutex<Shelf>>,
    /// Guests whose jobs have not been done yet.
    coming: Arc<Mutex<Vec<GuestRef>>>,
    /// What was saved since that was asked last.
    finished: Arc<Mutex<Vec<Saved>>>,
    /// Readable when a job has been done.
    done: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    saves: bool,
}

impl Saver {
    /// Starts the thread. It begins with looking at what is there.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn start(place: Place) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let done = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let saves = place.limit > 0;
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let coming = Arc::new(Mutex::new(Vec::new()));
        let finished = Arc::new(Mutex::new(Vec::new()));
        let (filled, waiting, wake, ready) = (shelf.clone(), coming.clone(), done.clone(), finished.clone());
        let thread = thread::Builder::new().name("saver".into()).spawn(move || {
            let found = Shelf::look(&place.dir);
            *lock(&filled) = found;
            for job in queue {
                let guest = named(&job.guest);
                lock(&ready).extend(save(job, &place, &filled));
                lock(&waiting).retain(|other| *other != guest);
                // It only fails when it is raised already.
                let _ = wake.write(1);
            }
        })?;
        Ok(Self { jobs: Some(jobs), shelf, coming, finished, done, thread: Some(thread), saves })
    }

    /// Has what is left of a guest saved.
    pub(crate) fn save(&self, job: Job) {
        if !self.saves {
            return;
        }
        lock(&self.coming).push(named(&job.guest));
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            log::error!("the thread that saves what guests recorded has ended");
        }
    }

    /// What there is of a guest that has this name or UUID, the newest.
    pub(crate) fn find(&self, dom: &str) -> Found {
        let is_meant = |guest: &GuestRef| guest.name == dom || guest.uuid.eq_ignore_ascii_case(dom);
        if lock(&self.coming).iter().any(is_meant) {
            return Found::Coming;
        }
        lock(&self.shelf).newest(is_meant).map_or(Found::Nothing, Found::Saved)
    }

    /// What was saved since this was asked last.
    pub(crate) fn finished(&self) -> Vec<Saved> {
        std::mem::take(&mut lock(&self.finished))
    }

    /// Call it when [`Saver::as_fd`] was readable.
    pub(crate) fn drain_wake(&self) {
        // EAGAIN: nothing was done.
        let _ = self.done.read();
    }
}

impl AsFd for Saver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

impl Drop for Saver {
    /// What guests recorded last is not given up because the daemon stops.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that saves what guests recorded has failed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in it is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named(guest: &Guest) -> GuestRef {
    GuestRef { domid: guest.domid, name: guest.name.clone(), uuid: guest.uuid.clone() }
}

/// Saves one guest, and says how that went. Returns what there is of it now.
fn save(job: Job, place: &Place, shelf: &Mutex<Shelf>) -> Option<Saved> {
    let Job { guest, mut flow, bytes } = job;
    let who = if guest.name.is_empty() { guest.uuid.clone() } else { guest.name.clone() };
    // First the room, so that the limit holds while it is being written, too.
    lock(shelf).make_room(place.limit.saturating_sub(bytes));
    let limit = (bytes > place.limit).then_some(place.limit);
    let (dir, written) = match write(&guest, &mut flow, limit, place) {
        Ok(dir) => (dir, Ok(())),
        Err((dir, error)) => (dir, Err(error)),
    };
    let kept = lock(shelf).put(&dir, named(&guest), guest.boot_id.clone());
    match (kept, written) {
        (Some(bytes), Ok(())) => {
            log::info!("what {who} recorded last is saved in {} ({bytes} bytes)", dir.display())
        }
        (kept, Err(error)) => log::error!(
            "what {who} recorded last is {}: {error}",
            if kept.is_some() { format!("saved in part in {}", dir.display()) } else { "lost".into() }
        ),
        (None, Ok(())) => log::error!("what {who} recorded last is lost: {} is empty", dir.display()),
    }
    lock(shelf).make_room(place.limit);
    kept.map(|_| Saved { guest: named(&guest), boot_id: guest.boot_id, dir })
}

fn write(
    guest: &Guest,
    flow: &mut Flow,
    limit: Option<u64>,
    place: &Place,
) -> Result<PathBuf, (PathBuf, io::Error)> {
    let dir = shelf::free(&place.dir.join(&guest.uuid), guest.boot_id.as_deref());
    let written = (|| {
        shelf::make(&dir, &place.dir, place.group)?;
        let mut file = File { recording: Recording::create(&dir, limit)?, piece: Vec::new() };
        while !flow.is_over() && flow.step(&mut file)?.is_some() {}
        file.recording.finish()
    })();
    // Also what was written in part.
    match written.and(shelf::open_files(&dir, place.group)) {
        Ok(()) => Ok(dir),
        Err(error) => Err((dir, error)),
    }
}

/// A recording that a guest's records go into.
struct File {
    recording: Recording,
    piece: Vec<u8>,
}

impl Drain for File {
    fn say(&mut self, frame: &Frame, payload: &[u8]) -> io::Result<()> {
        self.recording.write(frame, payload)
    }

    fn send(&mut self, data: Data, piece: &Piece) -> io::Result<bool> {
        self.piece.clear();
        if piece.append_to(&mut self.piece).is_err() {
            return Ok(false);
        }
        let data = Data { bytes: self.piece.len(), ..data };
        self.recording.write(&Frame::Data(data), &self.piece)?;
        Ok(true)
    }
}
