// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives in the format of the kernel's initramfs ("newc", Linux `Documentation/driver-api/early-userspace/
//! buffer-format.rst`), written without root and the same for the same input. Archives may follow one another in
//! one file; a later one's files replace an earlier one's.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

/// File type bits of a mode, as in `stat(2)`.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// An archive being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    next_inode: u32,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, and those above it. `path` is absolute, here and below.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.directories.contains(path) {
            return;
        }
        self.parents(path);
        self.directories.insert(path.to_string());
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file with the given permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, FILE | permissions, (0, 0), content);
    }

    /// Adds a file of the host, executable if it is so there.
    pub fn host_file(&mut self, path: &str, from: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = std::fs::metadata(from)
            .with_context(|| format!("cannot read {}", from.display()))?
            .permissions()
            .mode();
        self.file(path, if mode & 0o111 != 0 { 0o755 } else { 0o644 }, &content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.entry(path, LINK | 0o777, (0, 0), to.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER | 0o600, (major, minor), &[]);
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        // The kernel looks for the next archive at a multiple of four; whole blocks are what cpio itself writes.
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((above, _)) = path.trim_matches('/').rsplit_once('/') {
            self.directory(above);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        let name = path.trim_start_matches('/');
        let links = if mode & 0o170_000 == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(content.len()).expect("no file of the lab is as large as 4 GiB");
        let name_size = name.len() as u32 + 1;
        // inode, mode, uid, gid, nlink, mtime, size, device of the file system (2), of the node (2), name, check
        let fields = [self.next_inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        self.next_inode += 1;
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::new();
        archive.file("/a/b/one", 0o644, b"1");
        archive.file("/a/b/two", 0o755, b"22");
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what:?} is missing"));
        assert!(
            at("a\0") < at("a/b\0") && at("a/b\0") < at("a/b/one\0") && at("a/b/one\0") < at("a/b/two\0")
        );
        assert_eq!(text.matches("a/b\0").count(), 1);
    }

    #[test]
    fn a_header_is_110_bytes_of_hexadecimal() {
        let mut archive = Archive::new();
        archive.file("/f", 0o600, b"xyz");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"00008180", "mode: a regular file, rw for its owner");
        assert_eq!(&bytes[54..62], b"00000003", "size");
        assert_eq!(&bytes[110..112], b"f\0");
        assert_eq!(&bytes[112..115], b"xyz");
        assert_eq!(bytes.len() % 512, 0);
    }
}
