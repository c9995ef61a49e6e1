// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether anybody but root and the daemon's own user has a say in a file, or in which file a path leads to.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

/// Bits of a mode.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Most symbolic links on the way of a path: as many as the kernel follows.
const LINKS: u32 = 40;

/// How somebody else has a say in it.
pub fn others(file: &Metadata) -> Option<String> {
    let me = nix::unistd::geteuid().as_raw();
    if file.uid() != 0 && file.uid() != me {
        return Some(format!("user {}'s, not root's", file.uid()));
    }
    let open = file.mode() & WRITABLE_BY_OTHERS != 0;
    // A directory as /tmp is so on purpose, and should stay so.
    let remedy = if file.mode() & STICKY == 0 { ": chmod go-w" } else { "" };
    open.then(|| format!("writable by its group or by others{remedy}"))
}

/// How somebody else could make an absolute path lead to something else: which directory on its way he has a say in. That is every directory that
/// a name is looked up in, on the way of each symbolic link, too. A sticky one counts: what is not there yet anybody can put there.
///
/// What the path leads to is not looked at itself.
///
/// # Errors
/// It leads to nothing.
pub fn on_the_way(path: &Path) -> io::Result<Option<String>> {
    let mut names = reversed(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = names.pop() {
        if let Some(why) = others(&fs::symlink_metadata(&at)?) {
            return Ok(Some(format!("is reached through {}, which is {why}", at.display())));
        }
        if name == ".." {
            // No link is in it any more, so that this is its parent.
            at.pop();
            continue;
        }
        let next = at.join(name);
        if !fs::symlink_metadata(&next)?.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        names.extend(reversed(&target));
    }
    Ok(None)
}

/// The names of a path, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}
