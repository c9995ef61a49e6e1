// SPDX-License-Identifier: MIT OR Apache-2.0
//! Items for people: time, guest, channel, CPU, then what it is. Text that has lines of its own follows indented.
//!
//! ```text
//! 2026-03-01T12:34:56.789012Z web1 panic cpu0 panic! cpu=0 pid=1 comm="init" message="Attempted to kill init!"
//!     stack:
//!       panic+0x10c/0x2f6
//!       do_exit+0x8f6/0xae0
//! 2026-03-01T12:34:57.000103Z web1 sched cpu1 -- lost: 17 records (17 writes refused by a full buffer)
//! ```
//!
//! All text that a guest may have written goes through [`printable`].

use std::fmt::Write;

use vesper_api::printable;

use crate::account::Loss;
use crate::frame::{EndReason, GoneReason};
use crate::schema::Event;
use crate::value::{self, Value, Values};
use crate::{Header, Item, What};

/// Bytes of a line of a dump.
const DUMP: usize = 16;

/// Appends an item to `out`, as one line or more.
pub fn write(out: &mut String, item: &Item) {
    match (item.moment(), item.time) {
        (Some(moment), _) => drop(write!(out, "{moment}")),
        // Without a clock only the guest's own time can be told.
        (None, Some(time)) => drop(write!(out, "+{}.{:06}s", time / 1_000_000_000, time / 1000 % 1_000_000)),
        (None, None) => out.push('-'),
    }
    let guest = &item.guest;
    if guest.name.is_empty() {
        let _ = write!(out, " {}", guest.domid);
    } else {
        let _ = write!(out, " {}", printable(&guest.name));
    }
    if let Some(channel) = &item.channel {
        let _ = write!(out, " {}", printable(&channel.export.name));
        match (&item.what, item.cpu) {
            (What::Started | What::Ended { .. } | What::Record { last_words: true, .. }, _) => {}
            (_, Some(cpu)) => drop(write!(out, " cpu{cpu}")),
            (_, None) => out.push_str(" global"),
        }
    }
    match &item.what {
        What::Record { header, payload, last_words } => record(out, item, header, payload, *last_words),
        What::Raw(bytes) => {
            let _ = writeln!(out, " {}", many(bytes.len() as u64, "byte"));
            raw(out, bytes);
        }
        What::Started => {
            let export = item.channel.as_ref().map(|channel| &channel.export);
            let (buffers, owner) =
                export.map_or((0, ""), |export| (export.cpus.len(), export.owner.as_str()));
            let owner = if owner.is_empty() { String::new() } else { format!(" of {}", printable(owner)) };
            let _ = writeln!(out, " -- channel{owner}, {}", many(buffers as u64, "buffer"));
            for (number, problem) in item
                .channel
                .iter()
                .flat_map(|channel| channel.schema.iter().flat_map(|schema| schema.problems()))
            {
                let _ =
                    writeln!(out, "    event {number} cannot be read: {}", printable(&problem.to_string()));
            }
        }
        What::Lost(loss) => {
            out.push_str(" -- ");
            lost(out, loss);
        }
        What::Disorder { expected, found } => {
            let _ = writeln!(out, " -- sequence number {found}, where {expected} should follow");
        }
        What::Undecodable(bytes) => drop(writeln!(out, " -- undecodable: {}", many(*bytes, "byte"))),
        What::Ended { reason, lost } => {
            let _ = write!(out, " -- {}", ended(*reason));
            match lost {
                0 => out.push('\n'),
                lost => drop(writeln!(out, "; lost in all: {}", many(*lost, "record"))),
            }
        }
        What::Gone(gone) => {
            let _ = write!(out, " -- {}", went(gone.reason));
            match &gone.cause {
                None => out.push('\n'),
                Some(cause) => drop(writeln!(out, ": {}", printable(cause))),
            }
        }
    }
}

fn record(out: &mut String, item: &Item, header: &Header, payload: &[u8], last_words: bool) {
    let Some(event) = item.event() else {
        let _ = writeln!(out, " event {}, {}", header.event, many(payload.len() as u64, "byte"));
        return raw(out, payload);
    };
    let values = value::decode(event, payload);
    let _ = write!(out, " {}", event.name);
    if event.fatal || header.fatal() {
        out.push('!');
    }
    let long = fields(out, &values);
    if last_words {
        out.push_str(" (last words)");
    }
    out.push_str(if header.truncated() || values.incomplete { " (cut off)\n" } else { "\n" });
    for (name, text) in long {
        let _ = writeln!(out, "    {name}:");
        for line in text.split('\n') {
            let _ = writeln!(out, "      {}", printable(line));
        }
    }
}

/// A record in one line: the event, and those of its values that have no lines of their own.
pub fn summary(event: &Event, payload: &[u8]) -> String {
    let mut line = event.name.clone();
    fields(&mut line, &value::decode(event, payload));
    line
}

/// Appends the values; those that have lines of their own are left to the caller.
fn fields<'a>(out: &mut String, values: &'a Values<'_>) -> Vec<(&'a str, &'a str)> {
    let mut long = Vec::new();
    for (name, value) in &values.fields {
        match value {
            Value::Unsigned(number) => drop(write!(out, " {name}={number}")),
            Value::Signed(number) => drop(write!(out, " {name}={number}")),
            Value::Hex(number) => drop(write!(out, " {name}={number:#x}")),
            Value::Text(text) => match text.strip_suffix('\n').unwrap_or(text) {
                text if text.contains('\n') => long.push((*name, text)),
                text => drop(write!(out, " {name}=\"{}\"", printable(text).replace('"', "\\\""))),
            },
        }
    }
    long
}

/// Bytes of which nobody says what they are: text if they look like it, else a dump.
fn raw(out: &mut String, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r')));
    match text {
        Some(text) => {
            for line in text.lines() {
                let _ = writeln!(out, "    {}", printable(line));
            }
        }
        None => {
            for (at, line) in bytes.chunks(DUMP).enumerate() {
                let _ = write!(out, "    {:06x}", at * DUMP);
                for byte in line {
                    let _ = write!(out, " {byte:02x}");
                }
                out.push('\n');
            }
        }
    }
}

fn lost(out: &mut String, loss: &Loss) {
    let mut why = Vec::new();
    if loss.sub_buffers > 0 {
        why.push(format!("{} overwritten before being read", many(loss.sub_buffers, "sub-buffer")));
    }
    if loss.bytes > 0 {
        why.push(many(loss.bytes, "byte"));
    }
    if loss.writes > 0 {
        why.push(format!("{} refused by a full buffer", many(loss.writes, "write")));
    }
    let _ = match loss.records {
        Some(records) if why.is_empty() => writeln!(out, "lost: {}", many(records, "record")),
        Some(records) => writeln!(out, "lost: {} ({})", many(records, "record"), why.join(", ")),
        None => writeln!(out, "lost: {}", why.join(", ")),
    };
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Stopped => "the channel was closed by its module",
        EndReason::GuestGone => "the channel ended with its guest",
        EndReason::Detached => "the channel ended: the guest was detached",
        EndReason::Lost => "the channel ended: the connection to the guest was lost",
        EndReason::Unknown => "the channel ended",
    }
}

fn went(reason: GoneReason) -> &'static str {
    match reason {
        GoneReason::Destroyed => "the guest was destroyed",
        GoneReason::Crashed => "the guest crashed",
        GoneReason::ShutDown => "the guest was shut down",
        GoneReason::Saved => "the guest was saved, or migrated to another host",
        GoneReason::Detached => "the guest was detached",
        GoneReason::DaemonStopped => "vesperd was stopped; the guest goes on",
        GoneReason::Unknown => "the guest is gone",
    }
}
