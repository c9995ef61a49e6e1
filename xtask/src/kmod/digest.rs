// SPDX-License-Identifier: MIT OR Apache-2.0
//! A digest of the inputs of a build: equal digest, nothing to do.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

/// Digest of files and texts. It tells builds apart on one machine and is not meant to withstand anybody.
pub struct Digest(DefaultHasher);

impl Digest {
    pub fn new() -> Self {
        Self(DefaultHasher::new())
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A file, or all files below a folder, with their names.
    pub fn tree(&mut self, path: &Path) -> Result<()> {
        self.bytes(path.as_os_str().as_encoded_bytes());
        if !path.is_dir() {
            let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            self.bytes(&content);
            return Ok(());
        }
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if entry.file_name() != "target" {
                self.tree(&entry.path())?;
            }
        }
        Ok(())
    }

    pub fn finish(&self) -> String {
        format!("{:016x}\n", self.0.finish())
    }

    /// With the length before it, so that two inputs are not taken for one.
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_usize(bytes.len());
        self.0.write(bytes);
    }
}
