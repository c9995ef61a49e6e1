// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vesper events`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use vesper_api::{Failure, printable};
use vesper_events::{End, Event, Missed, Severity};

use super::feed::{Came, Feed, Opened, cut_off, not_a_stream};
use crate::options::Events;
use crate::say;

/// Prints events; as JSON they are passed on as they come.
///
/// # Errors
/// What keeps it from being begun or going on.
pub(crate) fn events(socket: &Path, options: &Events, json: bool) -> Result<(), Failure> {
    let Opened::Events(mut feed) = Feed::open(socket, &options.request())? else {
        return Err(not_a_stream());
    };
    let mut out = io::stdout().lock();
    let mut bytes = Vec::new();
    loop {
        match feed.next(&mut bytes, None).map_err(|error| cut_off(&error.to_string()))? {
            Came::Stop => return Ok(()),
            Came::End if options.follow => return Err(cut_off("it closed the connection")),
            Came::End => return Ok(()),
            Came::Bytes | Came::Nothing => {}
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let shown = if json { bytes[..whole].to_vec() } else { text(&bytes[..whole])?.into_bytes() };
        bytes.drain(..whole);
        // Nobody reads any more: that is for the reader to say.
        if out.write_all(&shown).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

/// Documents as text.
fn text(lines: &[u8]) -> Result<String, Failure> {
    let mut out = String::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match vesper_api::from_line(line) {
            Ok(event) => show(&mut out, &event),
            Err(error) => match vesper_api::from_line(line) {
                Ok(Missed { missed }) => say(&format!("events up to #{missed} may be missing here\n")),
                Err(_) => return Err(cut_off(&format!("an event cannot be read ({error})"))),
            },
        }
    }
    Ok(out)
}

/// One event. Its cause and stack are escaped already.
fn show(out: &mut String, event: &Event) {
    let Event { serial, time, event: kind, severity, cause, .. } = event;
    let guest = &event.guest;
    let _ = writeln!(
        out,
        "{time} #{serial} {} ({}) {kind} ({severity}): {cause}",
        printable(&guest.name),
        guest.domid
    );
    for note in notes(event) {
        let _ = writeln!(out, "    {note}");
    }
    if !event.stack.is_empty() {
        let _ = writeln!(out, "    stack:");
    }
    for line in &event.stack {
        let _ = writeln!(out, "      {line}");
    }
}

/// What else there is to say, a line each.
fn notes(event: &Event) -> Vec<String> {
    let mut notes = Vec::new();
    if event.fault != event.serial {
        notes.push(format!("more about #{}", event.fault));
    }
    match (event.failed, &event.service) {
        (None, _) => {}
        // The severity says so.
        (Some(_), None) if event.severity == Severity::Fatal => {}
        (Some(failed), None) => notes.push(format!("the {} failed", failed.name())),
        (Some(_), Some(service)) => notes.push(format!("the service {} failed", printable(service))),
    }
    match event.repeated {
        0 => {}
        1 => notes.push("it happened once more".into()),
        times => notes.push(format!("it happened {times} times more")),
    }
    match event.suppressed {
        0 => {}
        1 => notes.push("1 event of this guest before it is not told, because there were too many".into()),
        more => notes
            .push(format!("{more} events of this guest before it are not told, because there were too many")),
    }
    if event.recovered {
        notes.push("it beats again".into());
    }
    let end = match event.end {
        None => "",
        Some(End::Destroyed) => "the domain was destroyed",
        Some(End::Saved) => "the domain was saved, or migrated to another host",
        Some(End::Crashed) => "the domain crashed",
        Some(End::Watchdog) => "the domain's watchdog ended it",
        Some(End::PoweredOff) => "the domain shut down",
        Some(End::Rebooted) => "the domain reboots",
        Some(_) => "the domain has ended",
    };
    if !end.is_empty() && !event.cause.contains(end) {
        notes.push(end.into());
    }
    if let Some(dir) = &event.saved {
        let dir = printable(&dir.display().to_string());
        notes.push(format!("what it recorded last: vesper replay {dir}"));
    }
    notes
}
