// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mirror addresses and keyring, from the machine's own apt configuration, which is only read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Where Debian packages come from on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Address of the archive (`…/debian/`).
    pub archive: String,
    /// Address of the security archive, if the machine has one.
    pub security: Option<String>,
    /// The keyring that the machine's own entry names, if it names one.
    pub keyring: Option<PathBuf>,
}

impl Mirror {
    /// Reads it from apt. The archive is recognised by the host's own suite with the component `main`.
    pub fn of_this_machine() -> Result<Self> {
        let os = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let Some(codename) = os.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")) else {
            bail!("/etc/os-release names no VERSION_CODENAME; the lab is built on Debian 12 or newer");
        };
        let format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SOURCESENTRY)";
        let targets = command::text(Command::new("apt-get").args([
            "indextargets",
            "--no-release-info",
            "--format",
            format,
            "Created-By: Packages",
        ]))?;
        let read = |path: &Path| fs::read_to_string(path).ok();
        Self::parse(&targets, codename.trim_matches('"'), &read).with_context(|| {
            format!("apt on this machine has no source for Debian {codename} main (looked through `apt-get indextargets`)")
        })
    }

    fn parse(targets: &str, codename: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<Self> {
        let security_suite = format!("{codename}-security");
        let mut archive = None;
        let mut security = None;
        let mut keyring = None;
        for line in targets.lines() {
            let mut fields = line.split('|');
            let (Some(uri), Some(release), Some("main")) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if release == codename && archive.is_none() {
                archive = Some(uri.to_string());
                // "FILE:LINE"; the line is not needed, an entry's file has one keyring.
                let file =
                    fields.next().and_then(|entry| entry.rsplit_once(':')).map(|(file, _)| Path::new(file));
                keyring = file.and_then(read).as_deref().and_then(signed_by);
            } else if release == security_suite && security.is_none() {
                security = Some(uri.to_string());
            }
        }
        Some(Self { archive: archive?, security, keyring })
    }

    /// apt source lines for `suite`.
    pub fn sources(&self, suite: &str) -> Vec<String> {
        let mut lines = vec![format!("deb {} {suite} main", self.archive)];
        lines.extend(self.security.iter().map(|uri| format!("deb {uri} {suite}-security main")));
        lines
    }
}

/// The keyring file named in an apt source file of either format.
fn signed_by(text: &str) -> Option<PathBuf> {
    let lower = text.to_ascii_lowercase();
    let at = lower.find("signed-by").filter(|_| !text.trim_start().starts_with('#'))?;
    let value = text[at + "signed-by".len()..].trim_start_matches([':', '=', ' ']);
    let path = value.split([' ', '\n', ']', ',']).next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "http://m.example/debian/|bookworm|main|/etc/apt/sources.list.d/debian.sources:1
http://m.example/debian/|bookworm-updates|main|/etc/apt/sources.list.d/debian.sources:1
http://s.example/sec/|bookworm-security|main|/etc/apt/sources.list.d/debian.sources:2
http://other.example/|bookworm|stable|/etc/apt/sources.list.d/other.list:1";

    #[test]
    fn finds_archive_security_and_keyring() {
        let read = |_: &Path| Some("Types: deb\nSigned-By: /usr/share/keyrings/k.gpg\n".to_string());
        let mirror = Mirror::parse(TARGETS, "bookworm", &read).expect("the archive is there");
        assert_eq!(mirror.archive, "http://m.example/debian/");
        assert_eq!(mirror.security.as_deref(), Some("http://s.example/sec/"));
        assert_eq!(mirror.keyring, Some(PathBuf::from("/usr/share/keyrings/k.gpg")));
        assert_eq!(mirror.sources("trixie")[1], "deb http://s.example/sec/ trixie-security main");
    }

    #[test]
    fn a_machine_of_another_suite_is_refused() {
        assert_eq!(Mirror::parse(TARGETS, "noble", &|_| None), None);
    }

    #[test]
    fn keyring_in_a_one_line_entry() {
        let line = "deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://m.example/ bookworm main\n";
        assert_eq!(signed_by(line), Some(PathBuf::from("/usr/share/keyrings/a.gpg")));
        assert_eq!(signed_by("deb http://m.example/ bookworm main\n"), None);
    }
}
