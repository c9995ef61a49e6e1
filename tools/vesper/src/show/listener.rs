// SPDX-License-Identifier: MIT OR Apache-2.0
//! Channels, probes and life as text.

use std::fmt::Write as _;

use vesper_api::{Alive, Because, BufferStatus, Channels, Fault, Probes, Recorded, printable};

use super::{aligned, or_dash, who};

pub(super) fn channels(channels: &Channels) -> String {
    let mut rows = vec![
        ["ID", "NAME", "CHANNEL", "MODULE", "BUFFERS", "RECORDS", "DROPPED", "READ", "EVENTS"]
            .map(str::to_owned),
    ];
    for guest in &channels.guests {
        for channel in &guest.channels {
            let sum = |count: fn(&BufferStatus) -> u64| {
                channel.buffers.iter().map(count).fold(0, u64::saturating_add).to_string()
            };
            let foreign = channel.events.is_empty();
            rows.push([
                guest.guest.domid.to_string(),
                or_dash(&guest.guest.name),
                printable(&channel.name),
                or_dash(&channel.owner),
                format!(
                    "{} x {} x {} KiB",
                    channel.buffers.len(),
                    channel.subbufs,
                    channel.subbuf_size / 1024
                ),
                // What a foreign module writes has no numbers to be counted by.
                if foreign { "-".into() } else { sum(|buffer| buffer.records) },
                sum(|buffer| buffer.dropped),
                if channel.read { "yes" } else { "no" }.into(),
                if foreign { "-".into() } else { printable(&channel.events.join(",")) },
            ]);
        }
    }
    let mut text = aligned(&rows);
    for guest in channels.guests.iter().filter(|guest| guest.words_lost > 0) {
        let _ = writeln!(text, "{}: {} last words had no place", who(&guest.guest), guest.words_lost);
    }
    text
}

pub(super) fn probes(probes: &Probes) -> String {
    if probes.probes.is_empty() {
        return format!(
            "no probes are installed\nthey are in {}/RELEASE, built with: cargo xtask kmod --kernel RELEASE\n",
            vesper_api::PROBES
        );
    }
    let (mut text, mut kernel) = (String::new(), None);
    let width = probes.probes.iter().map(|probe| probe.group.len()).max().unwrap_or_default();
    for probe in &probes.probes {
        if kernel != Some(&probe.kernel) {
            kernel = Some(&probe.kernel);
            let _ = writeln!(text, "{}", printable(&probe.kernel));
        }
        let line = format!("  {:width$}  {}", printable(&probe.group), printable(&probe.description));
        let _ = writeln!(text, "{}", line.trim_end());
        for (name, what) in &probe.parameters {
            let _ = writeln!(text, "  {:width$}    {}: {}", "", printable(name), printable(what));
        }
    }
    text
}

pub(super) fn recorded(recorded: &Recorded) -> String {
    let mut text = format!(
        "recorded {} into {}: {} bytes",
        who(&recorded.guest),
        recorded.dir.display(),
        recorded.bytes
    );
    if recorded.removed > 0 {
        let _ = write!(text, "; {} older ones were removed to keep to the limit", recorded.removed);
    }
    text + "\n"
}

pub(super) fn alive(alive: &Alive) -> String {
    let who = who(&alive.guest);
    let module = alive.module.as_ref().map(|module| printable(&module.name)).unwrap_or_default();
    let vcpus: Vec<_> = alive.hung_vcpus.iter().map(ToString::to_string).collect();
    let said = match alive.because {
        Because::Beating => "is alive: its vCPUs beat".into(),
        Because::Paused => "is alive: it is paused".into(),
        Because::Saving => "is alive: it is being suspended or migrated".into(),
        Because::Starved => "is alive: starved, it does not beat as Xen does not let it run".into(),
        Because::NotConnected => {
            "is alive as far as Xen says; nothing in it is connected that could beat".into()
        }
        Because::Undecided => "is alive as far as Xen says; whether it beats is not known yet".into(),
        Because::Hung if vcpus.is_empty() => "is not alive: hung".into(),
        Because::Hung => {
            format!("is not alive: hung, vCPU {} had the time to beat and did not", vcpus.join(", "))
        }
        Because::Crashed => "is not alive: its kernel crashed".into(),
        Because::ShutDown => "is not alive: it was shut down".into(),
        Because::Rebooting => "is not alive: it is rebooting".into(),
        Because::SoftReset => {
            "is not alive: it goes on with another kernel (a crash kernel, or kexec)".into()
        }
        Because::Watchdog => "is not alive: its watchdog ended it".into(),
        Because::Destroyed => "is not alive: it was destroyed".into(),
        Because::NoModule => format!("is alive, but {module} is not in it"),
        Because::Fatal if alive.module.is_none() => "is not alive: it has reported its end".into(),
        Because::Fatal => format!("is not alive: {module} recorded something fatal"),
        _ if alive.alive => "is alive".into(),
        _ => "is not alive".into(),
    };
    let faults = alive.faults.iter().map(|fault| {
        let Fault { fault, event, severity, cause, service, .. } = fault;
        let failed =
            service.as_ref().map_or(String::new(), |service| format!(", {} failed", printable(service)));
        format!("  #{fault} {} ({}{failed}): {}\n", printable(event), printable(severity), printable(cause))
    });
    let faults: String = faults.collect();
    match &alive.module {
        Some(state) if alive.alive => {
            let channels = if state.channels.is_empty() {
                String::new()
            } else {
                format!(" (channels: {})", printable(&state.channels.join(", ")))
            };
            format!("{who} {said}; {module} is in{channels}\n")
        }
        _ => format!("{who} {said}\n{faults}"),
    }
}
