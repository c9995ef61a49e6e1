// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests, channels and the numbers of their files.
//!
//! A file's number tells where it is: a channel has a number of its own, never used again, and its files are counted
//! within it. So nothing has to be remembered of files that the kernel knows and that are no longer shown.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::Shown;

/// Numbers of guests' folders begin here; the root is 1.
const GUESTS: u64 = 1 << 32;
/// Numbers of channels begin here.
const CHANNELS: u64 = 1 << 33;
/// Files that a channel can have.
const FILES: u64 = 1 << 12;

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// The tree.
    Root,
    /// A guest's folder.
    Guest(u16),
    /// A channel's folder.
    Channel(u64),
    /// `info` of a channel.
    Info(u64),
    /// The file of a buffer.
    Buffer(u64, usize),
}

impl Node {
    pub(crate) fn number(self) -> INodeNo {
        INodeNo(match self {
            Self::Root => 1,
            Self::Guest(guest) => GUESTS + u64::from(guest),
            Self::Channel(channel) => CHANNELS + channel * FILES,
            Self::Info(channel) => CHANNELS + channel * FILES + 1,
            Self::Buffer(channel, buffer) => CHANNELS + channel * FILES + 2 + buffer as u64,
        })
    }

    pub(crate) fn of(number: INodeNo) -> Option<Self> {
        match number.0 {
            1 => Some(Self::Root),
            number @ CHANNELS.. => {
                let (channel, file) = ((number - CHANNELS) / FILES, (number - CHANNELS) % FILES);
                Some(match file {
                    0 => Self::Channel(channel),
                    1 => Self::Info(channel),
                    file => Self::Buffer(channel, usize::try_from(file - 2).ok()?),
                })
            }
            number @ GUESTS.. => Some(Self::Guest(u16::try_from(number - GUESTS).ok()?)),
            _ => None,
        }
    }

    fn is_folder(self) -> bool {
        matches!(self, Self::Root | Self::Guest(_) | Self::Channel(_))
    }

    pub(crate) fn kind(self) -> FileType {
        if self.is_folder() { FileType::Directory } else { FileType::RegularFile }
    }
}

/// All that is shown.
pub(crate) struct Table {
    group: u32,
    guests: BTreeMap<u16, BTreeMap<String, u64>>,
    channels: BTreeMap<u64, Arc<Shown>>,
    next: u64,
}

impl Table {
    pub(crate) fn new(group: u32) -> Self {
        Self { group, guests: BTreeMap::new(), channels: BTreeMap::new(), next: 0 }
    }

    /// True: this is the guest's first channel.
    pub(crate) fn show(&mut self, guest: u16, name: &str, shown: Shown) -> bool {
        let first = !self.guests.contains_key(&guest);
        let channels = self.guests.entry(guest).or_default();
        let known = channels.get(name).copied().filter(|number| {
            self.channels.get(number).is_some_and(|known| Arc::ptr_eq(&known.channel, &shown.channel))
        });
        let number = known.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        if let Some(before) = channels.insert(name.to_string(), number)
            && before != number
        {
            self.channels.remove(&before);
        }
        self.channels.insert(number, Arc::new(shown));
        first
    }

    /// True: that was the guest's last channel.
    pub(crate) fn hide(&mut self, guest: u16, name: &str) -> bool {
        let Some(channels) = self.guests.get_mut(&guest) else { return false };
        if let Some(number) = channels.remove(name) {
            self.channels.remove(&number);
        }
        let last = channels.is_empty();
        if last {
            self.guests.remove(&guest);
        }
        last
    }

    /// True: the guest was shown.
    pub(crate) fn hide_guest(&mut self, guest: u16) -> bool {
        let Some(channels) = self.guests.remove(&guest) else { return false };
        for number in channels.into_values() {
            self.channels.remove(&number);
        }
        true
    }

    /// Shows nothing any more; the guests that were shown.
    pub(crate) fn clear(&mut self) -> Vec<u16> {
        self.channels.clear();
        std::mem::take(&mut self.guests).into_keys().collect()
    }

    /// The channel of that number, while it is shown.
    pub(crate) fn channel(&self, number: u64) -> Option<Arc<Shown>> {
        self.channels.get(&number).cloned()
    }

    /// What is in a folder, in an order that does not change with what comes behind.
    pub(crate) fn entries(&self, folder: Node) -> Option<Vec<(String, Node)>> {
        match folder {
            Node::Root => Some(self.guests.keys().map(|&id| (id.to_string(), Node::Guest(id))).collect()),
            Node::Guest(guest) => {
                let channels = self.guests.get(&guest)?;
                Some(channels.iter().map(|(name, &number)| (name.clone(), Node::Channel(number))).collect())
            }
            Node::Channel(number) => {
                let cpus = &self.channels.get(&number)?.cpus;
                let buffers = cpus.iter().enumerate().map(|(index, cpu)| {
                    (format!("cpu{}", cpu.unwrap_or_default()), Node::Buffer(number, index))
                });
                Some(std::iter::once(("info".to_string(), Node::Info(number))).chain(buffers).collect())
            }
            Node::Info(_) | Node::Buffer(..) => None,
        }
    }

    /// What is called so in a folder.
    pub(crate) fn find(&self, folder: Node, name: &OsStr) -> Option<Node> {
        self.entries(folder)?.into_iter().find(|(entry, _)| name == entry.as_str()).map(|(_, node)| node)
    }

    /// What is told of a file; `None`: it is shown no more.
    pub(crate) fn attributes(&self, node: Node) -> Option<FileAttr> {
        match node {
            Node::Root => {}
            Node::Guest(guest) => drop(self.guests.get(&guest)?),
            Node::Channel(number) | Node::Info(number) => drop(self.channels.get(&number)?),
            Node::Buffer(number, buffer) => drop(self.channels.get(&number)?.cpus.get(buffer)?),
        }
        Some(FileAttr {
            ino: node.number(),
            // As relay's own files: what is in them is not known before it is read.
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: node.kind(),
            perm: if node.is_folder() { 0o550 } else { 0o440 },
            nlink: if node.is_folder() { 2 } else { 1 },
            uid: 0,
            gid: self.group,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// For how long the kernel may believe what it was told: guests come and go.
pub(crate) const TTL: Duration = Duration::ZERO;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_what_it_was_made_of() {
        let buffers = [0, 1, 511, 4093].map(|buffer| Node::Buffer(77, buffer));
        let others =
            [Node::Root, Node::Guest(0), Node::Guest(u16::MAX), Node::Channel(0), Node::Info(1 << 40)];
        for node in others.into_iter().chain(buffers) {
            assert_eq!(Node::of(node.number()), Some(node));
        }
        assert_eq!(Node::of(INodeNo(2)), None);
        assert_eq!(Node::of(INodeNo(GUESTS + 65_536)), None);
    }
}
