// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading what a guest records: the daemon's stream, decoded, one record at a time.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::{Duration, Instant};

use vesper_api::{Done, Request, Since};
use vesper_stream::{Decoder, Item, Parser, What, json};

use crate::errno::{Negative, status};
use crate::{c_string, text, wait};

/// `VIRT_RELAY_NOW`.
pub const NOW: c_int = 1;
/// `VIRT_RELAY_END`.
pub const END: c_int = 2;
/// `VIRT_RECORD_URGENT`.
pub const URGENT: u32 = 1;
/// `VIRT_RECORD_FATAL`.
pub const FATAL: u32 = 2;
/// `VIRT_RECORD_TRUNCATED`.
pub const TRUNCATED: u32 = 4;
/// `VIRT_RECORD_LAST_WORDS`.
pub const LAST_WORDS: u32 = 0x1_0000;
/// `VIRT_RECORD_RAW`.
pub const RAW: u32 = 0x2_0000;

/// `struct virt_record` of `vesper.h`.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    channel: *const c_char,
    event: *const c_char,
    json: *const c_char,
    data: *const c_void,
    bytes: usize,
    cpu: c_int,
    flags: u32,
    seq: u64,
    time_ns: u64,
    error_ns: u64,
    lost: u64,
}

/// `struct virt_relay`.
#[derive(Debug)]
pub struct Relay {
    stream: UnixStream,
    parser: Parser,
    decoder: Decoder,
    ready: VecDeque<Item>,
    ended: bool,
    lost: u64,
    /// What the record that was returned last points to.
    shown: Shown,
}

#[derive(Debug, Default)]
struct Shown {
    channel: CString,
    event: Option<CString>,
    json: CString,
    data: Vec<u8>,
}

/// See `vesper.h`.
///
/// # Safety
///
/// `name` is NULL or a C string; `relay` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_relay_open(
    target_guest: c_int,
    name: *const c_char,
    flags: c_int,
    relay: *mut *mut Relay,
) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { text(name) };
    status(open(target_guest, name, flags).map(|opened| {
        // SAFETY: the caller's promise.
        unsafe { relay.write(Box::into_raw(Box::new(opened))) }
    }))
}

/// See `vesper.h`.
///
/// # Safety
///
/// `relay` came from [`virt_relay_open`] and is not closed; `record` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_relay_next(relay: *mut Relay, record: *mut Record, timeout_ms: c_int) -> c_int {
    // SAFETY: the caller's promise; one thread at a time uses it.
    let relay = unsafe { &mut *relay };
    match relay.next(u64::try_from(timeout_ms).ok().map(Duration::from_millis)) {
        Ok(Some(next)) => {
            // SAFETY: the caller's promise.
            unsafe { record.write(next) };
            1
        }
        Ok(None) => 0,
        Err(Negative(errno)) => errno,
    }
}

/// See `vesper.h`.
///
/// # Safety
///
/// As for [`virt_relay_next`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_relay_fd(relay: *const Relay) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { &*relay }.stream.as_raw_fd()
}

/// See `vesper.h`.
///
/// # Safety
///
/// `relay` is NULL or came from [`virt_relay_open`], and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_relay_close(relay: *mut Relay) {
    if !relay.is_null() {
        // SAFETY: made by `Box::into_raw` in `virt_relay_open`, and this is its one end.
        drop(unsafe { Box::from_raw(relay) });
    }
}

fn open(guest: c_int, name: Option<Result<&str, Negative>>, flags: c_int) -> Result<Relay, Negative> {
    if flags & !(NOW | END) != 0 {
        return Err(Negative(-libc::EINVAL));
    }
    let channel = name.transpose()?.filter(|name| !name.is_empty()).map(String::from);
    let since = if flags & NOW != 0 { Since::Now } else { Since::Boot };
    let request = Request::Stream { dom: guest.to_string(), channel, since, follow: flags & END == 0 };
    let socket = vesper_client::socket();
    let stream = UnixStream::connect(&socket)
        .map_err(|error| Negative::from(&vesper_client::unreachable(&socket, &error)))?;
    let (reply, begun) = vesper_client::exchange(&stream, &request, None, None);
    match reply.into_result() {
        Ok(Done::Streaming(_)) => {}
        // The guest is gone: what it left is for `vesper tail` and `vesper replay`.
        Ok(_) => return Err(Negative(-libc::EHOSTDOWN)),
        Err(failure) => return Err((&failure).into()),
    }
    let mut relay = Relay {
        stream,
        parser: Parser::new(),
        decoder: Decoder::new(),
        ready: VecDeque::new(),
        ended: false,
        lost: 0,
        shown: Shown::default(),
    };
    relay.take(&begun);
    Ok(relay)
}

impl Relay {
    /// The next record; `None` when nothing more will come.
    fn next(&mut self, limit: Option<Duration>) -> Result<Option<Record>, Negative> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            while let Some(item) = self.ready.pop_front() {
                if let Some(record) = self.show(&item) {
                    return Ok(Some(record));
                }
            }
            if self.ended {
                return Ok(None);
            }
            wait(&self.stream, until)?;
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.take(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.parser.push(bytes);
        let mut items = Vec::new();
        while let Some(entry) = self.parser.next_entry() {
            self.decoder.decode(entry, &mut items);
        }
        self.ready.extend(items);
    }

    /// The item as a record; `None` when it is something else, of which only losses are kept.
    fn show(&mut self, item: &Item) -> Option<Record> {
        let (flags, seq, data) = match &item.what {
            What::Record { header, payload, last_words } => {
                let bits = [
                    (header.urgent(), URGENT),
                    (header.fatal(), FATAL),
                    (header.truncated(), TRUNCATED),
                    (*last_words, LAST_WORDS),
                ];
                let flags = bits.into_iter().filter(|(is, _)| *is).fold(0, |flags, (_, bit)| flags | bit);
                (flags, header.seq, payload.clone())
            }
            What::Raw(bytes) => (RAW, 0, bytes.clone()),
            What::Lost(loss) => {
                self.lost = self.lost.saturating_add(loss.records.unwrap_or(loss.writes));
                return None;
            }
            _ => return None,
        };
        let mut line = Vec::new();
        json::write(&mut line, item);
        let name = item.channel.as_ref().map_or("", |channel| &channel.export.name);
        self.shown = Shown {
            channel: c_string(name),
            event: item.event().map(|event| c_string(&event.name)),
            json: c_string(String::from_utf8_lossy(&line).trim_end()),
            data,
        };
        Some(Record {
            channel: self.shown.channel.as_ptr(),
            event: self.shown.event.as_ref().map_or(ptr::null(), |event| event.as_ptr()),
            json: self.shown.json.as_ptr(),
            data: self.shown.data.as_ptr().cast(),
            bytes: self.shown.data.len(),
            cpu: item.cpu.map_or(-1, c_int::from),
            flags,
            seq,
            time_ns: item.moment().map_or(0, |moment| moment.nanos),
            error_ns: item.clock.as_ref().map_or(0, |clock| clock.error_ns),
            lost: std::mem::take(&mut self.lost),
        })
    }
}
