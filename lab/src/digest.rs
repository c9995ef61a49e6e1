// SPDX-License-Identifier: MIT OR Apache-2.0
//! Digests that key caches, and the checksum that the `big` scenario compares.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

/// A digest of all files below `roots`, names and contents. For caches only: it is the same for the same files on
/// the same toolchain, and no defence against anybody.
pub fn of_tree(roots: &[&Path]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for root in roots {
        add(root, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// A digest of texts, for the same use.
pub fn of_text(texts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn add(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let read = || format!("cannot read {}", path.display());
    path.file_name().hash(hasher);
    if !path.is_dir() {
        fs::read(path).with_context(read)?.hash(hasher);
        return Ok(());
    }
    let mut entries =
        fs::read_dir(path).with_context(read)?.collect::<Result<Vec<_>, _>>().with_context(read)?;
    entries.sort_by_key(|entry| entry.file_name());
    entries.retain(|entry| !matches!(entry.file_name().to_str(), Some("target" | ".git")));
    entries.iter().try_for_each(|entry| add(&entry.path(), hasher))
}

/// CRC-32 as zip and Ethernet have it (polynomial 0xedb88320, reflected): the kernel's `crc32_le(~0, …) ^ ~0`.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_of_the_check_string() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_tree_has_another_digest_when_a_byte_or_a_name_changes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("a");
        fs::write(&file, "1")?;
        let first = of_tree(&[dir.path()])?;
        assert_eq!(first, of_tree(&[dir.path()])?);
        fs::write(&file, "2")?;
        let second = of_tree(&[dir.path()])?;
        assert_ne!(first, second);
        fs::rename(&file, dir.path().join("b"))?;
        assert_ne!(second, of_tree(&[dir.path()])?);
        Ok(())
    }
}
