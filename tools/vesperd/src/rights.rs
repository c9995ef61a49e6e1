// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what at the socket.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use vesper_api::{ErrorKind, Failure, Request, Right};

use crate::config;
use crate::peer::{Peer, group_id};
use crate::socket::Access;

/// Between two lines in the log about somebody who may not: with several groups anybody may connect, and try.
const PAUSE: Duration = Duration::from_secs(1);

/// The groups of all rights, as they were when the daemon started.
pub(crate) struct Rights {
    holders: [Holder; Right::ALL.len()],
    /// Nothing more is logged until then.
    quiet_until: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

struct Holder {
    right: Right,
    name: String,
    /// `None`: there is no such group, so it is root's alone.
    group: Option<u32>,
}

impl Rights {
    /// Looks the groups up.
    ///
    /// # Errors
    /// When `/etc/group` cannot be read.
    pub(crate) fn find(config: &config::Rights) -> io::Result<Self> {
        let mut holders = Vec::new();
        for right in Right::ALL {
            let name = config.group(right).to_owned();
            let group = group_id(&name)?;
            if group.is_none() {
                log::warn!("there is no group {name}: only root has the right to {right}");
            }
            holders.push(Holder { right, name, group });
        }
        Ok(Self::of(holders.try_into().ok().expect("there is one for each right")))
    }

    fn of(holders: [Holder; Right::ALL.len()]) -> Self {
        Self { holders, quiet_until: Cell::new(None), untold: Cell::new(0) }
    }

    /// The group of a right.
    pub(crate) fn group(&self, right: Right) -> Option<u32> {
        self.holder(right).group
    }

    /// Who may connect. A socket's file has one group, so with several it is open to all, and each is asked who they are.
    pub(crate) fn access(&self) -> Access {
        let mut groups: Vec<_> = self.holders.iter().filter_map(|holder| holder.group).collect();
        groups.sort_unstable();
        groups.dedup();
        match groups[..] {
            [] => Access::Root,
            [group] => Access::Group(group),
            _ => Access::All,
        }
    }

    /// Whether this peer has any right at all.
    ///
    /// # Errors
    /// What to tell it if not.
    pub(crate) fn welcome(&self, peer: &Peer) -> Result<(), Failure> {
        if self.holders.iter().any(|holder| peer.is_permitted(holder.group)) {
            return Ok(());
        }
        self.note(&format!("{peer} is not permitted to use the socket"));
        let mut names: Vec<_> = self.holders.iter().map(|holder| holder.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let (these, one) = match names[..] {
            [name] => (format!("in the group {name}"), name),
            _ => (format!("in one of the groups {}", names.join(", ")), "GROUP"),
        };
        let message = format!("user {} is neither root nor {these}", peer.uid);
        let remedy = format!("run it as root, or add the user to the group: adduser USER {one}");
        Err(Failure::new(ErrorKind::NotPermitted, message).remedy(remedy))
    }

    /// Whether this peer may ask this.
    ///
    /// # Errors
    /// Which right is missing, and how to get it.
    pub(crate) fn check(&self, peer: &Peer, request: &Request) -> Result<(), Failure> {
        let Holder { right, name, group } = self.holder(request.right());
        if peer.is_permitted(*group) {
            return Ok(());
        }
        let command = request.command();
        self.note(&format!("{peer} has not the right to {right}: {command} is refused"));
        let message = format!(
            "{command} needs the right {right}; user {} is neither root nor in its group {name}",
            peer.uid
        );
        let remedy = match group {
            Some(_) => {
                format!("run it as root, or add the user to the group: adduser USER {name}, and log in anew")
            }
            None => format!(
                "run it as root; there is no group {name}, so nobody else may: addgroup {name}, systemctl restart vesperd"
            ),
        };
        Err(Failure::new(ErrorKind::NotPermitted, message).remedy(remedy))
    }

    fn holder(&self, right: Right) -> &Holder {
        self.holders.iter().find(|holder| holder.right == right).expect("there is one for each right")
    }

    /// A line a second at most; how many were left out is said.
    fn note(&self, what: &str) {
        let now = Instant::now();
        if self.quiet_until.get().is_some_and(|until| now < until) {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.quiet_until.set(Some(now + PAUSE));
        match self.untold.take() {
            0 => log::warn!("{what}"),
            more => log::warn!("{what}; {more} more refusals before it"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Each right with a group of its own: 70 and so on.
    pub(crate) fn apart() -> Rights {
        let mut group = 70;
        Rights::of(Right::ALL.map(|right| {
            group += 1;
            Holder { right, name: format!("may-{right}"), group: Some(group - 1) }
        }))
    }

    pub(crate) fn user(groups: &[u32]) -> Peer {
        Peer { pid: 1, uid: 4_000_000, gid: 4_000_000, groups: groups.to_vec() }
    }

    #[test]
    fn who_has_no_right_is_not_let_in() {
        let rights = apart();
        assert!(rights.welcome(&user(&[1, 73])).is_ok());
        assert!(rights.welcome(&Peer { uid: 0, ..user(&[]) }).is_ok());
        let failure = rights.welcome(&user(&[1, 74])).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::NotPermitted);
        let wanted = "user 4000000 is neither root nor in one of the groups may-configure, may-events, may-inject, may-read";
        assert_eq!(failure.message, wanted);
    }

    #[test]
    fn the_socket_is_for_one_group_or_for_all() {
        assert_eq!(apart().access(), Access::All);
        let with = |groups: [Option<u32>; 4]| {
            let mut rights = apart();
            rights.holders.iter_mut().zip(groups).for_each(|(holder, group)| holder.group = group);
            rights.access()
        };
        assert_eq!(with([Some(7); 4]), Access::Group(7));
        assert_eq!(with([Some(7), None, Some(7), None]), Access::Group(7));
        assert_eq!(with([None; 4]), Access::Root);
        assert_eq!(with([Some(7), None, Some(8), None]), Access::All);
    }

    #[test]
    fn refusals_do_not_flood_the_log() {
        let rights = apart();
        (0..100).for_each(|_| drop(rights.welcome(&user(&[]))));
        assert!(rights.untold.get() >= 98, "{}", rights.untold.get());
    }
}
