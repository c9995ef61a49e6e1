// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker thread: finds, reads, decompresses and checks module images, one after another.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::{fmt, io, iter};

use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_action::image::{self, ImageError, ModuleImage};
use vesper_api::Failure;
use vesper_config::{Digest, Inject};
use vesper_probes::Directories;

use crate::closer::Foreign;
use crate::policy::{self, NotAdmitted};

/// Why a descriptor gives no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// No module was found.
    #[error("{0}")]
    NoBuild(Box<Failure>),
}

/// Number of a job.
pub(crate) type JobId = u64;

struct Job {
    id: JobId,
    from: Origin,
    terms: Terms,
}

/// What an image must keep to.
#[derive(Clone)]
pub(crate) struct Terms {
    /// Most bytes.
    pub(crate) limit: u64,
    /// Which are admitted.
    pub(crate) inject: Arc<Inject>,
}

/// Where an image comes from.
pub(crate) enum Origin {
    /// A client passed it.
    Client(Foreign<OwnedFd>),
    /// It is looked for.
    Probes {
        /// Where.
        directories: Arc<Directories>,
        /// For which kernel. **Guest text**: it is only compared.
        kernel: String,
        /// Of which group.
        group: String,
    },
}

/// A finished job.
pub(crate) struct Prepared {
    pub(crate) id: JobId,
    /// Where it was found, if it was looked for.
    pub(crate) path: Option<PathBuf>,
    pub(crate) seen: Seen,
    pub(crate) image: Result<ModuleImage, FileError>,
}

/// What is known of a file, also if it is refused. It is shown in the log.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of the file as it is; `None` if it could not be read.
    digest: Option<Digest>,
    /// Whose signature has admitted it, if that has.
    signer: Option<String>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{digest}")?,
            None => write!(f, "no digest")?,
        }
        self.signer.as_ref().map_or(Ok(()), |signer| write!(f, ", signed by {signer:?}"))
    }
}

/// Jobs that wait.
#[derive(Default)]
struct Queue {
    jobs: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// No more will come.
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that is done under the lock leaves it half done.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; `None` once no more will come.
    fn next(&self) -> Option<Job> {
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.ended;
        let waiting = self.changed.wait_while(self.lock(), idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if waiting.ended { None } else { waiting.jobs.pop_front() }
    }
}

/// The thread, as the loop sees it. It ends when this is dropped, after the job that it is at.
pub(crate) struct Images {
    queue: Arc<Queue>,
    done: mpsc::Receiver<Prepared>,
    wake: Arc<EventFd>,
    next: JobId,
}

impl Images {
    pub(crate) fn start() -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let queue = Arc::<Queue>::default();
        let todo = queue.clone();
        let (finished, done) = mpsc::channel();
        let bell = wake.clone();
        thread::Builder::new().name("images".into()).spawn(move || {
            let tell = |prepared| {
                let is_heard = finished.send(prepared).is_ok();
                // It fails only when the counter is at its end, and then the loop is awake anyway.
                let _ = bell.write(1);
                is_heard
            };
            while let Some(Job { id, from, terms }) = todo.next() {
                let mut seen = Seen::default();
                let is_heard = match from {
                    Origin::Client(file) => {
                        // Closed at the end, so that the loop is woken before who closes it.
                        let file = file.map(File::from);
                        let image = take(&file, &terms, &mut seen);
                        tell(Prepared { id, path: None, seen, image })
                    }
                    Origin::Probes { directories, kernel, group } => {
                        let path = find(&directories, &kernel, &group);
                        let found = path.as_ref().ok().cloned();
                        let image = path.and_then(|path| take(&open(&path)?, &terms, &mut seen));
                        tell(Prepared { id, path: found, seen, image })
                    }
                };
                if !is_heard {
                    return;
                }
            }
        })?;
        Ok(Self { queue, done, wake, next: 1 })
    }

    /// Hands a job over.
    pub(crate) fn prepare(&mut self, from: Origin, terms: Terms) -> JobId {
        let id = self.next;
        self.next += 1;
        self.queue.lock().jobs.push_back(Job { id, from, terms });
        self.queue.changed.notify_one();
        id
    }

    /// Takes a job back that nobody waits for any more, so that there are never more than connections. One that the thread is
    /// at already ends as the others do.
    pub(crate) fn forget(&mut self, id: JobId) {
        self.queue.lock().jobs.retain(|job| job.id != id);
    }

    /// A job that is done, if any.
    pub(crate) fn finished(&self) -> Option<Prepared> {
        self.done.try_recv().ok()
    }

    /// Call before [`Images::finished`], so that no job is missed.
    pub(crate) fn drain_wake(&self) {
        // Nothing to read means that nothing was written since.
        let _ = self.wake.read();
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.changed.notify_one();
    }
}

impl AsFd for Images {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The file of a probe module.
fn find(directories: &Directories, kernel: &str, group: &str) -> Result<PathBuf, FileError> {
    directories.find(kernel, group).map_err(|failure| FileError::NoBuild(Box::new(failure)))
}

/// Not blocking, in case it is a pipe by now.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// The image of a file, copied before anything is looked at: what changes in the file later changes nothing here.
fn take(file: &File, terms: &Terms, seen: &mut Seen) -> Result<ModuleImage, FileError> {
    let Terms { limit, inject } = terms;
    let limit = *limit;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        return Err(FileError::NotRegular(match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_char_device() => "a character device",
            () if kind.is_block_device() => "a block device",
            () if kind.is_socket() => "a socket",
            () => "something else",
        }));
    }
    // One byte more than the limit is enough to know that it is too large.
    let length = metadata.len().min(limit + 1) as usize;
    // Once, where it stays: of a large image each copy takes as long as sending it.
    let mut bytes: Arc<[u8]> = iter::repeat_n(0, length).collect();
    let read = read(file, Arc::get_mut(&mut bytes).expect("it was made here and nobody else has it"))?;
    // A file that was cut off meanwhile.
    let bytes = if read < length { bytes[..read].into() } else { bytes };
    // A file that is too large was not read whole.
    if bytes.len() as u64 > limit {
        return Err(ImageError::TooLarge { limit }.into());
    }
    let digest = *seen.digest.insert(policy::digest(&bytes));
    let image = match policy::listed(inject, &bytes, digest) {
        Ok(()) => image::unpack(bytes, limit)?,
        Err(unlisted) => {
            let (image, signer) = unlisted.unless_signed(inject, bytes, limit)?;
            seen.signer = Some(signer.name().to_owned());
            image
        }
    };
    Ok(image::examine(image)?)
}

/// Reads from the start of the file until its end or that of `bytes`.
fn read(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut start = 0;
    while start < bytes.len() {
        match file.read_at(&mut bytes[start..], start as u64) {
            Ok(0) => break,
            Ok(count) => start += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::closer::Closer;

    fn terms(limit: u64) -> Terms {
        Terms { limit, inject: Arc::default() }
    }

    fn said(file: impl Into<OwnedFd>, limit: u64) -> String {
        take(&File::from(file.into()), &terms(limit), &mut Seen::default()).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_are_read_and_only_up_to_the_limit() {
        assert_eq!(said(File::open("/").unwrap(), 10), "it is a directory, not a regular file");
        assert_eq!(
            said(File::open("/dev/zero").unwrap(), 10),
            "it is a character device, not a regular file"
        );
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        assert_eq!(said(reader, 10), "it is a pipe, not a regular file");
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(said(file.try_clone().unwrap(), 10), "the file is empty");
        file.write_all(b"ten bytes!").unwrap();
        assert_eq!(said(file.try_clone().unwrap(), 9), "the image is larger than the limit of 9 bytes");
        // From its start, although the position is at its end.
        assert!(said(file, 10).starts_with("not an ELF file: it starts with 74 65 6e 20"));
        let write_only = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert!(said(write_only, 10).contains("not a regular file"));
    }

    #[test]
    fn a_job_that_is_forgotten_waits_no_longer() {
        let closer = Closer::start().unwrap();
        let queue = Arc::<Queue>::default();
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        // Without its thread, so that all of them wait.
        let mut images = Images { queue: queue.clone(), done: mpsc::channel().1, wake, next: 1 };
        let jobs: Vec<_> = std::iter::repeat_with(|| tempfile::tempfile().unwrap())
            .map(|file| images.prepare(Origin::Client(Foreign::new(file.into(), &closer)), terms(10)))
            .take(3)
            .collect();
        images.forget(jobs[1]);
        assert_eq!(queue.next().map(|job| job.id), Some(jobs[0]));
        assert_eq!(queue.next().map(|job| job.id), Some(jobs[2]));
        drop(images);
        assert!(queue.next().is_none(), "the thread ends");
    }
}
