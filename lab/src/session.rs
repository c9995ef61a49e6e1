// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is asked of one boot, and what came of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::guest::Guests;
use crate::image::{self, Root};
use crate::kernel;
use crate::paths;
use crate::qemu::{Boot, Cable, Event, Machine};
use crate::suite::Xen;

/// How long dom0 may take to come up.
const UP_LIMIT: Duration = Duration::from_secs(180);
/// How long each guest may take, attachment included.
const GUEST_LIMIT: Duration = Duration::from_secs(120);
/// How many runs' logs are kept.
const RUNS_KEPT: usize = 40;
/// Memory of dom0 and of the hypervisor itself, in MiB.
const DOM0_MEMORY: u32 = 1024;
const XEN_MEMORY: u32 = 256;

/// A file for dom0, or for the guests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Added {
    /// Where it is on the host.
    pub from: PathBuf,
    /// Where it goes there.
    pub to: String,
}

/// Which lab is booted.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Xen, and with it dom0's suite and kernel.
    pub xen: Xen,
    /// The guests' kernel: a series or a release.
    pub kernel: String,
    /// The guests.
    pub guests: Guests,
    /// `vesper` and `vesperd` for dom0; without them nothing is attached.
    pub vesper: Vec<PathBuf>,
    /// More files for dom0.
    pub added: Vec<Added>,
    /// A disk for dom0, as it is at each boot.
    pub disk: Option<PathBuf>,
    /// A network card of dom0's, if it has one.
    pub cable: Option<Cable>,
}

/// What came of a script.
#[derive(Debug)]
pub struct Outcome {
    /// The script's exit status.
    pub status: i32,
    /// When dom0, the guests and their attachment were there, after the start.
    pub ready: Vec<(String, Duration)>,
    /// The whole boot.
    pub took: Duration,
    /// The folder with this run's logs.
    pub logs: PathBuf,
}

/// Unpacks what a boot of this lab takes from packages, unless it already is. A boot does so, too; asked for before, that
/// time does not count as the boot's.
pub fn provide(lab: &Lab) -> Result<()> {
    Root::provide(lab.xen)?;
    kernel::provide(lab.xen.dom0_kernel())?;
    kernel::provide(&lab.kernel).map(|_| ())
}

/// Boots, runs `script` in dom0 with all guests up, gives its output to `sink` as it comes. The script has `limit`.
pub fn run(lab: &Lab, script: &str, limit: Duration, sink: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let prepared = Prepared::new(lab, "script", script)?;
    let started = Instant::now();
    let mut machine = Machine::start(&prepared.boot(false))?;
    let mut ready = Vec::new();
    let mut deadline = started + UP_LIMIT;
    loop {
        match machine.next(deadline)? {
            Some(Event::Mark(mark)) => {
                let (word, rest) = mark.split_once(' ').unwrap_or((&mark, ""));
                match word {
                    "up" => deadline = Instant::now() + GUEST_LIMIT * lab.guests.count + limit,
                    "exit" => {
                        let status =
                            rest.parse().with_context(|| format!("dom0 reported status {rest:?}"))?;
                        machine.stop(Duration::from_secs(10));
                        return Ok(Outcome {
                            status,
                            ready,
                            took: started.elapsed(),
                            logs: prepared.logs.clone(),
                        });
                    }
                    "failed" => bail!("the lab did not come up: {rest}; logs in {}", prepared.logs.display()),
                    _ => {}
                }
                if matches!(word, "up" | "guests" | "attached") {
                    ready.push((word.to_string(), started.elapsed()));
                }
                sink(Event::Mark(mark));
            }
            Some(event @ Event::Output(_)) => sink(event),
            Some(Event::End) => bail!("Xen went down in the middle; {}", prepared.last_words()),
            None => bail!("no sign of life for too long; {}", prepared.last_words()),
        }
    }
}

/// Boots and gives the user a shell in dom0 on this terminal.
pub fn shell(lab: &Lab) -> Result<()> {
    let prepared = Prepared::new(lab, "shell", "")?;
    eprintln!(
        "· booting; a shell in dom0 follows, `exit` powers off; the console's log: {}",
        prepared.logs.display()
    );
    Machine::start(&prepared.boot(true))?.wait()
}

/// The files of one boot.
struct Prepared {
    hypervisor: PathBuf,
    kernel: PathBuf,
    console: PathBuf,
    initramfs: PathBuf,
    logs: PathBuf,
    nonce: String,
    memory: u32,
    disk: Option<PathBuf>,
    cable: Option<Cable>,
}

impl Prepared {
    fn new(lab: &Lab, mode: &str, script: &str) -> Result<Self> {
        let root = Root::provide(lab.xen)?;
        let kernel = kernel::provide(lab.xen.dom0_kernel())?;
        let (logs, nonce) = new_run()?;
        let mut archive = image::dom0(&root, &kernel)?;
        if lab.guests.count > 0 {
            archive.host_file("/boot/vmlinux", &kernel::provide(&lab.kernel)?.vmlinux())?;
            archive.file("/boot/guest.cpio", 0o644, &lab.guests.image(&root)?);
            for number in 1..=lab.guests.count {
                archive.file(
                    &format!("/etc/xen/g{number}.cfg"),
                    0o644,
                    lab.guests.configuration(number).as_bytes(),
                );
            }
        }
        for program in &lab.vesper {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            archive.host_file(&format!("/usr/bin/{name}"), program)?;
        }
        for Added { from, to } in &lab.added {
            archive.host_file(to, from)?;
        }
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let (vesper, attach) = (word(!lab.vesper.is_empty()), word(!lab.guests.modules.is_empty()));
        let config = format!(
            "NONCE={nonce}\nGUESTS={}\nMODE={mode}\nVESPER={vesper}\nATTACH={attach}\n",
            lab.guests.count
        );
        archive.file("/lab/config", 0o644, config.as_bytes());
        archive.file("/lab/script", 0o755, script.as_bytes());
        let initramfs = logs.join("dom0.cpio");
        fs::write(&initramfs, archive.finish())
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let memory = XEN_MEMORY + DOM0_MEMORY + lab.guests.count * (lab.guests.memory + 64);
        Ok(Self {
            hypervisor: root.hypervisor()?,
            kernel: kernel.vmlinux(),
            console: logs.join("console.log"),
            initramfs,
            logs,
            nonce,
            memory: memory.max(2048),
            disk: lab.disk.clone(),
            cable: lab.cable.clone(),
        })
    }

    fn boot(&self, interactive: bool) -> Boot<'_> {
        Boot {
            hypervisor: &self.hypervisor,
            kernel: &self.kernel,
            initramfs: &self.initramfs,
            console: &self.console,
            nonce: &self.nonce,
            memory: self.memory,
            dom0_memory: DOM0_MEMORY,
            disk: self.disk.as_deref(),
            cable: self.cable.as_ref(),
            interactive,
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read(&self.console).unwrap_or_default();
        let said = crate::command::tail(&String::from_utf8_lossy(&said));
        format!("the last lines of {}:\n{said}", self.console.display())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // The image is large and can be made again; the logs stay.
        let _ = fs::remove_file(&self.initramfs);
    }
}

/// A new folder for a run's logs and a word that no output contains.
fn new_run() -> Result<(PathBuf, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nonce = format!("{:x}-{:x}", now.as_nanos(), std::process::id());
    let runs = paths::lab().join("runs");
    forget_old(&runs);
    let logs = runs.join(format!("{}-{}", now.as_secs(), std::process::id()));
    let mut unique = logs.clone();
    for again in 1.. {
        if !unique.exists() {
            break;
        }
        unique = Path::new(&format!("{}.{again}", logs.display())).to_path_buf();
    }
    fs::create_dir_all(&unique).with_context(|| format!("cannot create {}", unique.display()))?;
    Ok((unique, nonce))
}

/// Removes all but the newest [`RUNS_KEPT`] runs: the folder of a run that was killed still holds its image.
fn forget_old(runs: &Path) {
    let names = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    // Names begin with the second of the run, in as many digits for the next centuries.
    names.sort();
    for name in names.iter().rev().skip(RUNS_KEPT) {
        let _ = fs::remove_dir_all(runs.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_kept() -> Result<()> {
        let runs = tempfile::tempdir()?;
        for number in 0..RUNS_KEPT + 3 {
            fs::create_dir(runs.path().join(format!("{:010}-1", 1_700_000_000 + number)))?;
        }
        forget_old(runs.path());
        assert_eq!(fs::read_dir(runs.path())?.count(), RUNS_KEPT);
        assert!(!runs.path().join("1700000002-1").exists() && runs.path().join("1700000003-1").exists());
        Ok(())
    }
}
