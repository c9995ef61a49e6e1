// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results and errors as text. All text that a guest may have written goes through [`printable`].

mod listener;

use std::fmt::Write as _;
use std::io::Write;

use vesper_api::{
    Checked, DeviceStatus, Done, Failure, Guest, GuestRef, GuestStatus, Loaded, Log, Wanted, WantedState,
    printable,
};

/// Writes a result. Writing to memory cannot fail.
pub(crate) fn done(out: &mut Vec<u8>, done: &Done) {
    let text = match done {
        Done::Attached(attached) => {
            let kernel = attached
                .kernel
                .as_deref()
                .map_or(String::new(), |kernel| format!(", kernel {}", printable(kernel)));
            let who = who(&attached.guest);
            if attached.already {
                format!("{who} is attached already{kernel}\n")
            } else {
                format!("{who} is attached{kernel} ({} ms)\n", attached.total_ms)
            }
        }
        Done::Detached(detached) => {
            format!("{} is detached ({} ms)\n", who(&detached.guest), detached.total_ms)
        }
        Done::Guests(guests) => table(&guests.guests),
        Done::Loaded(loaded) => self::loaded(loaded),
        Done::Probed(probed) => probed.loaded.iter().map(loaded).collect(),
        Done::Probes(probes) => listener::probes(probes),
        Done::Channels(channels) => listener::channels(channels),
        Done::Alive(alive) => listener::alive(alive),
        Done::Recorded(recorded) => listener::recorded(recorded),
        Done::Checked(checked) => self::checked(checked),
        // Asked for by commands that show more than this.
        Done::Streaming(streaming) => format!("{} records\n", who(&streaming.guest)),
        Done::Events(events) => format!("events up to #{}\n", events.last),
        Done::Saved(saved) => format!("{} is gone: {}\n", who(&saved.guest), saved.dir.display()),
        Done::Unloaded(unloaded) => format!(
            "{} unloaded from {}: {} ms, {} ms of it in the guest's kernel\n{}",
            printable(&unloaded.module),
            who(&unloaded.guest),
            millis(unloaded.total_us),
            millis(unloaded.kernel_us),
            log(&unloaded.log),
        ),
        Done::Status(guest) => status(guest),
    };
    let _ = out.write_all(text.as_bytes());
}

fn checked(checked: &Checked) -> String {
    let rules = match checked.rules {
        0 => "no rules".into(),
        1 => "1 rule".into(),
        rules => format!("{rules} rules"),
    };
    match &checked.file {
        Some(file) => format!("{} is in order: {rules}\n", printable(&file.display().to_string())),
        None => "there is no configuration: every key has its default\n".into(),
    }
}

fn loaded(loaded: &Loaded) -> String {
    format!(
        "{} loaded into {}: {} bytes, {} ms, {} ms of it in the guest's kernel\n{}",
        printable(&loaded.module),
        who(&loaded.guest),
        loaded.bytes,
        millis(loaded.total_us),
        millis(loaded.kernel_us),
        log(&loaded.log),
    )
}

/// An error: what happened, what it means, what the guest's kernel said, what to do.
pub(crate) fn failure(command: &str, failure: &Failure) -> String {
    // A message may have lines of its own, to put two things under each other.
    let message: Vec<_> = failure.message.split('\n').map(printable).collect();
    let mut text = format!("vesper {command}: {}\n", message.join("\n"));
    if let Some(errno) = &failure.errno {
        let _ =
            writeln!(text, "  {} ({}): {}", printable(&errno.name), errno.number, printable(&errno.meaning));
    }
    text.push_str(&log(&failure.log));
    if let Some(remedy) = &failure.remedy {
        let _ = writeln!(text, "  {}", printable(remedy));
    }
    text
}

fn log(log: &Log) -> String {
    if log.is_empty() {
        return String::new();
    }
    let start = if log.truncated { " (its last lines)" } else { "" };
    let mut text = format!("  kernel log of the guest{start}:\n");
    for line in &log.lines {
        let _ = writeln!(text, "    {}", printable(line));
    }
    text
}

fn who(guest: &GuestRef) -> String {
    if guest.name.is_empty() {
        format!("guest {}", guest.domid)
    } else {
        format!("{} ({})", printable(&guest.name), guest.domid)
    }
}

/// Milliseconds with three digits that mean something.
fn millis(micros: u64) -> String {
    let millis = micros as f64 / 1000.0;
    let digits = if millis < 10.0 {
        2
    } else if millis < 100.0 {
        1
    } else {
        0
    };
    format!("{millis:.digits$}")
}

fn table(guests: &[Guest]) -> String {
    let mut rows =
        vec![["ID", "NAME", "UUID", "STATE", "VESPER", "KERNEL", "MODULES", "QUEUE"].map(str::to_owned)];
    for guest in guests {
        rows.push([
            guest.guest.domid.to_string(),
            or_dash(&guest.guest.name),
            guest.guest.uuid.clone(),
            or_dash(&guest.domain),
            device(guest.device).to_owned(),
            or_dash(guest.kernel.as_deref().unwrap_or_default()),
            or_dash(&guest.modules.join(",")),
            queue(guest),
        ]);
    }
    aligned(&rows)
}

/// Rows with their columns below one another.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn status(status: &GuestStatus) -> String {
    let guest = &status.guest;
    let counters = &status.counters;
    let text = |value: &Option<String>| or_dash(value.as_deref().unwrap_or_default());
    let mut device = device(guest.device).to_owned();
    if let Some(reason) = &guest.device_reason {
        let _ = write!(device, ": {}", printable(reason));
    }
    let protocol = status.protocol.filter(|_| status.in_use.ports > 0);
    let rings = protocol.map_or("-".into(), |protocol| format!("mapped, protocol {protocol}"));
    let rows = [
        ("guest", who(&guest.guest)),
        ("uuid", guest.guest.uuid.clone()),
        ("domain", or_dash(&guest.domain)),
        ("device", device),
        ("rings", rings),
        ("kernel", text(&guest.kernel)),
        ("vermagic", text(&status.vermagic)),
        ("frontend", text(&status.frontend)),
        ("boot id", text(&status.boot_id)),
        ("modules", or_dash(&guest.modules.join(", "))),
        ("queue", queue(guest)),
        (
            "commands",
            format!(
                "{} ({} done, {} failed, {} late results)",
                counters.commands, counters.succeeded, counters.errors, counters.late_results
            ),
        ),
        ("sent", format!("{} bytes", counters.bytes)),
        ("requests", format!("{} ({} kicks for nothing)", counters.requests, counters.spurious_kicks)),
        ("connections", format!("{} ({} protocol errors)", counters.connections, counters.protocol_errors)),
        ("in use", format!("{} grants, {} ports", status.in_use.grants, status.in_use.ports)),
    ];
    let rows: Vec<_> = rows.into_iter().chain(status.wanted.iter().map(wanted)).collect();
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    rows.iter().map(|(key, value)| format!("{key:width$}  {value}\n")).collect()
}

/// What a rule wants in the guest.
fn wanted(wanted: &Wanted) -> (&'static str, String) {
    let state = match wanted.state {
        WantedState::In => "in".into(),
        WantedState::Loading => "being loaded".into(),
        WantedState::Out => "not in".into(),
        _ => format!("failed: {}", printable(wanted.why.as_deref().unwrap_or("it is not known why"))),
    };
    ("rule", format!("{} ({}): {state}", printable(&wanted.probe), printable(&wanted.rule)))
}

fn queue(guest: &Guest) -> String {
    match guest.busy_ms {
        Some(busy) if busy >= 1000 => format!("{} (busy since {} s)", guest.queue, busy / 1000),
        _ => guest.queue.to_string(),
    }
}

fn device(device: DeviceStatus) -> &'static str {
    match device {
        DeviceStatus::Detached => "detached",
        DeviceStatus::Waiting => "waiting",
        DeviceStatus::Connected => "connected",
        DeviceStatus::Closing => "closing",
        DeviceStatus::Closed => "closed",
        DeviceStatus::Stopped => "stopped",
        _ => "unknown",
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { printable(text) }
}

#[cfg(test)]
mod tests {
    use vesper_api::{Errno, ErrorKind};

    use super::*;

    #[test]
    fn an_error_shows_everything_that_helps_and_nothing_that_harms() {
        let mut refused =
            Failure::new(ErrorKind::Refused, "the kernel of web1 (3) refused to load probe: ENOEXEC");
        refused.errno = Some(Box::new(Errno::of_load(8)));
        refused.log =
            Log { lines: vec!["probe: Unknown symbol \u{1b}[2Jfoo (err -2)".into()], truncated: false };
        let refused = refused.remedy("try another");
        assert_eq!(
            failure("insmod", &refused),
            "vesper insmod: the kernel of web1 (3) refused to load probe: ENOEXEC\n  \
             ENOEXEC (8): the kernel does not take this image: other vermagic or symbol versions, or a damaged file\n  \
             kernel log of the guest:\n    probe: Unknown symbol \\x1b[2Jfoo (err -2)\n  try another\n"
        );
    }

    #[test]
    fn times_have_three_digits() {
        let table = [(0, "0.00"), (1234, "1.23"), (12_340, "12.3"), (123_400, "123"), (30_000_000, "30000")];
        for (micros, text) in table {
            assert_eq!(millis(micros), text);
        }
    }
}
