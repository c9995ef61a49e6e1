// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's questions. One thread asks them all, so none of them waits.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, PollEvents,
    PollFlags, PollNotifier, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyPoll, Request,
};
use vesper_relay_mirror::Start;

use crate::files::{File, Open, Read};
use crate::table::{Node, TTL, Table};
use crate::waiting::Waiting;

/// The file system.
pub(crate) struct Files {
    table: Arc<Mutex<Table>>,
    open: Mutex<Open>,
    waiting: Arc<Waiting>,
}

impl Files {
    pub(crate) fn new(table: Arc<Mutex<Table>>) -> io::Result<Self> {
        Ok(Self { table, open: Mutex::default(), waiting: Waiting::start()? })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_node(&self, node: Node) -> Option<File> {
        match node {
            Node::Info(number) => {
                let shown = self.table().channel(number)?;
                Some(File::Info((shown.info)()))
            }
            Node::Buffer(number, buffer) => {
                let shown = self.table().channel(number)?;
                let reader = shown.channel.reader_of(buffer, Start::Oldest)?;
                Some(File::buffer(&shown.channel, buffer, reader))
            }
            _ => None,
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let table = self.table();
        let found = Node::of(parent).and_then(|folder| table.find(folder, name));
        match found.and_then(|node| table.attributes(node)) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match Node::of(number).and_then(|node| self.table().attributes(node)) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(folder) = Node::of(number) else { return reply.error(Errno::ENOENT) };
        let Some(entries) = self.table().entries(folder) else { return reply.error(Errno::ENOENT) };
        // The parent's number is of no use to anybody; the root's is right for most.
        let dots = [(".".to_string(), folder), ("..".to_string(), Node::Root)];
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, node)) in dots.into_iter().chain(entries).enumerate().skip(from) {
            if reply.add(node.number(), index as u64 + 1, node.kind(), name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match Node::of(number).and_then(|node| self.open_node(node)) {
            Some(file) => {
                let flags = match file {
                    File::Info(_) => FopenFlags::FOPEN_DIRECT_IO,
                    File::Buffer { .. } => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_STREAM,
                };
                reply.opened(FileHandle(self.open().add(file)), flags);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.open().get(handle.0) else { return reply.error(Errno::EBADF) };
        match file.read(offset, size as usize) {
            Read::Bytes(bytes) => reply.data(&bytes),
            Read::Nothing if flags.0 & libc::O_NONBLOCK != 0 => reply.error(Errno::EAGAIN),
            Read::Nothing => self.waiting.read(file, size as usize, request.pid(), reply),
        }
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        notifier: PollNotifier,
        events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let Some(file) = self.open().get(handle.0) else { return reply.error(Errno::EBADF) };
        if file.is_readable() {
            return reply.poll(events & (PollEvents::POLLIN | PollEvents::POLLRDNORM));
        }
        if flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY) {
            self.waiting.poll(file, notifier);
        }
        reply.poll(PollEvents::empty());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(file) = self.open().get(handle.0) {
            self.waiting.forget(&file);
        }
        self.open().remove(handle.0);
        reply.ok();
    }
}
