// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sample probe modules of `lab/modules`, built against the headers of a guest kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, digest, kernel, paths, progress};

/// Size of the data in `big.ko`, in bytes.
const BIG_DATA: usize = 8 << 20;

/// The frontend's exported symbols.
const SYMVERS: &str = "Module.symvers";

/// Builds the modules for the kernel that `wanted` means (see [`kernel::release`]) unless they are there already, against
/// the frontend in the folder `front`, which has its `Module.symvers` and `include`. Gives the folder with the `.ko`
/// files and `big.crc32`, the checksum that `big.ko` must find.
pub fn build(wanted: &str, front: &Path) -> Result<PathBuf> {
    let release = kernel::release(wanted)?;
    let sources = paths::workspace().join("lab/modules");
    let dir = paths::lab().join("modules").join(&release);
    let stamp_file = dir.join("stamp");
    let stamp = digest::of_tree(&[&sources, &front.join(SYMVERS), &front.join("include")])?;
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(dir);
    }
    progress::step(&format!("building the sample modules for kernel {release}"), || {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for entry in fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))? {
            let path = entry?.path();
            let to = dir.join(path.file_name().unwrap_or_default());
            fs::copy(&path, &to)
                .with_context(|| format!("cannot copy {} to {}", path.display(), to.display()))?;
        }
        let data = big_data();
        fs::write(dir.join("big.data"), &data)?;
        fs::write(dir.join("big.crc32"), format!("{:08x}\n", digest::crc32(&data)))?;
        make(&release, &dir, front)?;
        sign(&release, &dir)?;
        fs::write(&stamp_file, &stamp).with_context(|| format!("cannot write {}", stamp_file.display()))
    })?;
    Ok(dir)
}

fn make(release: &str, dir: &Path, front: &Path) -> Result<()> {
    let headers = Path::new("/usr/src").join(format!("linux-headers-{release}"));
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", dir.display()));
    make.arg(format!("VESPER_FRONT={}", front.display()));
    make.arg(format!("KBUILD_EXTRA_SYMBOLS={}", front.join(SYMVERS).display()));
    // unknown_symbol.c refers to a symbol that does not exist, on purpose.
    make.args(["KBUILD_MODPOST_WARN=1", "modules"]);
    command::output(&mut make).map(|_| ())
}

/// `signed.ko` is `answer.ko`, signed as the kernel signs modules; `signer.pem` is the certificate.
fn sign(release: &str, dir: &Path) -> Result<()> {
    let headers = Path::new("/usr/src").join(format!("linux-headers-{release}"));
    let mut sign = Command::new(headers.join("scripts/sign-file"));
    sign.arg("sha256")
        .args(["signer.key", "signer.pem", "answer.ko", "signed.ko"].map(|name| dir.join(name)));
    command::output(&mut sign).map(|_| ())
}

/// Bytes without a pattern that a copy error could hide in, the same every time (xorshift32).
fn big_data() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    })
    .take(BIG_DATA / 4)
    .flatten()
    .collect()
}
