// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates of `inject.signers`. Who can write one says which modules may be loaded, so nobody but root may.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use toml::Spanned;
use vesper_signers::{BadCertificate, Signer};

use super::ConfigError;
use super::owner::{on_the_way, others};
use super::place::Place;

const KEY: &str = "inject.signers";

/// Most bytes of a file: more than any certificate has.
const MOST: u64 = 64 << 10;

/// Reads one.
///
/// # Errors
/// [`ConfigError::Wrong`] with the place of its name.
pub(super) fn read(file: &Spanned<PathBuf>, place: &Place<'_>) -> Result<Signer, ConfigError> {
    let path = place.absolute(file, KEY)?;
    certificate(&path).map_err(|(what, remedy)| {
        let message = format!("{KEY}: {} {what}", path.display());
        place.wrong(file.span().start, &message, remedy)
    })
}

/// What is wrong with it, and what to do about it.
type Wrong = (String, &'static str);

fn certificate(path: &Path) -> Result<Signer, Wrong> {
    let unread = |error: io::Error| {
        (format!("cannot be read: {error}"), "name a certificate that is there and that vesperd can read")
    };
    // Not blocking, in case it is a pipe.
    let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = open.map_err(unread)?;
    let found = file.metadata().map_err(unread)?;
    if !found.is_file() {
        let what = if found.is_dir() { "is a directory, not a file" } else { "is not a regular file" };
        return Err((what.into(), "name the file of each certificate"));
    }
    trusted(path, &file).map_err(unread)?.map_or(Ok(()), |why| {
        Err((why, "leave the file and each directory on its way to root: chown root, chmod go-w; below /etc/vesper they are"))
    })?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MOST {
        let what = format!("has more than {MOST} bytes, which no certificate has");
        return Err((what, "name the certificate that sign-file is given, not what it has signed"));
    }
    Signer::new(&bytes).map_err(|error| (format!("is {error}"), remedy(&error)))
}

/// How somebody else could change the file, or put another in its place.
fn trusted(path: &Path, file: &File) -> io::Result<Option<String>> {
    match others(&file.metadata()?) {
        Some(why) => Ok(Some(format!("is {why}"))),
        None => on_the_way(path),
    }
}

fn remedy(error: &BadCertificate) -> &'static str {
    match error {
        BadCertificate::Unreadable(_) => {
            "name the certificate that belongs to the signing key, in PEM or DER: openssl x509 -in FILE shows it"
        }
        BadCertificate::PrivateKey(_) => {
            "leave nothing but the certificate in the file; the key stays where modules are signed, and dom0 is better without it"
        }
        BadCertificate::Several(_) => "put each into a file of its own, and list those who may sign",
        BadCertificate::Key(_) => {
            "sign with an RSA key of 2048 to 4096 bits, or an ECDSA key on P-256 or P-384"
        }
        BadCertificate::Weak { .. } => "make a larger key and its certificate, and sign the modules anew",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::Config;

    /// A directory that nobody else can put another in the place of; what is below /tmp somebody could.
    fn own_dir() -> TempDir {
        let mut places = ["XDG_RUNTIME_DIR", "HOME"].into_iter().filter_map(std::env::var_os);
        places.find_map(|place| tempfile::tempdir_in(place).ok()).expect("a home")
    }

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../signers/tests/data").join(name)
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What a file with these signers is said to be wrong about; the directory's name is left out.
    fn said(dir: &Path, names: &[&str]) -> String {
        let files: Vec<_> = names.iter().map(|name| dir.join(name)).collect();
        let text = format!("# one\n[inject]\n  signers = {files:?}\n");
        let said = Config::parse("f", &text).map_or_else(
            |error| error.to_string(),
            |config| {
                config.inject.signers.iter().map(|signer| signer.name()).collect::<Vec<_>>().join(" and ")
            },
        );
        said.replace(&format!("{}/", dir.display()), "").replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn certificates_are_read_with_the_rest() {
        let dir = own_dir();
        for name in ["rsa.der", "p384-text.pem", "weak.pem", "ed25519.pem", "p521.pem", "sha256.sig"] {
            fs::copy(data(name), dir.path().join(name)).unwrap();
            mode(&dir.path().join(name), 0o644);
        }
        let file = |name: &str, bytes: &[u8]| {
            fs::write(dir.path().join(name), bytes).unwrap();
            mode(&dir.path().join(name), 0o600);
        };
        file("two", &[fs::read(data("rsa.pem")).unwrap(), fs::read(data("p256.pem")).unwrap()].concat());
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        file("key", &[key, &fs::read(data("rsa.pem")).unwrap()[..]].concat());
        file("long", &[0; 70_000]);
        file("empty", b"");
        fs::create_dir(dir.path().join("dir")).unwrap();
        symlink("rsa.der", dir.path().join("link")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let said = |names: &[&str]| said(dir.path(), names);
        assert_eq!(said(&["rsa.der", "p384-text.pem"]), "CN=test rsa,O=VESPER and CN=test p384,O=VESPER");
        assert_eq!(said(&["link"]), "CN=test rsa,O=VESPER");
        assert_eq!(said(&[]), "");
        for (name, wanted) in [
            (
                "none",
                "none cannot be read: No such file or directory (os error 2); name a certificate that is there",
            ),
            ("dir", "dir is a directory, not a file; name the file of each certificate"),
            ("pipe", "pipe is not a regular file; name the file"),
            ("empty", "empty is no X.509 certificate: "),
            ("sha256.sig", "sha256.sig is no X.509 certificate: "),
            ("long", "long has more than 65536 bytes, which no certificate has; name the certificate that"),
            (
                "key",
                "key is a file with a private key in it (PRIVATE KEY); leave nothing but the certificate in the file",
            ),
            ("two", "two is 2 certificates; put each into a file of its own"),
            (
                "weak.pem",
                "weak.pem is a certificate whose RSA key has 1024 bits; 2048 are wanted at least; make a larger",
            ),
            ("ed25519.pem", "ed25519.pem is a certificate whose key is of the kind 1.3.101.112, neither RSA"),
            (
                "p521.pem",
                "p521.pem is a certificate whose key is on the curve 1.3.132.0.35, not P-256 or P-384; sign with",
            ),
        ] {
            let said = said(&["rsa.der", name]);
            let begin = format!(
                "f:3:{}: inject.signers: {wanted}",
                18 + dir.path().as_os_str().len() + "/rsa.der".len()
            );
            assert!(said.starts_with(&begin), "\n  said   {said}\n  wanted {begin}");
        }
        let relative = Config::parse("f", "[inject]\nsigners = [\"a.pem\"]").unwrap_err().to_string();
        assert!(relative.starts_with("f:2:12: inject.signers: an absolute path is wanted"), "{relative}");
    }

    #[test]
    fn a_certificate_that_others_could_change_is_refused() {
        let dir = own_dir();
        let file = dir.path().join("rsa.der");
        fs::copy(data("rsa.der"), &file).unwrap();
        let link = own_dir();
        symlink(&file, link.path().join("rsa.der")).unwrap();
        mode(&file, 0o664);
        let open =
            "inject.signers: rsa.der is writable by its group or by others: chmod go-w; leave the file";
        assert!(said(dir.path(), &["rsa.der"]).contains(open), "{}", said(dir.path(), &["rsa.der"]));
        mode(&file, 0o644);
        mode(dir.path(), 0o777);
        let open = "rsa.der is reached through DIR, which is writable by its group or by others: chmod go-w; leave the file";
        assert!(said(dir.path(), &["rsa.der"]).contains(open), "{}", said(dir.path(), &["rsa.der"]));
        // Also where the file really is.
        assert!(said(link.path(), &["rsa.der"]).contains("which is writable by its group or by others"));
        mode(dir.path(), 0o755);
        assert_eq!(said(link.path(), &["rsa.der"]), "CN=test rsa,O=VESPER");
    }

    /// Whoever can change a directory further up can put another in the place of the one below.
    #[test]
    fn every_directory_on_the_way_is_looked_at() {
        let root = own_dir();
        let top = root.path();
        for dir in ["real/deep", "links", "far"] {
            fs::create_dir_all(top.join(dir)).unwrap();
        }
        fs::copy(data("rsa.der"), top.join("real/deep/rsa.der")).unwrap();
        mode(&top.join("real/deep/rsa.der"), 0o644);
        // links/rsa.der, then far/deep, which is a directory's link, then the file.
        symlink(top.join("real/deep"), top.join("far/deep")).unwrap();
        symlink("../far/./deep/rsa.der", top.join("links/rsa.der")).unwrap();
        let dirs = ["real/deep", "real", "links", "far", ""].map(|dir| top.join(dir));
        dirs.iter().for_each(|dir| mode(dir, 0o755));
        for (named, way) in [("links/rsa.der", &dirs[..]), ("real/deep/../../real/deep/rsa.der", &dirs[..2])]
        {
            let said = || said(&top.join("."), &[named]);
            assert_eq!(said(), "CN=test rsa,O=VESPER", "{named}");
            for dir in way {
                for (open, remedy) in [(0o775, ": chmod go-w;"), (0o757, ": chmod go-w;"), (0o1777, ";")] {
                    mode(dir, open);
                    let shown = dir.display().to_string();
                    let wanted = format!(
                        "is reached through {}, which is writable by its group or by others{remedy} leave",
                        shown.trim_end_matches('/')
                    );
                    assert!(said().contains(&wanted), "{open:o}\n  said   {}\n  wanted {wanted}", said());
                }
                mode(dir, 0o755);
            }
        }
        // What no path has to do with.
        mode(&top.join("links"), 0o777);
        assert_eq!(said(&top.join("."), &["real/deep/rsa.der"]), "CN=test rsa,O=VESPER");
        // The usual place for a mistake.
        let tmp = tempfile::tempdir_in("/tmp").unwrap();
        fs::copy(data("rsa.der"), tmp.path().join("rsa.der")).unwrap();
        mode(&tmp.path().join("rsa.der"), 0o644);
        let said = said(tmp.path(), &["rsa.der"]);
        assert!(
            said.contains("is reached through /tmp, which is writable by its group or by others; "),
            "{said}"
        );
    }
}
