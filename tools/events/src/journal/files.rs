// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal's files, oldest first.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, chown};

use super::line;

/// The files of a directory.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    group: Option<u32>,
    /// Each with its bytes, as they were when it was not written any more.
    all: Vec<(PathBuf, u64)>,
}

impl Files {
    /// Looks at a directory, and makes it if it is missing.
    pub(super) fn open(dir: &Path, group: Option<u32>) -> io::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(dir);
        made.map_err(|error| named(dir, &error))?;
        Ok(Self { dir: dir.to_owned(), group, all: all(dir)? })
    }

    /// The last one, to go on with: what is behind its last whole line is cut off. A new one if there is none, or none that can
    /// be gone on with.
    pub(super) fn last(&mut self, next: u64) -> io::Result<(PathBuf, File, u64)> {
        let last = self.all.last().and_then(|(path, _)| Some((path.clone(), cut(path).ok()?)));
        let (path, (file, bytes)) = match last {
            Some(last) => last,
            None => {
                let (path, file) = self.begin(next, self.all.last().map_or(0, |(_, bytes)| *bytes))?;
                (path, (file, 0))
            }
        };
        self.share(&self.dir);
        Ok((path, file, bytes))
    }

    /// A new file behind the last one, which has so many bytes.
    pub(super) fn begin(&mut self, next: u64, bytes: u64) -> io::Result<(PathBuf, File)> {
        let (path, file) = self.create(next)?;
        if let Some(last) = self.all.last_mut() {
            last.1 = bytes;
        }
        self.all.push((path.clone(), 0));
        Ok((path, file))
    }

    /// Removes the oldest until there are at most so many bytes; never the last.
    pub(super) fn make_room(&mut self, limit: u64) -> io::Result<()> {
        while self.all.len() > 1 && self.all.iter().map(|(_, bytes)| bytes).sum::<u64>() > limit {
            let (path, _) = self.all.remove(0);
            fs::remove_file(&path).map_err(|error| named(&path, &error))?;
        }
        Ok(())
    }

    /// Lets the group read it. Events are better in a journal that nobody else can read than in none.
    fn share(&self, path: &Path) {
        let Some(group) = self.group else { return };
        if let Err(errno) = chown(path, None, Some(Gid::from_raw(group))) {
            log::warn!("{}: it cannot be given to the group that may read events: {errno}", path.display());
        }
    }

    /// The file whose first serial this is.
    pub(super) fn path(&self, next: u64) -> PathBuf {
        self.dir.join(format!("{next:020}.log"))
    }

    fn create(&self, next: u64) -> io::Result<(PathBuf, File)> {
        let path = self.path(next);
        let made = (|| {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
            self.share(&path);
            // So that the name is on disk, too.
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        })();
        Ok((path.clone(), made.map_err(|error: io::Error| named(&path, &error))?))
    }
}

/// What there is in a directory, oldest first, each with its bytes.
pub(super) fn all(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = fs::read_dir(dir).map_err(|error| named(dir, &error))?.flatten();
    let ours = entries.filter(|entry| first(&entry.path()).is_some());
    let mut all: Vec<_> =
        ours.map(|entry| (entry.path(), entry.metadata().map_or(0, |file| file.len()))).collect();
    // The names have the same length.
    all.sort();
    Ok(all)
}

/// The serial that a file begins with, if it is one of the journal's.
pub(super) fn first(path: &Path) -> Option<u64> {
    let serial = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let is_ours = serial.len() == 20 && serial.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| serial.parse().ok()).flatten()
}

/// Opens a file behind its last whole line.
fn cut(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).open(path)?;
    let whole = line::read(path, |_| ())?.whole;
    file.set_len(whole)?;
    Ok((file, whole))
}

/// The error with the path.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
