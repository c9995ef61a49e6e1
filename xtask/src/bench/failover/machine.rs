// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: the lab's, with the disk that has Pacemaker on it, a network between dom0 and its two guests, and the programs
//! of the experiment.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vesper_lab::guest::{Guests, Kind};
use vesper_lab::qemu::Event;
use vesper_lab::scenario::Needs;
use vesper_lab::session::{self, Added, Lab};
use vesper_lab::suite::Xen;
use vesper_lab::{digest, kernel, paths, two_hosts};

use super::Step;
use super::kept::Digests;
use super::rows::Place;
use crate::bench::dom0;
use crate::machine::Platform;

/// What is done in dom0, but for the plan.
const SCRIPT: &str = include_str!("dom0.sh");
/// The guests' end of Xen's network; no more modules are needed for it.
const NETWORK: [&str; 1] = ["drivers/net/xen-netfront.ko"];
/// Where in dom0 the files are that a result hangs on, beside the programs; the others are for scenarios. Agents and hook are in the cluster's folder.
const MEASURED: [&str; 6] = [
    "/usr/lib/vesper/probes/",
    "/lab/cluster/",
    "/lab/bench/",
    "/lab/modules/frozen.ko",
    "/lab/scenarios/lib.sh",
    "/usr/bin/failover",
];
/// The sources in which the columns without VESPER have what their results hang on. Sources, not what is built of them: these
/// results are to count wherever they were measured.
const PEERS: [&str; 7] = [
    "lab/bench/failover.c",
    "lab/cluster/setup",
    "lab/cluster/corosync.conf",
    "lab/cluster/two-hosts-corosync.conf",
    "lab/guest/freeze",
    "lab/modules/frozen.c",
    "lab/scenarios/lib.sh",
];
/// For the set-up, and for a repetition with its own, beside what it lasts.
const SET_UP: Duration = Duration::from_secs(600);
const EACH: Duration = Duration::from_secs(360);

/// The machines, built, before one is booted.
pub struct Machines {
    one_host: Lab,
    kdump: Lab,
    two_hosts: [Lab; 2],
    /// Of all that a result hangs on: results are comparable if it is the same.
    pub digests: Digests,
}

/// Builds them.
///
/// # Errors
///
/// Something cannot be built or read.
pub fn provide() -> Result<Machines> {
    let one_host = compose(Kind::Pv, &Needs { guests: 2, ..Needs::default() })?;
    let kdump =
        compose(Kind::Pvh, &Needs { guests: 2, memory: 512, crash_kernel: true, ..Needs::default() })?;
    let each = Lab { guests: Guests { count: 1, ..one_host.guests.clone() }, ..one_host.clone() };
    let two_hosts = two_hosts::pair(&each, &dom0::folder()?.join("failover.cable"));
    let script = script("", "NODE");
    let sources = PEERS.map(|source| paths::workspace().join(source));
    let peers = digest::of_tree(&sources.each_ref().map(PathBuf::as_path))?;
    let digests = Digests {
        ours: digest_of(&[&one_host, &kdump], &script)?,
        peers: digest::of_text(&[&peers, &script]),
    };
    Ok(Machines { one_host, kdump, two_hosts, digests })
}

fn compose(guest: Kind, needs: &Needs) -> Result<Lab> {
    let platform = Platform { xen: Xen::V4_17, guest, ..Platform::default() };
    let mut lab = platform.compose(&Needs { cluster: true, ..needs.clone() }, false)?;
    let release = kernel::release(&platform.kernel)?;
    let [front] = kernel::modules(&release, &NETWORK, &dom0::folder()?.join("network"))?
        .try_into()
        .expect("as many as were wanted");
    let program = dom0::c_program("failover", &[])?;
    let added = |from: PathBuf, to: &str| Added { from, to: to.to_string() };
    lab.guests.modules.push(front);
    lab.guests.added.push(added(program.clone(), "/lab/bench/web"));
    lab.added.push(added(program, "/usr/bin/failover"));
    lab.added.push(added(paths::workspace().join("lab/scenarios/lib.sh"), "/lab/scenarios/lib.sh"));
    Ok(lab)
}

fn digest_of(labs: &[&Lab], script: &str) -> Result<String> {
    let mut files: Vec<&Path> = Vec::new();
    for lab in labs {
        let in_dom0 = lab.added.iter().filter(|file| MEASURED.iter().any(|place| file.to.starts_with(place)));
        files.extend(lab.vesper.iter().chain(&lab.guests.modules).map(PathBuf::as_path));
        files.extend(in_dom0.chain(&lab.guests.added).map(|file| file.from.as_path()));
    }
    Ok(digest::of_text(&[&digest::of_tree(&files)?, script]))
}

fn script(plan: &str, node: &str) -> String {
    format!("NODE={node}\nPLAN='{plan}'\n{SCRIPT}")
}

/// Boots what the plan's steps, which are all of one place, are run on, and runs them; `sink` gets each line of the script that begins with `@`, as
/// soon as it is there.
///
/// # Errors
///
/// The lab cannot be booted, what the script said when it gave up, or the sink's.
pub fn run(machines: &Machines, plan: &[Step<'_>], sink: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let lines: String = plan.iter().map(line).collect();
    let each = |step: &Step<'_>| EACH + Duration::from_secs(step.row.limit.into());
    let limit = SET_UP + plan.iter().map(each).sum::<Duration>();
    let Machines { one_host, kdump, two_hosts, .. } = machines;
    match plan.first().map(|step| step.row.place) {
        None => Ok(()),
        Some(Place::OneHost) => boot(one_host, &script(&lines, "dom0"), limit, "failover.log", sink),
        Some(Place::Kdump) => boot(kdump, &script(&lines, "dom0"), limit, "failover.log", sink),
        Some(Place::TwoHosts) => two_hosts::run(
            two_hosts,
            |a| boot(a, &script(&lines, "a"), limit, "failover.log", sink),
            // It ends when a is gone.
            |b| boot(b, &script("", "b"), limit, "failover.b.log", &mut |_| Ok(())),
        ),
    }
}

fn boot(
    lab: &Lab,
    script: &str,
    limit: Duration,
    log: &str,
    sink: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let log = dom0::folder()?.join(log);
    let mut log_file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut output = Vec::new();
    let (mut seen, mut kept) = (0, Ok(()));
    let outcome = session::run(lab, script, limit, &mut |event| {
        let Event::Output(bytes) = event else { return };
        // For whoever wonders what it does; the run does not hang on it.
        let _ = log_file.write_all(&bytes);
        output.extend(bytes);
        while let Some(end) = output[seen..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&output[seen..seen + end]).into_owned();
            seen += end + 1;
            let line = line.trim();
            if line.starts_with('@') && kept.is_ok() {
                kept = sink(line);
            }
        }
    });
    kept?;
    let said = || vesper_lab::command::tail(&String::from_utf8_lossy(&output)).to_string();
    let outcome = outcome.with_context(|| format!("until then dom0 said:\n{}", said()))?;
    ensure!(
        outcome.status == 0,
        "status {} in dom0, whose last words were (all: {}):\n{}",
        outcome.status,
        log.display(),
        said()
    );
    Ok(())
}

/// As the script reads it.
fn line(Step { column, row, number }: &Step<'_>) -> String {
    format!("{} {} {} {number} {} {}\n", column.name, column.monitor, row.name, row.class.word(), row.limit)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_digest_is_of_what_a_result_hangs_on() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name);
        let added = |name: &str, to: &str| Added { from: file(name), to: to.to_string() };
        let guests = Guests {
            count: 2,
            kind: Kind::Pv,
            vcpus: 1,
            memory: 192,
            parameters: String::new(),
            modules: vec![file("vesper_front.ko")],
            added: vec![added("web", "/lab/bench/web")],
        };
        let lab = Lab {
            xen: Xen::V4_17,
            kernel: "6.1".to_string(),
            guests,
            vesper: vec![file("vesperd")],
            added: vec![
                added("panic.ko", "/usr/lib/vesper/probes/6.1/panic.ko"),
                added("service", "/lab/cluster/service"),
                added("answer.ko", "/lab/modules/answer.ko"),
            ],
            disk: None,
            cable: None,
        };
        let all = ["vesper_front.ko", "web", "vesperd", "panic.ko", "service", "answer.ko"];
        for name in all {
            fs::write(file(name), "1")?;
        }
        let mut last = digest_of(&[&lab], "a")?;
        assert_eq!(last, digest_of(&[&lab], "a")?);
        assert_ne!(last, digest_of(&[&lab], "b")?);
        for name in all {
            fs::write(file(name), "2")?;
            let now = digest_of(&[&lab], "a")?;
            assert_eq!(now == last, name == "answer.ko", "{name}");
            last = now;
        }
        Ok(())
    }
}
