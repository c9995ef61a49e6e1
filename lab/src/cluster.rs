// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pacemaker, corosync and systemd for dom0: a Debian system on a disk, which dom0 mounts and runs them from. dom0's `/dev/vda`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::fresh_guest::write_disk;
use crate::mirror::Mirror;
use crate::session::Added;
use crate::suite::Xen;
use crate::{command, digest, kernel, paths, progress, unpack};

/// The only Xen whose `xl` is on the disk.
const XEN: Xen = Xen::V4_17;

/// The disk's size. Most of it is a hole in the file.
const SIZE: &str = "2G";

/// Beside what Debian calls minimal.
const PACKAGES: [&str; 10] = [
    "xen-utils-4.17",
    "xenstore-utils",
    "pacemaker",
    "corosync",
    "pacemaker-cli-utils",
    "resource-agents",
    "libxml2-utils",
    "iproute2",
    "procps",
    "systemd",
];

/// dom0's modules for the disk, its file system, a network card, and those of guests, in the order in which they are inserted.
const DOM0_MODULES: [&str; 16] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "lib/crc16.ko",
    "crypto/crc32c_generic.ko",
    "lib/libcrc32c.ko",
    "fs/mbcache.ko",
    "fs/jbd2/jbd2.ko",
    "fs/ext4/ext4.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
    "drivers/net/xen-netback/xen-netback.ko",
];

/// What of `tools/pacemaker` goes to dom0, which puts it where the package would.
const OURS: [&str; 5] = ["guest", "service", "vesper.sh", "push", "host-health"];

/// What `fail-resource.c` is built with.
const DEVELOPMENT: [&str; 2] = ["pacemaker-dev", "libc6-dev"];

/// What dom0 is given.
pub struct Cluster {
    /// The disk, an ext4 file system.
    pub disk: PathBuf,
    /// Files for dom0, in `/lab/cluster`.
    pub added: Vec<Added>,
}

/// Makes the disk, unless it is there.
pub fn provide() -> Result<Cluster> {
    let dir = paths::lab().join("cluster");
    let stamp = format!("1 {}", digest::of_text(&[&PACKAGES.concat(), SIZE]));
    let disk = dir.join("disk.img");
    if !fs::read_to_string(dir.join("stamp")).is_ok_and(|found| found == stamp) {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let archive = dir.join("root.tar");
        progress::step("installing Pacemaker for dom0 (some minutes)", || install(&archive))?;
        progress::step("writing its disk", || write_disk(&archive, &disk, "cluster", SIZE))?;
        fs::remove_file(&archive)?;
        fs::write(dir.join("stamp"), stamp)?;
    }
    let inside = |name: &str| format!("/lab/cluster/{name}");
    let workspace = paths::workspace();
    let mut added: Vec<_> = ["setup", "corosync.conf", "two-hosts-corosync.conf"]
        .map(|name| Added { from: workspace.join("lab/cluster").join(name), to: inside(name) })
        .into();
    added.extend(
        OURS.map(|name| Added { from: workspace.join("tools/pacemaker").join(name), to: inside(name) }),
    );
    added.push(Added { from: fail_resource()?, to: inside("fail-resource") });
    added.extend(modules(&inside)?);
    Ok(Cluster { disk, added })
}

/// The program that fails a resource, built for the Pacemaker on the disk as docs/pacemaker.md says, but for where the headers are.
fn fail_resource() -> Result<PathBuf> {
    let root = paths::lab().join("pacemaker-dev");
    let only = ["./usr/include/*", "./usr/lib/x86_64-linux-gnu/*", "./usr/share/pkgconfig/*", "./lib*"];
    unpack::unpack(XEN.suite(), &DEVELOPMENT.map(String::from), &only, &root)?;
    let source = paths::workspace().join("tools/pacemaker/fail-resource.c");
    let program = paths::lab().join("fail-resource");
    let folders = ["usr/lib/x86_64-linux-gnu/pkgconfig", "usr/share/pkgconfig"].map(|dir| root.join(dir));
    let mut flags = Command::new("pkg-config");
    flags.args(["--cflags", "--libs", "pacemaker-cib", "libxml-2.0"]);
    flags.env("PKG_CONFIG_SYSROOT_DIR", &root).env("PKG_CONFIG_LIBDIR", std::env::join_paths(folders)?);
    let flags = String::from_utf8(command::output(&mut flags)?).context("pkg-config")?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-Wextra", "-Werror"]).arg(format!("--sysroot={}", root.display()));
    gcc.arg("-o").arg(&program).arg(&source).args(flags.split_whitespace());
    // What the libraries themselves need is on the disk.
    gcc.arg("-Wl,--unresolved-symbols=ignore-in-shared-libs");
    command::output(&mut gcc)?;
    Ok(program)
}

/// dom0's modules, as files and as a list in their order.
fn modules(inside: &dyn Fn(&str) -> String) -> Result<Vec<Added>> {
    let release = kernel::release(XEN.dom0_kernel())?;
    let dir = paths::lab().join("cluster-modules");
    let (mut added, mut order) = (Vec::new(), String::new());
    for from in kernel::modules(&release, &DOM0_MODULES, &dir)? {
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        order += &format!("{name}\n");
        added.push(Added { to: inside(&name), from });
    }
    let list = dir.join("order");
    fs::write(&list, order).with_context(|| format!("cannot write {}", list.display()))?;
    added.push(Added { from: list, to: inside("modules") });
    Ok(added)
}

/// mmdebstrap installs the system.
fn install(archive: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    let mut debian = Command::new("mmdebstrap");
    debian.args(["--variant=minbase", "--format=tar"]).arg(format!("--include={}", PACKAGES.join(",")));
    debian.args(
        ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"]
            .map(|pattern| format!("--dpkgopt=path-exclude={pattern}")),
    );
    if let Some(keyring) = &mirror.keyring {
        debian.arg(format!("--keyring={}", keyring.display()));
    }
    debian.arg(XEN.suite()).arg(archive).args(mirror.sources(XEN.suite())).stdin(Stdio::null());
    command::output(&mut debian).map(|_| ())
}
