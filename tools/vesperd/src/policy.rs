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
use std::sync::Arc;

use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};
use vesper_action::image;
use vesper_config::owner::{on_the_way, others};
use vesper_config::{Digest, Inject};
use vesper_signers::{Signer, Unsigned, signer_of};

use crate::images::FileError;

/// Directories below a named one that are looked into: `RELEASE/kernel/drivers/net/…` has fewer.
const DEPTH: u32 = 16;

/// SHA-256 of a file's bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Why a module may not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("modules are restricted, and {}", .why.join(", and "))]
pub(crate) struct NotAdmitted {
    why: Vec<String>,
    remedies: Vec<String>,
}

impl NotAdmitted {
    /// What is to be done for the module to be admitted.
    pub(crate) fn remedy(&self) -> String {
        self.remedies.join(", or ")
    }

    /// Admits the module all the same if it is one of a signer: the module, decompressed, and who has signed it. What is signed is the
    /// module, and its file may be compressed, so only now it is unpacked.
    ///
    /// # Errors
    /// This one, with what is wrong with the signature; or [`FileError::Image`] if the file cannot be unpacked and nothing but its signature
    /// could have admitted it, for then that is what is wrong with it.
    pub(crate) fn unless_signed(
        mut self,
        inject: &Inject,
        file: Arc<[u8]>,
        limit: u64,
    ) -> Result<(Arc<[u8]>, &Signer), FileError> {
        let Inject { directories, digests, signers } = inject;
        if signers.is_empty() {
            return Err(self.into());
        }
        let image = match image::unpack(file.clone(), limit) {
            Ok(image) => image,
            Err(error) if directories.is_empty() && digests.is_empty() => return Err(error.into()),
            Err(error) => {
                self.why.push(format!("no signature can be seen: {error}"));
                return Err(self.into());
            }
        };
        let error = match signer_of(&image, signers) {
            Ok(signer) => return Ok((image, signer)),
            Err(error) => error,
        };
        // A signature behind compressed data would only damage them.
        let how = if Arc::ptr_eq(&image, &file) {
            "sign it"
        } else {
            "decompress it, sign that and compress it again"
        };
        let sign = format!(
            "{how}: scripts/sign-file sha256 KEY CERTIFICATE FILE, with a certificate of inject.signers"
        );
        if let Unsigned::Stranger(_) = error {
            self.remedies.push(add("the signer's certificate", "signers"));
        }
        self.remedies.push(match error {
            Unsigned::NotSigned | Unsigned::Stranger(_) => sign,
            _ => format!("take the file as it was before it was signed, and {sign}"),
        });
        self.why.push(error.to_string());
        Err(self.into())
    }
}

/// Adding something to one of the lists.
fn add(what: &str, list: &str) -> String {
    format!("add {what} to inject.{list} in {}, then: systemctl reload vesperd", vesper_config::PATH)
}

/// Whether a file of these bytes and this digest may be loaded, whoever signed it: nothing is restricted, or it is enough if one of the
/// lists admits it.
///
/// # Errors
/// What was compared with what, and which files and directories of the operator's are not trusted.
pub(crate) fn listed(inject: &Inject, bytes: &[u8], digest: Digest) -> Result<(), NotAdmitted> {
    let Inject { directories, digests, signers } = inject;
    if directories.is_empty() && digests.is_empty() && signers.is_empty() || digests.contains(&digest) {
        return Ok(());
    }
    let mut search = Search { bytes, distrusted: None };
    if directories.iter().any(|dir| search.named(dir)) {
        return Ok(());
    }
    let (mut why, mut remedies) = (Vec::new(), Vec::new());
    if let Some(first) = directories.first() {
        remedies.push(format!("have root copy it into {}", first.display()));
    }
    if !digests.is_empty() {
        why.push(format!("its digest {digest} is not in inject.digests"));
        remedies.push(add(&format!("\"{digest}\""), "digests"));
    }
    if !directories.is_empty() {
        let dirs: Vec<_> = directories.iter().map(|dir| dir.display().to_string()).collect();
        why.push(format!("no file in {} has its bytes", dirs.join(", ")));
    }
    why.extend(search.distrusted);
    Err(NotAdmitted { why, remedies })
}

/// Looks for a file with certain bytes. What somebody else than root could have put there does not count.
struct Search<'a> {
    bytes: &'a [u8],
    /// The first place that would have been looked at otherwise, and why it was not.
    distrusted: Option<String>,
}

impl Search<'_> {
    /// In a directory of the list, which may be a symbolic link, for root has named it.
    fn named(&mut self, dir: &Path) -> bool {
        // What is not there has nothing in it.
        let Ok(way) = on_the_way(dir) else { return false };
        if let Some(why) = way {
            self.distrusted.get_or_insert_with(|| format!("{} {why}", dir.display()));
            return false;
        }
        self.directory(dir, DEPTH)
    }

    fn directory(&mut self, dir: &Path, depth: u32) -> bool {
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
#[path = "../tests/support/own_dir.rs"]
mod own_dir;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::own_dir::own_dir;
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn without_lists_all_are_admitted() {
        assert!(listed(&Inject::default(), b"x", digest(b"x")).is_ok());
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
        let dir = own_dir();
        fs::write(dir.path().join("a.ko"), "one").unwrap();
        let digests = [digest(b"two")].into();
        let inject = Inject { directories: vec![dir.path().into()], digests, ..Inject::default() };
        assert!(listed(&inject, b"one", digest(b"one")).is_ok());
        assert!(listed(&inject, b"two", digest(b"two")).is_ok());
        let refused = listed(&inject, b"six", digest(b"six")).unwrap_err();
        let six = digest(b"six");
        let wanted = format!(
            "modules are restricted, and its digest {six} is not in inject.digests, and no file in {} has its bytes",
            dir.path().display()
        );
        assert_eq!(refused.to_string(), wanted);
        let wanted = format!("have root copy it into {}, or add \"{six}\" to", dir.path().display());
        assert!(refused.remedy().starts_with(&wanted), "{}", refused.remedy());
    }

    #[test]
    fn a_directory_admits_what_root_has_put_there_or_below_and_nothing_else() {
        let dir = own_dir();
        let outside = own_dir();
        let inject = Inject { directories: vec![dir.path().into()], ..Inject::default() };
        let said = |bytes: &[u8]| listed(&inject, bytes, digest(bytes)).map_err(|error| error.to_string());
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
        // Whoever can write further up can put another directory there.
        mode(dir.path(), 0o1777);
        let inject = Inject { directories: vec![below.clone()], ..Inject::default() };
        let refused = listed(&inject, &long, digest(&long)).unwrap_err().to_string();
        let wanted = format!(
            "{} is reached through {}, which is writable by its group or by others",
            below.display(),
            dir.path().display()
        );
        assert!(refused.ends_with(&wanted), "{refused}");
        mode(dir.path(), 0o755);
        assert!(listed(&inject, &long, digest(&long)).is_ok());
        // Through a link of root's.
        let link = outside.path().join("link");
        symlink(&below, &link).unwrap();
        let inject = Inject { directories: vec![link], ..Inject::default() };
        assert!(listed(&inject, &long, digest(&long)).is_ok());
        mode(outside.path(), 0o777);
        assert!(listed(&inject, &long, digest(&long)).is_err());
    }

    fn data(name: &str) -> Arc<[u8]> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../signers/tests/data");
        fs::read(dir.join(name)).unwrap().into()
    }

    /// Most bytes of a module here.
    const LIMIT: u64 = 1 << 20;

    fn taken(inject: &Inject, file: &Arc<[u8]>) -> Result<Arc<[u8]>, FileError> {
        match listed(inject, file, digest(file)) {
            Ok(()) => Ok(file.clone()),
            Err(unlisted) => unlisted.unless_signed(inject, file.clone(), LIMIT).map(|(image, _)| image),
        }
    }

    /// What becomes of a file by these lists: the module that may be loaded, or why not and what to do.
    fn decided(inject: &Inject, file: &Arc<[u8]>) -> Result<Arc<[u8]>, (String, String)> {
        taken(inject, file).map_err(|refused| match refused {
            FileError::NotAdmitted(refused) => (refused.to_string(), refused.remedy()),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_signer_s_module_is_admitted_compressed_or_not() {
        let signers = vec![Signer::new(&data("rsa.pem")).unwrap()];
        let inject = Inject { signers, ..Inject::default() };
        let whole: Arc<[u8]> = [data("module.ko"), data("sha256.sig")].concat().into();
        // With its signature: the guest's kernel may want it, too.
        assert!(decided(&inject, &whole).unwrap() == whole);
        for packed in ["signed.ko.xz", "signed.ko.zst"] {
            assert!(decided(&inject, &data(packed)).unwrap() == whole, "{packed}");
        }
        let sign =
            "sign it: scripts/sign-file sha256 KEY CERTIFICATE FILE, with a certificate of inject.signers";
        let (why, remedy) = decided(&inject, &data("module.ko")).unwrap_err();
        assert_eq!((why.as_str(), remedy.as_str()), ("modules are restricted, and it is not signed", sign));
        let other = [data("module.ko"), data("other.sig")].concat().into();
        let (why, remedy) = decided(&inject, &other).unwrap_err();
        assert!(
            why.ends_with(" of CN=test other,O=VESPER, whose certificate is not in inject.signers"),
            "{why}"
        );
        let add = "add the signer's certificate to inject.signers in /etc/vesper/vesper.toml, then: systemctl reload vesperd";
        assert_eq!(remedy, format!("{add}, or {sign}"));
        let changed = [b"x".as_slice(), &whole].concat().into();
        let (why, remedy) = decided(&inject, &changed).unwrap_err();
        assert!(why.contains("the signature of CN=test rsa,O=VESPER does not fit its bytes"), "{why}");
        assert_eq!(remedy, format!("take the file as it was before it was signed, and {sign}"));
    }

    fn gzip(bytes: &[u8]) -> Arc<[u8]> {
        use std::io::Write;

        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap().into()
    }

    /// A signature belongs behind the module; behind what it is compressed to it would only damage that.
    #[test]
    fn who_is_to_sign_a_compressed_module_is_told_to_decompress_it() {
        let inject = Inject { signers: vec![Signer::new(&data("rsa.pem")).unwrap()], ..Inject::default() };
        let sign = "decompress it, sign that and compress it again: scripts/sign-file sha256 KEY CERTIFICATE FILE, with a certificate of inject.signers";
        let (why, remedy) = decided(&inject, &gzip(&data("module.ko"))).unwrap_err();
        assert_eq!((why.as_str(), remedy.as_str()), ("modules are restricted, and it is not signed", sign));
        let (_, remedy) =
            decided(&inject, &gzip(&[data("module.ko"), data("other.sig")].concat())).unwrap_err();
        assert!(
            remedy.starts_with("add the signer's certificate ") && remedy.ends_with(&format!(", or {sign}"))
        );
        let changed = [b"x".as_slice(), &data("module.ko"), &data("sha256.sig")].concat();
        let (_, remedy) = decided(&inject, &gzip(&changed)).unwrap_err();
        assert_eq!(remedy, format!("take the file as it was before it was signed, and {sign}"));
    }

    /// No signature helps such a file.
    #[test]
    fn a_file_that_cannot_be_unpacked_is_told_what_is_wrong_with_it() {
        let dir = own_dir();
        let signers = vec![Signer::new(&data("rsa.pem")).unwrap()];
        let alone = Inject { signers, ..Inject::default() };
        let beside = Inject { directories: vec![dir.path().into()], ..alone.clone() };
        let and_digests = Inject { digests: [digest(b"two")].into(), ..alone.clone() };
        let large = [&vec![0; LIMIT as usize][..], &data("module.ko"), &data("sha256.sig")].concat();
        for (what, file, wanted) in [
            ("empty", Arc::default(), "the file is empty"),
            ("cut off", data("signed.ko.xz")[..300].into(), "the xz data is damaged or cut off: "),
            (
                "signed when it was compressed",
                [gzip(&data("module.ko")), data("sha256.sig")].concat().into(),
                "the gzip data is damaged",
            ),
            ("too large", gzip(&large), "the image is larger than the limit of 1048576 bytes"),
        ] {
            let refused = taken(&alone, &file).unwrap_err();
            assert!(matches!(refused, FileError::Image(_)), "{what}: {refused:?}");
            assert!(refused.to_string().starts_with(wanted), "{what}: {refused}");
            for (inject, remedied) in [(&beside, "have root copy it into "), (&and_digests, "add \"sha256:")]
            {
                let (why, remedy) = decided(inject, &file).unwrap_err();
                assert!(why.contains(&format!(", and no signature can be seen: {wanted}")), "{what}: {why}");
                assert!(remedy.starts_with(remedied) && !remedy.contains("sign"), "{what}: {remedy}");
            }
        }
    }

    /// The lists together: one is enough, and what is refused is told of each.
    #[test]
    fn signers_are_one_list_more() {
        let dir = own_dir();
        fs::write(dir.path().join("a.ko"), "one").unwrap();
        let inject = Inject {
            directories: vec![dir.path().into()],
            digests: [digest(b"two")].into(),
            signers: vec![Signer::new(&data("rsa.pem")).unwrap()],
        };
        let signed = [data("module.ko"), data("sha256.sig")].concat().into();
        for file in [b"one".as_slice().into(), b"two".as_slice().into(), signed] {
            assert!(decided(&inject, &file).is_ok());
        }
        let (why, remedy) = decided(&inject, &b"six".as_slice().into()).unwrap_err();
        assert!(why.ends_with(" has its bytes, and it is not signed"), "{why}");
        assert!(why.contains("is not in inject.digests, and no file in "), "{why}");
        assert!(remedy.contains("systemctl reload vesperd, or sign it: scripts/sign-file"), "{remedy}");
        // What is listed already is not looked at.
        let listed = decided(&Inject { signers: Vec::new(), ..inject }, &b"six".as_slice().into());
        assert!(!listed.unwrap_err().0.contains("signed"));
    }
}
