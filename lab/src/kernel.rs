// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels for dom0 and guests: Debian 12's 6.1 and 6.12, in the version whose headers the host has, so that
//! modules built here fit. Kept as uncompressed `vmlinux`: unpacking it anew at each boot costs ten seconds
//! under emulation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, paths, progress, unpack};

/// The suite that the kernels come from, for either Xen: the headers on the host are of the same suite.
const SUITE: &str = "bookworm";

/// Folders of the kernel's own modules that dom0 may want.
const MODULES: [&str; 2] = ["kernel/drivers/xen", "kernel/fs/fuse"];

/// Which of them a kernel has in itself: 6.12 has FUSE there.
const BUILT_IN: &str = "modules.builtin";

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// Unpacked files of its package.
    root: PathBuf,
}

impl Kernel {
    /// The uncompressed image.
    pub fn vmlinux(&self) -> PathBuf {
        self.root.join("boot/vmlinux")
    }

    /// The image as its package has it (bzImage), which is the form that `kexec_file_load` takes.
    pub fn vmlinuz(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// One of the kernel's own modules of Xen or FUSE (`xen-gntdev`, `fuse`), decompressed; `None`: it is in the kernel itself.
    pub fn module(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if self.is_built_in(name)? {
            return Ok(None);
        }
        let found = MODULES.iter().find_map(|folder| self.module_in(folder, name).transpose());
        found.transpose()?.map(Some).with_context(|| {
            format!("kernel {} has no module {name} below {}", self.release, MODULES.join(", "))
        })
    }

    fn is_built_in(&self, name: &str) -> Result<bool> {
        let list = self.root.join("lib/modules").join(&self.release).join(BUILT_IN);
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        Ok(text.lines().any(|path| path.ends_with(&format!("/{name}.ko"))))
    }

    fn module_in(&self, folder: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let drivers = self.root.join("lib/modules").join(&self.release).join(folder);
        let places = [format!("{name}.ko"), format!("{name}/{name}.ko")].map(|place| drivers.join(place));
        for plain in &places {
            // 6.1 has its modules as they are, 6.12 compressed.
            let packed = plain.with_extension("ko.xz");
            if packed.exists() {
                return command::output(Command::new("xz").arg("-dc").arg(packed)).map(Some);
            }
            if plain.exists() {
                return fs::read(plain).map(Some).with_context(|| format!("cannot read {}", plain.display()));
            }
        }
        Ok(None)
    }
}

/// The kernel release that `wanted` means: a series (`6.1`) is the newest installed headers of it, a full release
/// (`6.1.0-40-amd64`) must have its headers installed.
pub fn release(wanted: &str) -> Result<String> {
    if is_series(wanted) {
        return newest_headers(wanted).with_context(|| {
            format!("no headers of a {wanted} kernel in /usr/src; the lab knows the series 6.1 and 6.12 of Debian 12")
        });
    }
    if Path::new("/usr/src").join(format!("linux-headers-{wanted}")).is_dir() {
        return Ok(wanted.to_string());
    }
    bail!(
        "no headers of kernel {wanted} in /usr/src; install linux-headers-{wanted}, or name a series (6.1, 6.12)"
    )
}

/// Two numbers and nothing else.
fn is_series(text: &str) -> bool {
    text.split('.').count() == 2 && text.split('.').all(|part| part.parse::<u32>().is_ok())
}

/// The newest release of a series whose headers are installed on the host (plain amd64 flavour).
pub fn newest_headers(series: &str) -> Option<String> {
    let names = fs::read_dir("/usr/src").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    newest_of(series, names)
}

fn newest_of(series: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names
        .filter_map(|name| name.strip_prefix("linux-headers-").map(String::from))
        .filter(|release| release.starts_with(&format!("{series}.")) && release.ends_with("-amd64"))
        .filter(|release| !release.contains("-cloud-") && !release.contains("-rt-"))
        .max_by_key(|release| numbers(release))
}

/// The numbers in a release, in order: sorts `6.1.0-9` before `6.1.0-10`.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Unpacks the kernel that `wanted` means (see [`release`]) and makes its `vmlinux`.
pub fn provide(wanted: &str) -> Result<Kernel> {
    let release = release(wanted)?;
    let root = paths::lab().join("kernels").join(&release);
    let modules = MODULES.map(|folder| format!("./lib/modules/{release}/{folder}/*"));
    let built_in = format!("./lib/modules/{release}/{BUILT_IN}");
    let only: Vec<&str> =
        ["./boot/*", built_in.as_str()].into_iter().chain(modules.iter().map(String::as_str)).collect();
    unpack::unpack(SUITE, &[format!("linux-image-{release}")], &only, &root)?;
    let kernel = Kernel { release, root };
    let vmlinux = kernel.vmlinux();
    if !vmlinux.exists() {
        progress::step(&format!("decompressing kernel {}", kernel.release), || {
            decompress(&kernel.vmlinuz(), &vmlinux)
        })?;
    }
    Ok(kernel)
}

/// More modules of the kernel (`drivers/net/xen-netfront.ko`), unpacked into `dir`, which is for these alone; in the order in which they are wanted.
pub fn modules(release: &str, wanted: &[&str], dir: &Path) -> Result<Vec<PathBuf>> {
    let inside: Vec<_> = wanted.iter().map(|path| format!("./lib/modules/{release}/kernel/{path}")).collect();
    let only: Vec<&str> = inside.iter().map(String::as_str).collect();
    unpack::unpack(SUITE, &[format!("linux-image-{release}")], &only, dir)?;
    let modules: Vec<_> = inside.iter().map(|path| dir.join(path)).collect();
    for module in &modules {
        ensure!(
            module.is_file(),
            "{} is missing; remove {} to have it unpacked anew",
            module.display(),
            dir.display()
        );
    }
    Ok(modules)
}

/// Takes the compressed `vmlinux` out of a bzImage (layout: Linux `Documentation/arch/x86/boot.rst`, fields
/// `setup_sects` 0x1f1, `payload_offset` 0x248, `payload_length` 0x24c) and decompresses it.
pub(crate) fn decompress(packed: &Path, to: &Path) -> Result<()> {
    let image = fs::read(packed).with_context(|| format!("cannot read {}", packed.display()))?;
    let payload = payload(&image).with_context(|| format!("{} is no bzImage", packed.display()))?;
    let tool = match payload {
        [0xfd, b'7', b'z', b'X', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        [a, b, c, d, ..] => {
            bail!("{}: compression {a:02x}{b:02x}{c:02x}{d:02x} is not known", packed.display())
        }
        _ => bail!("{}: empty payload", packed.display()),
    };
    let part = to.with_extension("part");
    fs::write(&part, payload).with_context(|| format!("cannot write {}", part.display()))?;
    let plain = command::output(Command::new(tool).arg("-dc").stdin(std::process::Stdio::null()).arg(&part))?;
    let _ = fs::remove_file(&part);
    fs::write(to, plain).with_context(|| format!("cannot write {}", to.display()))
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
    let from = setup + word(0x248)?;
    // The last word of the payload is the size of the decompressed image, put there by the kernel's build.
    image.get(from..from + word(0x24c)?.checked_sub(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_releases_are_told_apart() {
        assert!(is_series("6.1") && is_series("6.12"));
        assert!(!is_series("6.1.0-40-amd64") && !is_series("6") && !is_series("six.one"));
    }

    #[test]
    fn the_newest_headers_are_found_by_number() {
        let names = [
            "linux-headers-6.1.0-9-amd64",
            "linux-headers-6.1.0-10-amd64",
            "linux-headers-6.1.0-99-rt-amd64",
            "linux-headers-6.12.5+deb12-amd64",
            "linux-headers-6.1.0-10-common",
        ];
        let newest = |series| newest_of(series, names.iter().map(|name| name.to_string()));
        assert_eq!(newest("6.1").as_deref(), Some("6.1.0-10-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("6.12.5+deb12-amd64"));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn the_payload_lies_behind_the_setup_sectors() {
        let mut image = vec![0u8; 2048];
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&12u32.to_le_bytes());
        image[1040..1048].copy_from_slice(b"payload!");
        assert_eq!(payload(&image), Some(&b"payload!"[..]));
        image[0x24c..0x250].copy_from_slice(&4096u32.to_le_bytes());
        assert_eq!(payload(&image), None);
    }
}
