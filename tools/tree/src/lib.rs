// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channels of guests as files: `DIR/<domid>/<channel>/{cpu<N>,info}`.
//!
//! A `cpu<N>` file behaves as relay's own files do in debugfs: each open file is a reader of its own, from the oldest
//! sub-buffer that is still whole; a read gives what is there and takes it, waits when there is nothing (`O_NONBLOCK`:
//! EAGAIN), and gives the end of file when the guest has closed the channel. `info` is a JSON document of the moment
//! it is opened.
//!
//! The files are served by FUSE, mounted beside the links `DIR/<domid>`, so that other files can live in `DIR`.
//!
//! | module | subject |
//! |---|---|
//! | [`Tree`] | mounting, what is shown, unmounting |
//! | `table` | guests, channels and the numbers of their files |
//! | `files` | open files |
//! | `waiting`, `signals` | reads and polls that wait for a guest; whether a reader is interrupted |
//! | `serve` | the kernel's questions |

mod files;
mod serve;
mod signals;
mod table;
mod waiting;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use nix::mount::{MntFlags, umount2};
use vesper_relay_mirror::Channel;

use table::Table;

/// Name of the folder in which FUSE is mounted.
const MOUNT: &str = "channels";

/// A channel as it is shown.
pub struct Shown {
    /// The channel.
    pub channel: Arc<Channel>,
    /// The CPU of each of its buffers; `None` for the one buffer of a global channel, which is shown as `cpu0`.
    pub cpus: Vec<Option<u16>>,
    /// Makes the document `info`.
    pub info: Box<dyn Fn() -> String + Send + Sync>,
}

/// The tree, as long as it lives.
pub struct Tree {
    dir: PathBuf,
    table: Arc<Mutex<Table>>,
    session: Option<BackgroundSession>,
}

impl Tree {
    /// Mounts an empty tree in `dir`, which is made if need be; files belong to root and `group`. What a daemon that was
    /// killed left mounted there is cleared away first.
    ///
    /// # Errors
    ///
    /// What the kernel said, for example when it has no FUSE.
    pub fn mount(dir: &Path, group: u32) -> io::Result<Self> {
        let mount = dir.join(MOUNT);
        fs::create_dir_all(dir)?;
        clear(dir, &mount)?;
        fs::create_dir_all(&mount)?;
        let table = Arc::new(Mutex::new(Table::new(group)));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("vesper".into()),
            MountOption::Subtype("vesper".into()),
            MountOption::RO,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoExec,
            MountOption::DefaultPermissions,
        ];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(serve::Files::new(table.clone())?, &mount, &config)?;
        Ok(Self { dir: dir.to_path_buf(), table, session: Some(session) })
    }

    /// Shows a channel of a guest. One that is shown under that name is replaced if it is another channel, else only what
    /// is told of it; open files go on.
    pub fn show(&self, guest: u16, name: &str, shown: Shown) {
        let first = self.table().show(guest, name, shown);
        if first && let Err(error) = std::os::unix::fs::symlink(self.target(guest), self.link(guest)) {
            log::warn!("{} cannot be made: {error}", self.link(guest).display());
        }
    }

    /// Shows a channel no longer. Files that are open are read to their end.
    pub fn hide(&self, guest: u16, name: &str) {
        if self.table().hide(guest, name) {
            self.unlink(guest);
        }
    }

    /// Shows no channel of the guest any longer.
    pub fn hide_guest(&self, guest: u16) {
        if self.table().hide_guest(guest) {
            self.unlink(guest);
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn link(&self, guest: u16) -> PathBuf {
        self.dir.join(guest.to_string())
    }

    fn target(&self, guest: u16) -> PathBuf {
        Path::new(MOUNT).join(guest.to_string())
    }

    fn unlink(&self, guest: u16) {
        if let Err(error) = fs::remove_file(self.link(guest)) {
            log::warn!("{} cannot be removed: {error}", self.link(guest).display());
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let guests = self.table().clear();
        for guest in guests {
            self.unlink(guest);
        }
        // At once, although files may be open: they get errors from then on.
        let mount = self.dir.join(MOUNT);
        if let Err(errno) = umount2(&mount, MntFlags::MNT_DETACH) {
            log::warn!("{} cannot be unmounted: {errno}", mount.display());
        }
        // The thread ends with the last file; nobody waits for it.
        drop(self.session.take());
        let _ = fs::remove_dir(&mount);
    }
}

/// Takes away what an earlier daemon left: its mount, which nobody serves, and its links.
fn clear(dir: &Path, mount: &Path) -> io::Result<()> {
    // EINVAL: nothing is mounted there; ENOENT: there is no such folder.
    while umount2(mount, MntFlags::MNT_DETACH).is_ok() {}
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().is_some_and(|name| name.parse::<u16>().is_ok());
        if number && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
