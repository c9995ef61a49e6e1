// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is at the other end of a connection, as the kernel says, and whether they may be.

use std::os::fd::{AsFd, AsRawFd};
use std::{fmt, fs, io, mem};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Where groups are looked up. The file is read by this code and not by the C library, whose lookup loads shared objects and
/// so does not work in a static program.
const GROUPS: &str = "/etc/group";
/// The same for users.
const USERS: &str = "/etc/passwd";

/// Most supplementary groups that are looked at: `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65_536;

/// Credentials of the process that connected, as they were when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process, for the log only: the number may have another owner by now.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connected Unix socket (`SO_PEERCRED`, `SO_PEERGROUPS`).
    ///
    /// # Errors
    /// The kernel's, which for a connected socket means out of memory.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        Ok(Self {
            pid: credentials.pid(),
            uid: credentials.uid(),
            gid: credentials.gid(),
            groups: supplementary_groups(socket)?,
        })
    }

    /// Root, and the members of the group if there is one.
    pub fn is_permitted(&self, group: Option<u32>) -> bool {
        self.uid == 0 || group.is_some_and(|group| self.gid == group || self.groups.contains(&group))
    }
}

/// For the log: `user 1000 (alice), process 4711`. A user that is not in `/etc/passwd` has only the number.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        let users = fs::read_to_string(USERS).unwrap_or_default();
        if let Some(name) = find_user(&users, self.uid) {
            write!(f, " ({name})")?;
        }
        write!(f, ", process {}", self.pid)
    }
}

/// Supplementary groups of the peer: unlike what `/proc` says of its process, they cannot be another process's.
fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 32];
    loop {
        let mut bytes = mem::size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the buffer is valid for writes of `bytes` bytes, and both live through the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        let count = bytes as usize / mem::size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small: the kernel has said how much it needs.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS_MAX {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// The number of a group; `None` if there is no such group.
///
/// # Errors
/// When `/etc/group` cannot be read.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    Ok(find_group(&fs::read_to_string(GROUPS)?, name))
}

/// group(5): `name:password:GID:members`.
fn find_group(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

/// passwd(5): `name:password:UID:…`.
fn find_user(file: &str, uid: u32) -> Option<&str> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn this_process_is_its_own_peer() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
    }

    #[test]
    fn root_and_the_group_and_nobody_else() {
        let user = |gid, groups: &[u32]| Peer { pid: 1, uid: 1000, gid, groups: groups.to_vec() };
        let root = Peer { pid: 1, uid: 0, gid: 0, groups: vec![] };
        assert!(root.is_permitted(None) && root.is_permitted(Some(70)));
        assert!(user(70, &[]).is_permitted(Some(70)));
        assert!(user(1000, &[4, 70]).is_permitted(Some(70)));
        assert!(!user(1000, &[4]).is_permitted(Some(70)));
        assert!(!user(1000, &[4]).is_permitted(None));
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let file = "root:x:0:\nvesper-old:x:7:\nvesper:x:70:alice,bob\nbroken\n";
        assert_eq!(find_group(file, "vesper"), Some(70));
        assert_eq!(find_group(file, "vesp"), None);
        assert_eq!(find_group(file, "broken"), None);
    }

    #[test]
    fn users_are_found_by_their_number() {
        let file =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\nal:x:100:1000\n";
        assert_eq!(find_user(file, 1000), Some("alice"));
        assert_eq!(find_user(file, 100), Some("al"));
        assert_eq!(find_user(file, 1), None);
        let nobody = Peer { pid: 7, uid: 4_000_000_000, gid: 1, groups: vec![] };
        assert_eq!(nobody.to_string(), "user 4000000000, process 7");
    }
}
