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
        match DirBuilder::new().recursive(true).mode(0o750).create(dir) {
            Ok(()) => {
                chown(dir, None, group.map(Gid::from_raw)).map_err(|errno| named(dir, &errno.into()))?
            }
            Err(error) => return Err(named(dir, &error)),
        }
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).map_err(|error| named(dir, &error))?.flatten() {
            let path = entry.path();
            if is_ours(&path) {
                all.push((path, entry.metadata().map_or(0, |file| file.len())));
            }
        }
        // The names have the same length.
        all.sort();
        Ok(Self { dir: dir.to_owned(), group, all })
    }

    /// All of them.
    pub(super) fn all(&self) -> &[(PathBuf, u64)] {
        &self.all
    }

    /// The last one, to go on with: what is behind its last whole line is cut off. A new one if there is none.
    pub(super) fn last(&mut self) -> io::Result<(PathBuf, File, u64)> {
        let Some((path, _)) = self.all.last() else {
            let (path, file) = self.begin(1, 0)?;
            return Ok((path, file, 0));
        };
        let whole = line::read(path, |_| ())?.whole;
        let opened = OpenOptions::new().append(true).open(path).and_then(|file| {
            file.set_len(whole)?;
            Ok(file)
        });
        Ok((path.clone(), opened.map_err(|error| named(path, &error))?, whole))
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

    /// The file whose first serial this is.
    pub(super) fn path(&self, next: u64) -> PathBuf {
        self.dir.join(format!("{next:020}.log"))
    }

    fn create(&self, next: u64) -> io::Result<(PathBuf, File)> {
        let path = self.path(next);
        let made = (|| {
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
            chown(&path, None, self.group.map(Gid::from_raw))?;
            // So that the name is on disk, too.
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        })();
        Ok((path.clone(), made.map_err(|error: io::Error| named(&path, &error))?))
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
    name.is_some_and(|name| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The error with the path.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
