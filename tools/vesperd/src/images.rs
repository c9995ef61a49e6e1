// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker thread: reads, decompresses and checks module images, one after another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sys::eventfd::{EfdFlags, EventFd};
use vesper_action::image::{self, ImageError, ModuleImage};

use crate::closer::Foreign;

/// Bytes read at once.
const CHUNK: u64 = 1 << 20;

/// Why a descriptor gives no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Number of a job.
pub(crate) type JobId = u64;

struct Job {
    id: JobId,
    file: Foreign<OwnedFd>,
    limit: u64,
}

/// A finished job.
pub(crate) struct Prepared {
    pub(crate) id: JobId,
    pub(crate) image: Result<ModuleImage, FileError>,
}

/// The thread, as the loop sees it. It ends when this is dropped, after the job that it is at.
pub(crate) struct Images {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Prepared>,
    wake: Arc<EventFd>,
    next: JobId,
}

impl Images {
    pub(crate) fn start() -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (jobs, todo) = mpsc::channel::<Job>();
        let (finished, done) = mpsc::channel();
        let bell = wake.clone();
        thread::Builder::new().name("images".into()).spawn(move || {
            for job in todo {
                let prepared = Prepared { id: job.id, image: take(job.file, job.limit) };
                if finished.send(prepared).is_err() {
                    return;
                }
                // It fails only when the counter is at its end, and then the loop is awake anyway.
                let _ = bell.write(1);
            }
        })?;
        Ok(Self { jobs, done, wake, next: 1 })
    }

    /// Hands a file over. There are never more jobs than connections.
    pub(crate) fn prepare(&mut self, file: Foreign<OwnedFd>, limit: u64) -> JobId {
        let id = self.next;
        self.next += 1;
        if self.jobs.send(Job { id, file, limit }).is_err() {
            log::error!("the images thread is gone");
        }
        id
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

impl AsFd for Images {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The image of a file, copied before anything is looked at: what changes in the file later changes nothing here.
fn take(file: Foreign<OwnedFd>, limit: u64) -> Result<ModuleImage, FileError> {
    let file = file.map(File::from);
    let kind = file.metadata()?.file_type();
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
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        // One byte more than the limit is enough to know that it is too large.
        let room = (limit + 1).saturating_sub(start as u64).min(CHUNK) as usize;
        bytes.resize(start + room, 0);
        let read = file.read_at(&mut bytes[start..], start as u64);
        bytes.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(image::prepare(bytes, limit)?),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::closer::Closer;

    fn said(file: impl Into<OwnedFd>, limit: u64) -> String {
        let file = Foreign::new(file.into(), &Closer::start().unwrap());
        take(file, limit).unwrap_err().to_string()
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
}
