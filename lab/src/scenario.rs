// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios: shell scripts of `lab/scenarios` that run in dom0. A line `#: WORD…` in each says what it needs, and
//! those that need the same machine share a boot.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::guest::Kind;
use crate::paths;
use crate::qemu::Event;
use crate::session::{self, Added, Lab};
use crate::suite::Xen;
use crate::two_hosts;

/// What a scenario says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `guests=N`
    pub guests: u32,
    /// `hosts=2`: two machines with a cable between them, on both of which the scenario is run at a time, with `$NODE` a and b; it is what comes of it on a.
    /// Goes with `alone`.
    pub hosts: u32,
    /// `vcpus=N` of each guest.
    pub vcpus: u32,
    /// `memory=MIB` of each guest.
    pub memory: u32,
    /// `frontend=no`: the guests have no VESPER module and are not attached.
    pub frontend: bool,
    /// `fresh`: dom0 has a disk with a Debian guest that was installed from our packages (see `fresh_guest`).
    pub fresh: bool,
    /// `cluster`: dom0 has a disk with Pacemaker and corosync (see `cluster`).
    pub cluster: bool,
    /// `package`: dom0 has our package for it, `/lab/vesper.deb`.
    pub package: bool,
    /// `next`: dom0 and the guests have in `/lab/next` a `vesperd` and a `vesper_front.ko` of the next protocol version.
    pub next: bool,
    /// `crash-kernel`: the guests have memory set aside for a kernel that a panic starts, and `/lab/vmlinuz` for it.
    pub crash_kernel: bool,
    /// `guest=KIND`, if it makes sense for one kind only.
    pub kind: Option<Kind>,
    /// `kernel=SERIES`, if it makes sense for one only.
    pub kernel: Option<String>,
    /// `xen=VERSION`, if it makes sense for one only.
    pub xen: Option<Xen>,
    /// `alone`: leaves its machine in a state that no other scenario should see.
    pub alone: bool,
    /// `core`: guards the main job, part of every test run.
    pub core: bool,
    /// `limit=SECONDS`
    pub limit: u64,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            guests: 1,
            hosts: 1,
            vcpus: 1,
            memory: 192,
            frontend: true,
            fresh: false,
            cluster: false,
            package: false,
            next: false,
            crash_kernel: false,
            kind: None,
            kernel: None,
            xen: None,
            alone: false,
            core: false,
            limit: 120,
        }
    }
}

impl Needs {
    /// Reads the `#:` lines of a script.
    fn parse(text: &str) -> Result<Self> {
        let mut needs = Self::default();
        for word in text.lines().filter_map(|line| line.strip_prefix("#:")).flat_map(str::split_whitespace) {
            match word.split_once('=').unwrap_or((word, "")) {
                ("guests", value) => needs.guests = value.parse().with_context(|| word.to_string())?,
                ("hosts", "2") => needs.hosts = 2,
                ("vcpus", value) => needs.vcpus = value.parse().with_context(|| word.to_string())?,
                ("memory", value) => needs.memory = value.parse().with_context(|| word.to_string())?,
                ("limit", value) => needs.limit = value.parse().with_context(|| word.to_string())?,
                ("frontend", "no") => needs.frontend = false,
                ("guest", value) => needs.kind = Some(value.parse()?),
                ("kernel", value) => needs.kernel = Some(value.to_string()),
                ("xen", value) => needs.xen = Some(value.parse()?),
                ("fresh", "") => needs.fresh = true,
                ("cluster", "") => needs.cluster = true,
                ("package", "") => needs.package = true,
                ("next", "") => needs.next = true,
                ("crash-kernel", "") => needs.crash_kernel = true,
                ("alone", "") => needs.alone = true,
                ("core", "") => needs.core = true,
                _ => bail!("a scenario cannot need {word:?}"),
            }
        }
        Ok(needs)
    }
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its file's name without `.sh`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// What it says about itself.
    pub needs: Needs,
}

/// All scenarios of `lab/scenarios`, by name.
pub fn all() -> Result<Vec<Scenario>> {
    let dir = paths::workspace().join("lab/scenarios");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "sh") || name == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let needs = Needs::parse(&text).with_context(|| format!("{}: its #: line", path.display()))?;
        found.push(Scenario { name, path, needs });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Those of `names`; an unknown name is an error that lists the known ones.
pub fn named(names: &[String]) -> Result<Vec<Scenario>> {
    let all = all()?;
    names
        .iter()
        .map(|name| {
            all.iter().find(|scenario| scenario.name == *name).cloned().with_context(|| {
                let known: Vec<_> = all.iter().map(|scenario| scenario.name.as_str()).collect();
                format!("no scenario {name:?}; there is {}", known.join(", "))
            })
        })
        .collect()
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// How long it took, its share of no boot.
    pub took: Duration,
    /// What it printed, or why it could not run.
    pub output: String,
}

/// The machine that a scenario runs on, made from the wanted one.
pub type Compose<'a> = &'a dyn Fn(&Needs) -> Result<Lab>;

/// Runs scenarios, as many as can in one boot, and reports each as soon as it is known.
pub fn run(scenarios: &[Scenario], compose: Compose<'_>, report: &mut dyn FnMut(&Verdict)) -> Result<()> {
    let mut left: VecDeque<Scenario> = scenarios.iter().cloned().collect();
    while let Some(first) = left.front() {
        let machine = Needs { core: false, limit: 0, ..first.needs.clone() };
        let fits = |scenario: &Scenario| {
            !machine.alone
                && !scenario.needs.alone
                && Needs { core: false, limit: 0, ..scenario.needs.clone() } == machine
        };
        let batch: Vec<Scenario> = left
            .iter()
            .enumerate()
            .filter(|(at, scenario)| *at == 0 || fits(scenario))
            .map(|(_, s)| s.clone())
            .collect();
        let lab = compose(&machine)?;
        // An emulated guest dies of a triple fault now and then before anything of ours is in it.
        let done = match boot(&batch, &lab, false, report) {
            done if done.is_empty() => boot(&batch, &lab, true, report),
            done => done,
        };
        left.retain(|scenario| !done.contains(&scenario.name));
    }
    Ok(())
}

/// One boot: runs the batch up to the first failure. Gives the names of those with a verdict; none when the machine did not
/// come up, unless it was the `last` attempt, which is everyone's failure.
fn boot(batch: &[Scenario], lab: &Lab, last: bool, report: &mut dyn FnMut(&Verdict)) -> Vec<String> {
    let mut lab = lab.clone();
    let scenario_file =
        |path: &Path| format!("/lab/scenarios/{}", path.file_name().unwrap_or_default().to_string_lossy());
    lab.added.extend(batch.iter().map(|s| Added { from: s.path.clone(), to: scenario_file(&s.path) }));
    let library = paths::workspace().join("lab/scenarios/lib.sh");
    lab.added.push(Added { to: scenario_file(&library), from: library });
    let script: String =
        batch.iter().map(|s| format!("run_scenario {} {}\n", s.name, s.needs.limit)).collect();
    let script = format!("{}\n{script}", include_str!("../dom0/run-scenarios"));
    let limit = Duration::from_secs(batch.iter().map(|s| s.needs.limit + 30).sum());

    let mut done = Vec::new();
    let mut current: Option<(String, Instant)> = None;
    let mut output = Vec::new();
    // Of the other host, if there are two.
    let others = Mutex::new(Vec::new());
    let mut sink = |event| match event {
        Event::Output(bytes) => output.extend(bytes),
        Event::Mark(mark) => match *mark.split(' ').collect::<Vec<_>>() {
            ["begin", name] => {
                output.clear();
                current = Some((name.to_string(), Instant::now()));
            }
            ["end", name, status] => {
                let took = current.take().map_or(Duration::ZERO, |(_, since)| since.elapsed());
                let mut said = String::from_utf8_lossy(&std::mem::take(&mut output)).into_owned();
                said.push_str(&said_by(&others));
                report(&Verdict { name: name.to_string(), ok: status == "0", took, output: said });
                done.push(name.to_string());
            }
            _ => {}
        },
        Event::End => {}
    };
    let run = |lab: &Lab, node: &str, sink: &mut dyn FnMut(Event)| {
        session::run(lab, &format!("export NODE={node}\n{script}"), limit, sink).map(drop)
    };
    let outcome = if batch.iter().all(|scenario| scenario.needs.hosts == 1) {
        run(&lab, "dom0", &mut sink)
    } else {
        two_hosts::run(
            &two_hosts::pair(&lab, &paths::lab().join("cable")),
            |a| run(a, "a", &mut sink),
            |b| {
                let mut keep = |event| {
                    if let Event::Output(bytes) = event {
                        others.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
                    }
                };
                run(b, "b", &mut keep)
            },
        )
    };
    if let Err(error) = outcome {
        // The machine went away: in the middle of a scenario that is its failure, before the first one it would
        // happen to all of them again.
        let said = format!("{}\n{error:#}{}", String::from_utf8_lossy(&output), said_by(&others));
        let failed: Vec<String> = match current {
            Some((name, _)) => vec![name],
            None if done.is_empty() && last => batch.iter().map(|s| s.name.clone()).collect(),
            None if done.is_empty() => {
                eprintln!("· the machine did not come up, booting it once more; it said:\n{said}");
                Vec::new()
            }
            None => Vec::new(),
        };
        for name in failed {
            report(&Verdict { name: name.clone(), ok: false, took: Duration::ZERO, output: said.clone() });
            done.push(name);
        }
    }
    done
}

/// What the other host has said until now.
fn said_by(others: &Mutex<Vec<u8>>) -> String {
    let said = others.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_empty() { String::new() } else { format!("-- on b:\n{}", String::from_utf8_lossy(&said)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read() -> Result<()> {
        let needs = Needs::parse("# text\n#: guests=4 hosts=2 vcpus=2 core\n#: alone limit=30 guest=pvh\n")?;
        assert_eq!(
            needs,
            Needs {
                guests: 4,
                hosts: 2,
                vcpus: 2,
                core: true,
                alone: true,
                limit: 30,
                kind: Some(Kind::Pvh),
                ..Needs::default()
            }
        );
        Ok(())
    }

    #[test]
    fn an_unknown_need_is_refused() {
        let error = Needs::parse("#: gests=4\n").expect_err("it is misspelt");
        assert!(error.to_string().contains("gests=4"), "{error}");
    }

    #[test]
    fn every_scenario_of_the_lab_can_be_read() -> Result<()> {
        assert!(!all()?.is_empty());
        Ok(())
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = named(&["insmodd".to_string()]).expect_err("there is no such scenario");
        assert!(error.to_string().contains("insmod"), "{error}");
    }
}
