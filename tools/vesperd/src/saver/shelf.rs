// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has been saved: `DIR/UUID/BOOT-ID`, each a recording.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use nix::unistd::{Gid, chown};
use vesper_api::{GuestRef, Saved};
use vesper_stream::store::Info;

/// The recordings in a directory, oldest first.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    saved: Saved,
    when: SystemTime,
    bytes: u64,
}

impl Shelf {
    /// Looks at what is there. What is no recording is left alone.
    pub(super) fn look(dir: &Path) -> Self {
        let mut shelf = Self::default();
        for boot in children(dir).iter().flat_map(|guest| children(guest)) {
            if let Ok(Info { guest, .. }) = Info::read(&boot) {
                let named = GuestRef { domid: guest.domid, name: guest.name, uuid: guest.uuid };
                shelf.put(&boot, named, guest.boot_id);
            }
        }
        shelf
    }

    /// Takes a recording in, and tells its bytes; `None` if there is nothing.
    pub(super) fn put(&mut self, dir: &Path, guest: GuestRef, boot_id: Option<String>) -> Option<u64> {
        let files: Vec<_> = children(dir).iter().filter_map(|file| fs::metadata(file).ok()).collect();
        let when = files.iter().filter_map(|file| file.modified().ok()).max()?;
        let bytes = files.iter().map(fs::Metadata::len).sum();
        self.kept.push(Kept { saved: Saved { guest, boot_id, dir: dir.to_owned() }, when, bytes });
        self.kept.sort_by_key(|kept| kept.when);
        Some(bytes)
    }

    /// The newest of a guest.
    pub(super) fn newest(&self, is_meant: impl Fn(&GuestRef) -> bool) -> Option<Saved> {
        self.kept.iter().rev().find(|kept| is_meant(&kept.saved.guest)).map(|kept| kept.saved.clone())
    }

    /// Removes the oldest until at most so many bytes are left.
    pub(super) fn make_room(&mut self, limit: u64) {
        while self.kept.iter().map(|kept| kept.bytes).sum::<u64>() > limit {
            let kept = self.kept.remove(0);
            let dir = &kept.saved.dir;
            match fs::remove_dir_all(dir) {
                Ok(()) => log::info!("{} is removed, to make room", dir.display()),
                Err(error) => log::error!("{} cannot be removed to make room: {error}", dir.display()),
            }
            // The guest's own directory, if that was its last recording; if not, it is not empty.
            if let Some(parent) = dir.parent() {
                let _ = fs::remove_dir(parent);
            }
        }
    }
}

/// A directory for a boot that is not there yet. The guest chose its boot id, so only what is one makes a name.
pub(super) fn free(parent: &Path, boot_id: Option<&str>) -> PathBuf {
    let is_one = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = boot_id.filter(is_one).unwrap_or("unknown-boot");
    let names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
    names
        .map(|name| parent.join(name))
        .find(|dir| fs::symlink_metadata(dir).is_err())
        .expect("there is always one more number")
}

/// Makes the directory of a boot, with those above it that are missing: for root and the group, and nobody else. Those that
/// are there are left as they are.
pub(super) fn make(dir: &Path, base: &Path, group: Option<u32>) -> io::Result<()> {
    let named =
        |dir: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    let parent = dir.parent().unwrap_or(base);
    for dir in [base, parent, dir] {
        match DirBuilder::new().mode(0o750).create(dir) {
            Ok(()) => chown(dir, None, group.map(Gid::from_raw)).map_err(|errno| named(dir, errno.into()))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(dir, error)),
        }
    }
    Ok(())
}

/// Lets the group read what is in a directory.
pub(super) fn open_files(dir: &Path, group: Option<u32>) -> io::Result<()> {
    for file in children(dir) {
        chown(&file, None, group.map(Gid::from_raw))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    }
    Ok(())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    // What cannot be read has nothing in it for us.
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
