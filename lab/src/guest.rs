// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guests: their initramfs and their `xl` configuration. A guest's user space is busybox and one agent that
//! reads commands from the console, so that dom0 can look into the guest without any help of VESPER.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::image::{Root, with_busybox};
use crate::session::Added;
use crate::{command, paths};

/// How Xen runs the guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Paravirtualised: no hardware virtualisation at all.
    #[default]
    Pv,
    /// In a hardware container (here: emulated SVM), with Xen's devices.
    Pvh,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Pv => "pv",
            Kind::Pvh => "pvh",
        })
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pv" => Ok(Kind::Pv),
            "pvh" => Ok(Kind::Pvh),
            _ => bail!("no guest kind {text:?}; there is pv and pvh"),
        }
    }
}

/// The guests of one boot. All are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guests {
    /// How many; they get the domids 1…N and the names g1…gN.
    pub count: u32,
    /// How Xen runs them.
    pub kind: Kind,
    /// Virtual CPUs of each.
    pub vcpus: u32,
    /// Memory of each, in MiB.
    pub memory: u32,
    /// More kernel parameters.
    pub parameters: String,
    /// Kernel modules (files of the host) that each inserts at boot, in this order.
    pub modules: Vec<PathBuf>,
    /// More files for each.
    pub added: Vec<Added>,
}

impl Guests {
    /// The initramfs of each guest.
    pub fn image(&self, root: &Root) -> Result<Vec<u8>> {
        let mut archive = with_busybox(root)?;
        ["/proc", "/sys", "/dev", "/tmp", "/run", "/cgroup", "/lib/modules"]
            .into_iter()
            .for_each(|dir| archive.directory(dir));
        let mut order = String::new();
        for module in &self.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.host_file(&format!("/lib/modules/{name}"), module)?;
            order += &format!("{name}\n");
        }
        archive.file("/lib/modules/order", 0o644, order.as_bytes());
        archive.file("/etc/inittab", 0o644, include_bytes!("../guest/inittab"));
        archive.file("/lab/setup", 0o755, include_bytes!("../guest/setup"));
        archive.file("/lab/agent", 0o755, include_bytes!("../guest/agent"));
        archive.file("/lab/freeze", 0o755, include_bytes!("../guest/freeze"));
        archive.host_file("/lab/realtime-spin", &program("guest/realtime-spin")?)?;
        for added in &self.added {
            archive.host_file(&added.to, &added.from)?;
        }
        Ok(archive.finish())
    }

    /// The `xl` configuration of guest `number` (from 1).
    pub fn configuration(&self, number: u32) -> String {
        let Self { kind, vcpus, memory, parameters, .. } = self;
        format!(
            "name = \"g{number}\"\nuuid = \"00000000-0000-4000-8000-{number:012}\"\ntype = \"{kind}\"\n\
             kernel = \"/boot/vmlinux\"\nramdisk = \"/boot/guest.cpio\"\n\
             extra = \"console=hvc0 quiet panic=-1 {parameters}\"\nmemory = {memory}\nvcpus = {vcpus}\n\
             on_poweroff = \"destroy\"\non_reboot = \"restart\"\non_crash = \"preserve\"\n"
        )
    }
}

/// Builds a program of `lab` (`guest/timed`), static: for what busybox has no applet.
pub fn program(source: &str) -> Result<PathBuf> {
    let program = paths::lab().join(source.rsplit('/').next().unwrap_or_default());
    let source = paths::workspace().join("lab").join(format!("{source}.c"));
    let age = |path: &PathBuf| path.metadata().and_then(|about| about.modified());
    if !age(&program).is_ok_and(|built| age(&source).is_ok_and(|written| written < built)) {
        std::fs::create_dir_all(paths::lab())
            .with_context(|| format!("cannot create {}", paths::lab().display()))?;
        command::output(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source))?;
    }
    Ok(program)
}
