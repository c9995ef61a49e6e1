// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that a lab command asks for, with everything built that goes into it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use vesper_lab::guest::{Guests, Kind};
use vesper_lab::scenario::Needs;
use vesper_lab::session::{Added, Lab};
use vesper_lab::suite::Xen;
use vesper_lab::{cluster, fresh_guest, guest, host_packages, kernel, modules, tools};

use crate::{dist, kmod};

/// Which platform: the options that every lab command has.
#[derive(Args, Clone, Debug)]
pub struct Platform {
    /// Xen version: 4.17 (Debian bookworm) or 4.20 (Debian trixie).
    #[arg(long, value_name = "VERSION", default_value = "4.17")]
    pub xen: Xen,
    /// How Xen runs the guests: pv or pvh.
    #[arg(long, value_name = "KIND", default_value = "pv")]
    pub guest: Kind,
    /// The guests' kernel: a series (6.1, 6.12) or a release whose headers are installed.
    #[arg(long, value_name = "VERSION", default_value = "6.1")]
    pub kernel: String,
}

impl Default for Platform {
    fn default() -> Self {
        Self { xen: Xen::V4_17, guest: Kind::Pv, kernel: "6.1".to_string() }
    }
}

impl Platform {
    /// As a scenario's list of results names it: what differs from the default.
    pub fn label(&self) -> String {
        let default = Self::default();
        let mut label = String::new();
        if self.xen != default.xen {
            label += &format!(" xen-{}", self.xen);
        }
        if self.guest != default.guest {
            label += &format!(" {}", self.guest);
        }
        if self.kernel != default.kernel {
            label += &format!(" kernel-{}", self.kernel);
        }
        label
    }

    /// Builds what a machine with these needs takes. `bare`: without VESPER.
    pub fn compose(&self, needs: &Needs, bare: bool) -> Result<Lab> {
        host_packages::ensure()?;
        let kernel = needs.kernel.clone().unwrap_or_else(|| self.kernel.clone());
        let mut front = Vec::new();
        let mut vesper = Vec::new();
        let mut added = Vec::new();
        if !bare {
            vesper = tools::build()?;
            added = samples(&kernel)?;
            added.extend(probes(&kernel::release(&kernel)?)?);
            added.extend(tools::for_programs()?);
            if needs.frontend {
                front.push(kmod::build(Some(&kernel::release(&kernel)?), None)?.join("vesper_front.ko"));
            }
        }
        let mut for_guests = Vec::new();
        if needs.next {
            added.push(Added { from: tools::build_next()?, to: "/lab/next/vesperd".to_string() });
            let module = kmod::build_next(&kernel::release(&kernel)?)?.join("vesper_front.ko");
            for_guests.push(Added { from: module, to: "/lab/next/vesper_front.ko".to_string() });
        }
        let mut parameters = String::new();
        if needs.crash_kernel {
            parameters += "crashkernel=160M";
            let image = kernel::provide(&kernel)?.vmlinuz();
            for_guests.push(Added { from: image, to: "/lab/vmlinuz".to_string() });
            let loader = guest::program("guest/kexec-load")?;
            for_guests.push(Added { from: loader, to: "/lab/kexec-load".to_string() });
        }
        let guests = Guests {
            count: needs.guests,
            kind: needs.kind.unwrap_or(self.guest),
            vcpus: needs.vcpus,
            memory: needs.memory,
            parameters,
            modules: front,
            added: for_guests,
        };
        if needs.package {
            added.push(Added { from: dist::build()?.dom0, to: "/lab/vesper.deb".to_string() });
        }
        let mut disk = None;
        if needs.fresh {
            let dist = dist::build()?;
            let fresh = fresh_guest::provide(&dist.guest, &dist.guest_files)?;
            disk = Some(fresh.disk);
            added.extend(fresh.added);
        }
        if needs.cluster {
            let cluster = cluster::provide()?;
            disk = Some(cluster.disk);
            added.extend(cluster.added);
        }
        Ok(Lab { xen: needs.xen.unwrap_or(self.xen), kernel, guests, vesper, added, disk, cable: None })
    }
}

/// The folder of the sample modules for that kernel, built against the frontend for it.
pub fn sample_modules(wanted: &str) -> Result<PathBuf> {
    modules::build(wanted, &kmod::build(Some(&kernel::release(wanted)?), None)?)
}

/// The sample modules as files of dom0: /lab/modules, and /lab/modules/other for a kernel that is not the guest's.
fn samples(wanted: &str) -> Result<Vec<Added>> {
    let dir = sample_modules(wanted)?;
    let other = if kernel::release(wanted)?.starts_with("6.1.") { "6.12" } else { "6.1" };
    let mut added = files(&dir, &[".ko", ".crc32", ".pem"], "/lab/modules")?;
    added.push(Added {
        from: sample_modules(other)?.join("answer.ko"),
        to: "/lab/modules/other/answer.ko".to_string(),
    });
    Ok(added)
}

/// The probes that ship, where `vesper probe` looks for them in dom0.
fn probes(release: &str) -> Result<Vec<Added>> {
    let dir = kmod::build(Some(release), None)?.join("probes");
    files(&dir, &[".ko"], &format!("/usr/lib/vesper/probes/{release}"))
}

/// The files of `dir` that end so, for the folder `to` of dom0.
fn files(dir: &Path, endings: &[&str], to: &str) -> Result<Vec<Added>> {
    let mut added = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let from = entry?.path();
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            added.push(Added { from, to: format!("{to}/{name}") });
        }
    }
    added.sort_by(|a, b| a.to.cmp(&b.to));
    Ok(added)
}

/// Reads `HOSTFILE[:PATH]`.
pub fn added(text: &str) -> Result<Added> {
    let (from, to) = match text.split_once(':') {
        Some((from, to)) => (PathBuf::from(from), Some(to.to_string())),
        None => (PathBuf::from(text), None),
    };
    let Some(name) = from.file_name().filter(|_| from.is_file()) else {
        bail!("--add {text}: {} is not a file", from.display());
    };
    let to = to.unwrap_or_else(|| format!("/root/{}", name.to_string_lossy()));
    if !to.starts_with('/') {
        bail!("--add {text}: the path in dom0 must begin with a slash");
    }
    Ok(Added { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_added_where_it_is_wanted() -> Result<()> {
        let this = file!().rsplit('/').next().unwrap_or_default();
        let path = format!("{}/src/{this}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(added(&path)?.to, format!("/root/{this}"));
        assert_eq!(added(&format!("{path}:/etc/x"))?.to, "/etc/x");
        assert!(added(&format!("{path}:etc/x")).is_err(), "a relative path in dom0");
        assert!(added("/no/such/file").is_err());
        Ok(())
    }

    #[test]
    fn a_label_names_what_is_not_the_default() {
        assert_eq!(Platform::default().label(), "");
        let other = Platform { guest: Kind::Pvh, kernel: "6.12".to_string(), ..Platform::default() };
        assert_eq!(other.label(), " pvh kernel-6.12");
    }
}
