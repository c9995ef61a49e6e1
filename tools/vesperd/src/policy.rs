// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which modules may be loaded (`[inject]` of the configuration), whoever asks: a client, root, a rule.
//!
//! A client passes a descriptor, and what that is called proves nothing: names change, and a directory of another mount
//! namespace may have any name. So a directory admits **bytes**: those that were copied from the descriptor, and that will be sent, must be
//! those of a file which is there now. The file may be at another place, too; what is loaded is the same.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};
use vesper_config::{Digest, Inject};

use crate::owner::others;

/// Directories below a named one that are looked into: `RELEASE/kernel/drivers/net/…` has fewer.
const DEPTH: u32 = 16;

/// Why a module may not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("modules are restricted, and {0}")]
pub(crate) struct NotAdmitted(String);

/// SHA-256 of a file's bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Whether a file of these bytes and this digest may be loaded: it is enough if one of the lists admits it.
///
/// # Errors
/// What was compared with what, and which files and directories of the operator's are not trusted.
pub(crate) fn admit(inject: &Inject, bytes: &[u8], digest: Digest) -> Result<(), NotAdmitted> {
    if inject.directories.is_empty() && inject.digests.is_empty() || inject.digests.contains(&digest) {
        return Ok(());
    }
    let mut search = Search { bytes, distrusted: None };
    if inject.directories.iter().any(|dir| search.directory(dir, DEPTH)) {
        return Ok(());
    }
    let mut why = Vec::new();
    if !inject.digests.is_empty() {
        why.push(format!("its digest {digest} is not in inject.digests"));
    }
    if !inject.directories.is_empty() {
        let dirs: Vec<_> = inject.directories.iter().map(|dir| dir.display().to_string()).collect();
        why.push(format!("no file in {} has its bytes", dirs.join(", ")));
    }
    why.extend(search.distrusted);
    Err(NotAdmitted(why.join(", and ")))
}

/// What is to be done for a module to be admitted.
pub(crate) fn remedy(inject: &Inject, digest: Digest) -> String {
    let into = inject.directories.first().map(|dir| format!("have root copy it into {}", dir.display()));
    let list = (!inject.digests.is_empty()).then(|| {
        format!(
            "add \"{digest}\" to inject.digests in {}, then: systemctl reload vesperd",
            vesper_config::PATH
        )
    });
    into.into_iter().chain(list).collect::<Vec<_>>().join(", or ")
}

/// Looks for a file with certain bytes. What somebody else than root could have put there does not count.
struct Search<'a> {
    bytes: &'a [u8],
    /// The first place that would have been looked at otherwise, and why it was not.
    distrusted: Option<String>,
}

impl Search<'_> {
    fn directory(&mut self, dir: &Path, depth: u32) -> bool {
        // The named one may be a symbolic link, for root has named it.
        let Ok(entries) = fs::metadata(dir).and_then(|found| Ok((found, fs::read_dir(dir)?))) else {
            return false;
        };
        let (found, entries) = entries;
        if !self.trusts(dir, &found) {
            return false;
        }
        let mut below: Vec<PathBuf> = Vec::new();
        for entry in entries.flatten() {
            // Of the entry itself: links are not followed.
            match entry.metadata() {
                Ok(file) if file.is_file() && self.is_it(&entry.path(), &file) => return true,
                Ok(dir) if dir.is_dir() => below.push(entry.path()),
                _ => {}
            }
        }
        depth > 0 && below.iter().any(|dir| self.directory(dir, depth - 1))
    }

    /// Most files have another length, and are not opened.
    fn is_it(&mut self, path: &Path, seen: &Metadata) -> bool {
        if seen.len() != self.bytes.len() as u64 {
            return false;
        }
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let Ok(mut file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
        let same = file.metadata().is_ok_and(|found| found.is_file() && self.trusts(path, &found));
        same && is_same(&mut file, self.bytes).unwrap_or(false)
    }

    fn trusts(&mut self, path: &Path, found: &Metadata) -> bool {
        let why = others(found);
        if let Some(why) = &why {
            self.distrusted.get_or_insert_with(|| format!("{} is {why}", path.display()));
        }
        why.is_none()
    }
}

fn is_same(file: &mut File, mut bytes: &[u8]) -> io::Result<bool> {
    let mut chunk = [0; 64 << 10];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes.is_empty()),
            Ok(count) => match bytes.strip_prefix(&chunk[..count]) {
                Some(rest) => bytes = rest,
                None => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn without_lists_all_are_admitted() {
        assert!(admit(&Inject::default(), b"x", digest(b"x")).is_ok());
    }

    /// From NIST's examples.
    #[test]
    fn the_digest_is_that_of_sha256sum() {
        assert_eq!(
            digest(b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn one_list_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.ko"), "one").unwrap();
        let digests = [digest(b"two")].into();
        let inject = Inject { directories: vec![dir.path().into()], digests };
        assert!(admit(&inject, b"one", digest(b"one")).is_ok());
        assert!(admit(&inject, b"two", digest(b"two")).is_ok());
        let said = admit(&inject, b"six", digest(b"six")).unwrap_err().to_string();
        let six = digest(b"six");
        let wanted = format!(
            "modules are restricted, and its digest {six} is not in inject.digests, and no file in {} has its bytes",
            dir.path().display()
        );
        assert_eq!(said, wanted);
        let wanted = format!("have root copy it into {}, or add \"{six}\" to", dir.path().display());
        assert!(remedy(&inject, six).starts_with(&wanted), "{}", remedy(&inject, six));
    }

    #[test]
    fn a_directory_admits_what_root_has_put_there_or_below_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let inject = Inject { directories: vec![dir.path().into()], ..Inject::default() };
        let said = |bytes: &[u8]| admit(&inject, bytes, digest(bytes)).map_err(|error| error.to_string());
        let below = dir.path().join("6.1.0/probes");
        fs::create_dir_all(&below).unwrap();
        // Longer than what is compared at once.
        let long = vec![7; 100_000];
        fs::write(below.join("a.ko"), &long).unwrap();
        assert_eq!(said(&long), Ok(()));
        // The same length, and another last byte.
        let mut other = long.clone();
        *other.last_mut().unwrap() = 8;
        assert!(said(&other).is_err());
        // A link to something outside.
        fs::write(outside.path().join("b.ko"), "outside").unwrap();
        symlink(outside.path().join("b.ko"), dir.path().join("b.ko")).unwrap();
        symlink(outside.path(), dir.path().join("more")).unwrap();
        assert!(said(b"outside").is_err());
        // What others can write.
        fs::write(dir.path().join("c.ko"), "open").unwrap();
        mode(&dir.path().join("c.ko"), 0o664);
        let refused = said(b"open").unwrap_err();
        assert!(refused.ends_with("c.ko is writable by its group or by others: chmod go-w"), "{refused}");
        mode(&below, 0o777);
        assert!(said(&long).unwrap_err().contains("6.1.0/probes is writable by its group or by others"));
        mode(&below, 0o755);
        assert_eq!(said(&long), Ok(()));
        assert!(said(b"").is_err());
    }
}
