// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to guests: the daemon's events, one at a time.

use std::ffi::{CString, c_char, c_int};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vesper_api::{Done, Request};
use vesper_events::{Event, Missed};

use crate::errno::{Negative, status};
use crate::{c_string, wait};

/// `VIRT_EVENTS_END`.
pub const END: c_int = 2;
/// Longest line that is taken: far longer than any event.
const LINE_MAX: usize = 1 << 20;

/// `struct virt_event` of `vesper.h`.
#[derive(Debug)]
#[repr(C)]
pub struct VirtEvent {
    event: *const c_char,
    severity: *const c_char,
    name: *const c_char,
    uuid: *const c_char,
    cause: *const c_char,
    json: *const c_char,
    serial: u64,
    fault: u64,
    time_ns: u64,
    error_ns: u64,
    missed: u64,
    domid: c_int,
}

/// `struct virt_events`.
#[derive(Debug)]
pub struct Events {
    stream: UnixStream,
    /// What has come and was not returned yet.
    bytes: Vec<u8>,
    /// It ends when all that is there has been read.
    ends: bool,
    missed: u64,
    /// What the event that was returned last points to.
    shown: Shown,
}

#[derive(Debug, Default)]
struct Shown {
    event: CString,
    severity: CString,
    name: CString,
    uuid: CString,
    cause: CString,
    json: CString,
}

/// See `vesper.h`.
///
/// # Safety
///
/// `events` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_events_open(
    target_guest: c_int,
    since: u64,
    flags: c_int,
    events: *mut *mut Events,
) -> c_int {
    status(open(target_guest, since, flags).map(|opened| {
        // SAFETY: the caller's promise.
        unsafe { events.write(Box::into_raw(Box::new(opened))) }
    }))
}

/// See `vesper.h`.
///
/// # Safety
///
/// `events` came from [`virt_events_open`] and is not closed; `event` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_events_next(
    events: *mut Events,
    event: *mut VirtEvent,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: the caller's promise; one thread at a time uses it.
    let events = unsafe { &mut *events };
    match events.next(u64::try_from(timeout_ms).ok().map(Duration::from_millis)) {
        Ok(Some(next)) => {
            // SAFETY: the caller's promise.
            unsafe { event.write(next) };
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
/// As for [`virt_events_next`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_events_fd(events: *const Events) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { &*events }.stream.as_raw_fd()
}

/// See `vesper.h`.
///
/// # Safety
///
/// `events` is NULL or came from [`virt_events_open`], and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn virt_events_close(events: *mut Events) {
    if !events.is_null() {
        // SAFETY: made by `Box::into_raw` in `virt_events_open`, and this is its one end.
        drop(unsafe { Box::from_raw(events) });
    }
}

fn open(guest: c_int, since: u64, flags: c_int) -> Result<Events, Negative> {
    if flags & !END != 0 || guest < -1 {
        return Err(Negative(-libc::EINVAL));
    }
    let dom = (guest != -1).then(|| guest.to_string());
    let ends = flags & END != 0;
    let socket = vesper_client::socket();
    let stream = UnixStream::connect(&socket)
        .map_err(|error| Negative::from(&vesper_client::unreachable(&socket, &error)))?;
    let request = Request::Events { dom, since, follow: !ends };
    let (reply, bytes) = vesper_client::exchange(&stream, &request, None, None);
    match reply.into_result() {
        Ok(Done::Events(_)) => Ok(Events { stream, bytes, ends, missed: 0, shown: Shown::default() }),
        Ok(_) => Err(Negative(-libc::EREMOTEIO)),
        Err(failure) => Err((&failure).into()),
    }
}

impl Events {
    /// The next one; `None` when nothing more will come.
    fn next(&mut self, limit: Option<Duration>) -> Result<Option<VirtEvent>, Negative> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(end + 1);
                let line = std::mem::replace(&mut self.bytes, rest);
                if let Some(event) = self.show(&line) {
                    return Ok(Some(event));
                }
            }
            wait(&self.stream, until)?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) if self.ends => return Ok(None),
                // The daemon is gone; what it tells from now on is asked for with the last serial.
                Ok(0) => return Err(Negative(-libc::EREMOTEIO)),
                Ok(count) if self.bytes.len() < LINE_MAX => self.bytes.extend_from_slice(&chunk[..count]),
                Ok(_) => return Err(Negative(-libc::EREMOTEIO)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The event of a line; `None` if it says something else.
    fn show(&mut self, line: &[u8]) -> Option<VirtEvent> {
        let Ok(event) = vesper_api::from_line::<Event>(line) else {
            if let Ok(Missed { missed }) = vesper_api::from_line(line) {
                self.missed = missed;
            }
            return None;
        };
        self.shown = Shown {
            event: c_string(event.event.name()),
            severity: c_string(event.severity.name()),
            name: c_string(&event.guest.name),
            uuid: c_string(&event.guest.uuid),
            cause: c_string(&event.cause),
            json: c_string(String::from_utf8_lossy(line).trim_end()),
        };
        Some(VirtEvent {
            event: self.shown.event.as_ptr(),
            severity: self.shown.severity.as_ptr(),
            name: self.shown.name.as_ptr(),
            uuid: self.shown.uuid.as_ptr(),
            cause: self.shown.cause.as_ptr(),
            json: self.shown.json.as_ptr(),
            serial: event.serial,
            fault: event.fault,
            time_ns: event.time.nanos,
            error_ns: event.error_ns.unwrap_or(0),
            missed: std::mem::take(&mut self.missed),
            domid: event.guest.domid.into(),
        })
    }
}
