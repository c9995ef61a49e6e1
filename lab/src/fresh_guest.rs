// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest as a user has it: Debian with systemd on a disk, the frontend installed from its package by apt and DKMS,
//! kernel and initramfs as they came out of that. One PV guest; its disk is dom0's `/dev/vda`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::mirror::Mirror;
use crate::session::Added;
use crate::{command, digest, kernel, paths, progress};

/// The suite and kernel series of the guest. dom0 takes its block modules from here, so its kernel is the same.
const SUITE: &str = "bookworm";
const KERNEL: &str = "6.1";

/// The disk's size. Most of it is a hole in the file.
const SIZE: &str = "3G";

/// Beside what Debian calls minimal: an init, and what makes an initramfs. Kernel and headers come with their release.
const PACKAGES: [&str; 5] = ["systemd-sysv", "udev", "kmod", "initramfs-tools", "zstd"];

/// Not unpacked: nobody reads it there, and writing it takes time.
const LEFT_OUT: [&str; 7] = [
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/*",
    "/lib/modules/*/kernel/sound/*",
];

/// dom0's modules for QEMU's disk and for lending it to the guest, in the order in which they are inserted.
const DOM0_MODULES: [&str; 7] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/block/xen-blkback/xen-blkback.ko",
];

/// Our own files for the guest and for dom0.
const AGENT: &str = include_str!("../guest/agent");
const UNIT: &str = include_str!("../fresh/agent.service");
const INSTALL: &str = include_str!("../fresh/install");
const INITRAMFS: &str = include_str!("../fresh/initramfs");

/// A guest that is ready to be started.
pub struct FreshGuest {
    /// Its disk, an ext4 file system.
    pub disk: PathBuf,
    /// Files for dom0, in `/lab/fresh`, and the hotplug script.
    pub added: Vec<Added>,
}

/// Makes the guest with the Debian package `package`, unless one with the same content was made before; `content` is
/// the folder that the package was made of (the package itself also holds times).
pub fn provide(package: &Path, content: &Path) -> Result<FreshGuest> {
    let release = kernel::release(KERNEL)?;
    let dir = paths::lab().join("fresh");
    let recipe = [&release, AGENT, UNIT, INSTALL, INITRAMFS, SIZE, &PACKAGES.concat(), &LEFT_OUT.concat()];
    let stamp = format!("1 {} {}", digest::of_tree(&[content])?, digest::of_text(&recipe));
    if fs::read_to_string(dir.join("stamp")).is_ok_and(|found| found == stamp) {
        return files(&dir);
    }
    let _ = fs::remove_dir_all(&dir);
    let staging = dir.join("files");
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    for (name, content) in
        [("agent", AGENT), ("agent.service", UNIT), ("install", INSTALL), ("initramfs", INITRAMFS)]
    {
        fs::write(staging.join(name), content)?;
    }
    fs::copy(package, staging.join("vesper-front-dkms.deb"))
        .with_context(|| format!("cannot copy {}", package.display()))?;
    let archive = dir.join("root.tar");
    progress::step("installing a Debian guest with the frontend's package (some minutes)", || {
        install(&release, &staging, &archive)
    })?;
    progress::step("writing the guest's disk", || {
        boot_files(&release, &archive, &dir)?;
        write_disk(&archive, &dir.join("disk.img"), "fresh", SIZE)
    })?;
    fs::remove_file(&archive)?;
    fs::write(dir.join("stamp"), stamp)?;
    files(&dir)
}

/// What [`provide`] left in `dir`.
fn files(dir: &Path) -> Result<FreshGuest> {
    let own = paths::workspace().join("lab/fresh");
    let inside = |name: &str| format!("/lab/fresh/{name}");
    let mut added = vec![
        Added { from: own.join("fresh.cfg"), to: inside("fresh.cfg") },
        Added { from: own.join("block"), to: "/etc/xen/scripts/block".to_string() },
    ];
    for name in ["vmlinux", "initrd", "modules"] {
        added.push(Added { from: dir.join(name), to: inside(name) });
    }
    for module in DOM0_MODULES {
        let name = file_name(module);
        added.push(Added { from: dir.join(name), to: inside(name) });
    }
    if let Some(missing) = added.iter().find(|file| !file.from.is_file()) {
        bail!("{} is missing; remove {} to have the guest made anew", missing.from.display(), dir.display());
    }
    Ok(FreshGuest { disk: dir.join("disk.img"), added })
}

/// mmdebstrap installs the system; then, in it, apt installs the package, DKMS builds the module, and our script
/// looks whether it is all there.
fn install(release: &str, staging: &Path, archive: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    let from = |name: &str| staging.join(name).display().to_string();
    let mut debian = Command::new("mmdebstrap");
    debian.args(["--variant=minbase", "--format=tar"]);
    let packages = PACKAGES.join(",");
    debian.arg(format!("--include={packages},linux-image-{release},linux-headers-{release}"));
    debian.args(LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
    // Before the kernel's package makes the initramfs.
    debian.arg(r#"--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d""#);
    debian.arg(r#"--essential-hook=echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab""#);
    debian.arg(format!(
        "--essential-hook=upload {} /usr/share/initramfs-tools/modules.d/lab",
        from("initramfs")
    ));
    debian.arg(r#"--customize-hook=mkdir -p "$1/lab""#);
    for (name, to) in [
        ("agent", "/lab/agent"),
        ("agent.service", "/etc/systemd/system/agent.service"),
        ("install", "/lab/install"),
        ("vesper-front-dkms.deb", "/tmp/vesper-front-dkms.deb"),
    ] {
        debian.arg(format!("--customize-hook=upload {} {to}", from(name)));
    }
    debian.arg(r#"--customize-hook=chmod 755 "$1/lab/agent""#);
    debian.arg(format!(r#"--customize-hook=chroot "$1" sh /lab/install {release}"#));
    if let Some(keyring) = &mirror.keyring {
        debian.arg(format!("--keyring={}", keyring.display()));
    }
    debian.arg(SUITE).arg(archive).args(mirror.sources(SUITE)).stdin(Stdio::null());
    command::output(&mut debian).map(|_| ())
}

/// Takes out of the guest's root what dom0 needs to start it.
fn boot_files(release: &str, archive: &Path, dir: &Path) -> Result<()> {
    let member =
        |path: &str| command::output(Command::new("tar").arg("-xOf").arg(archive).arg(format!("./{path}")));
    let packed = dir.join("vmlinuz");
    fs::write(&packed, member(&format!("boot/vmlinuz-{release}"))?)?;
    kernel::decompress(&packed, &dir.join("vmlinux"))?;
    fs::write(dir.join("initrd"), member(&format!("boot/initrd.img-{release}"))?)?;
    let mut order = String::new();
    for module in DOM0_MODULES {
        let name = file_name(module);
        fs::write(dir.join(name), member(&format!("usr/lib/modules/{release}/kernel/{module}"))?)?;
        order += &format!("{name}\n");
    }
    fs::write(dir.join("modules"), order).context("cannot write the list of dom0's modules")
}

/// Makes an ext4 file system of the archive. Owners are kept, so without root it happens in a user namespace, as
/// mmdebstrap itself does it.
pub(crate) fn write_disk(archive: &Path, disk: &Path, label: &str, size: &str) -> Result<()> {
    // The machine id: without one systemd takes the boot for the first one of a new installation.
    let script = r#"set -e
        root=$(mktemp -d "$2.XXXXXX"); trap 'rm -rf "$root"' EXIT
        tar -xpf "$1" -C "$root" --exclude='./dev/*'
        echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
        rm -f "$2"; mke2fs -q -t ext4 -L "$3" -d "$root" "$2" "$4""#;
    let mut shell = match nix::unistd::geteuid().is_root() {
        true => Command::new("sh"),
        false => {
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "--map-auto", "sh"]);
            unshare
        }
    };
    // mke2fs is a tool of root's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    shell.env("PATH", path).args(["-c", script, "sh"]).arg(archive).arg(disk).args([label, size]);
    command::output(&mut shell).map(|_| ())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
