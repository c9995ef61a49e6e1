// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's initramfs: only the programs that the lab uses, the libraries they name, kernel modules, and the files of
//! this run. Uncompressed: reading a larger file costs the host nothing, unpacking costs the emulated CPU seconds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::suite::Xen;
use crate::{command, paths, unpack};

/// Programs that live in Xen's own folder, where each finds the others.
const XEN_PROGRAMS: [&str; 10] = [
    "xl",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xen-init-dom0",
    "libxl-save-helper",
    "xenstore-control",
    "lsevtchn",
    "xen-diag",
    "xentop",
];

/// Client programs of xenstore.
const XENSTORE_PROGRAMS: [&str; 8] = [
    "xenstore-chmod",
    "xenstore-exists",
    "xenstore-list",
    "xenstore-ls",
    "xenstore-read",
    "xenstore-rm",
    "xenstore-watch",
    "xenstore-write",
];

/// Libraries that are opened at run time and that no binary names.
const UNNAMED_LIBRARIES: [&str; 1] = ["libgcc_s.so.1"];

/// dom0's kernel modules, in the order in which they are inserted.
const DOM0_MODULES: [&str; 6] = ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs", "fuse"];

/// Empty folders that Xen's programs expect, beside those of any system.
const FOLDERS: [&str; 18] = [
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/tmp",
    "/root",
    "/mnt",
    "/var/lock",
    "/var/log/xen/console",
    "/var/lib/xen/dump",
    "/var/lib/xenstored",
    "/var/lib/xen/userdata-d",
    "/etc/xen",
    "/etc/vesper",
    "/lib/modules",
    "/usr/sbin",
    "/boot",
    "/lab",
];

/// What is unpacked for dom0, and where.
pub struct Root {
    xen: Xen,
    dir: PathBuf,
}

impl Root {
    /// Unpacks dom0's packages unless they already are.
    pub fn provide(xen: Xen) -> Result<Self> {
        let dir = paths::lab().join(format!("xen-{xen}"));
        unpack::unpack(xen.suite(), &xen.packages(), &[], &dir)?;
        Ok(Self { xen, dir })
    }

    /// The folder with the unpacked files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hypervisor, decompressed, as a multiboot loader wants it.
    pub fn hypervisor(&self) -> Result<PathBuf> {
        let plain = unpack::beside(&self.dir, "hypervisor");
        let packed = self.dir.join(format!("boot/xen-{}-amd64.gz", self.xen));
        let bytes = command::output(Command::new("gzip").arg("-dc").arg(&packed))?;
        std::fs::write(&plain, bytes).with_context(|| format!("cannot write {}", plain.display()))?;
        Ok(plain)
    }

    /// Xen's own folder of programs, as seen inside.
    pub fn xen_folder(&self) -> String {
        format!("/usr/lib/xen-{}/bin", self.xen)
    }

    /// The static busybox.
    pub fn busybox(&self) -> Result<PathBuf> {
        self.find(&["bin/busybox", "usr/bin/busybox"])
    }

    fn find(&self, places: &[&str]) -> Result<PathBuf> {
        let found = places.iter().map(|place| self.dir.join(place)).find(|path| path.is_file());
        found.with_context(|| format!("none of {places:?} is in {}", self.dir.display()))
    }

    fn library(&self, name: &str) -> Result<PathBuf> {
        self.find(&[&format!("usr/lib/x86_64-linux-gnu/{name}"), &format!("lib/x86_64-linux-gnu/{name}")])
    }
}

/// An archive with busybox and a link for each of its programs.
pub fn with_busybox(root: &Root) -> Result<Archive> {
    let busybox = root.busybox()?;
    let mut archive = Archive::new();
    archive.device("/dev/console", 5, 1);
    archive.device("/dev/null", 1, 3);
    archive.host_file("/bin/busybox", &busybox)?;
    for program in
        command::text(Command::new(&busybox).arg("--list"))?.lines().filter(|name| *name != "busybox")
    {
        archive.link(&format!("/bin/{program}"), "busybox");
    }
    archive.link("/sbin", "bin");
    archive.link("/init", "bin/init");
    Ok(archive)
}

/// dom0's image without the files of a run.
pub fn dom0(root: &Root, kernel: &Kernel) -> Result<Archive> {
    let mut archive = with_busybox(root)?;
    FOLDERS.into_iter().for_each(|folder| archive.directory(folder));
    let folder = root.xen_folder();
    let mut programs = Vec::new();
    for name in XEN_PROGRAMS {
        let inside = format!("{folder}/{name}");
        programs.push((
            inside.clone(),
            root.find(&[&inside[1..], &format!("usr/bin/{name}"), &format!("usr/sbin/{name}")])?,
        ));
        archive.link(&format!("/usr/bin/{name}"), &inside);
    }
    for name in XENSTORE_PROGRAMS {
        programs.push((format!("/usr/bin/{name}"), root.find(&[&format!("usr/bin/{name}")])?));
    }
    let mut libraries: BTreeSet<String> = UNNAMED_LIBRARIES.map(String::from).into();
    for (inside, from) in &programs {
        archive.host_file(inside, from)?;
        needed_by(root, from, &mut libraries)?;
    }
    for name in UNNAMED_LIBRARIES {
        needed_by(root, &root.library(name)?, &mut libraries)?;
    }
    for name in &libraries {
        archive.host_file(&format!("/lib/x86_64-linux-gnu/{name}"), &root.library(name)?)?;
    }
    let loader = "ld-linux-x86-64.so.2";
    archive.host_file(&format!("/lib64/{loader}"), &root.library(loader)?)?;
    let mut order = String::new();
    for name in DOM0_MODULES {
        if let Some(module) = kernel.module(name)? {
            archive.file(&format!("/lib/modules/{name}.ko"), 0o644, &module);
            order += &format!("{name}\n");
        }
    }
    archive.file("/lib/modules/order", 0o644, order.as_bytes());
    archive.file("/etc/xen/xl.conf", 0o644, b"");
    archive.file(
        "/etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    );
    archive.file("/etc/group", 0o644, b"root:x:0:\nvesper:x:900:\nnogroup:x:65534:\n");
    archive.file("/etc/inittab", 0o644, include_bytes!("../dom0/inittab"));
    for (name, content) in DOM0_FILES {
        archive.file(&format!("/lab/{name}"), 0o755, content.as_bytes());
    }
    for tool in ["guest", "guest-log"] {
        archive.link(&format!("/usr/bin/{tool}"), &format!("/lab/{tool}"));
    }
    Ok(archive)
}

/// Our own programs in dom0.
const DOM0_FILES: [(&str, &str); 4] = [
    ("setup", include_str!("../dom0/setup")),
    ("session", include_str!("../dom0/session")),
    ("guest", include_str!("../dom0/guest")),
    ("guest-log", include_str!("../dom0/guest-log")),
];

/// Adds to `names` every library that the program or library `path` names, and those that these name.
fn needed_by(root: &Root, path: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    let dynamic = command::text(Command::new("readelf").arg("-dW").arg(path))?;
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let Some(name) = line.split(['[', ']']).nth(1) else { continue };
        if names.insert(name.to_string()) {
            needed_by(root, &root.library(name)?, names)?;
        }
    }
    Ok(())
}
