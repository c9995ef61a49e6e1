// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at a built package as its user will get it: what would make it install badly, or leave something behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use vesper_lab::command;

use super::VERSION;
use super::deb::SCRIPTS;

/// Folders that a package of ours may put files into.
const FOLDERS: [&str; 7] =
    ["/etc/vesper/", "/usr/bin/", "/usr/include/", "/usr/sbin/", "/usr/lib/", "/usr/share/", "/usr/src/"];

/// Fields that dpkg or a reader of `apt show` needs.
const FIELDS: [&str; 8] = [
    "Package",
    "Version",
    "Architecture",
    "Maintainer",
    "Section",
    "Priority",
    "Installed-Size",
    "Description",
];

/// All that is wrong with `package`, a line each.
pub fn problems(package: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let field = |name: &str| -> Result<String> {
        let value = command::text(Command::new("dpkg-deb").arg("-f").arg(package).arg(name))?;
        Ok(value.trim_end().to_string())
    };
    for name in FIELDS {
        if field(name)?.is_empty() {
            found.push(format!("control: no {name}"));
        }
    }
    if field("Version")? != VERSION {
        found.push(format!("control: version {} and not {VERSION}", field("Version")?));
    }

    let folder = package.with_extension("look");
    let _ = fs::remove_dir_all(&folder);
    command::output(Command::new("dpkg-deb").arg("-R").arg(package).arg(&folder))?;
    let listing = command::text(Command::new("dpkg-deb").arg("-c").arg(package))?;
    let files = listing.lines().filter_map(Listed::parse).collect::<Vec<_>>();
    found.extend(files.iter().flat_map(Listed::problems));
    let paths: BTreeSet<String> = files.iter().filter(|file| !file.is_folder()).map(Listed::path).collect();
    let copyright = format!("/usr/share/doc/{}/copyright", field("Package")?);
    if !paths.contains(&copyright) {
        found.push(format!("no {copyright}"));
    }
    found.extend(control_problems(&folder.join("DEBIAN"), &paths)?);
    for path in &paths {
        found.extend(content_problems(path, &folder.join(&path[1..]))?);
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(found)
}

/// A line of `dpkg-deb -c`: mode, owner, size, date, time, `./path`.
struct Listed<'a> {
    mode: &'a str,
    owner: &'a str,
    name: &'a str,
}

impl<'a> Listed<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self { mode: words.next()?, owner: words.next()?, name: words.nth(3)?.strip_prefix('.')? })
    }

    fn is_folder(&self) -> bool {
        self.mode.starts_with('d')
    }

    fn path(&self) -> String {
        self.name.to_string()
    }

    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.owner != "root/root" {
            found.push(format!("{}: belongs to {}", self.name, self.owner));
        }
        if !["drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"].contains(&self.mode) {
            found.push(format!("{}: has the mode {}", self.name, self.mode));
        }
        if !self.is_folder() && !FOLDERS.iter().any(|folder| self.name.starts_with(folder)) {
            found.push(format!("{}: no place for a file of a package", self.name));
        }
        found
    }
}

/// What is wrong with the package's scripts and lists, given the files it has.
fn control_problems(control: &Path, paths: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let read = |name: &str| fs::read_to_string(control.join(name)).unwrap_or_default();

    let listed: BTreeSet<String> = read("conffiles").lines().map(String::from).collect();
    let in_etc: BTreeSet<String> = paths.iter().filter(|path| path.starts_with("/etc/")).cloned().collect();
    found.extend(
        listed.symmetric_difference(&in_etc).map(|path| format!("conffiles: {path} is in one place only")),
    );

    let sums = read("md5sums");
    let summed: BTreeSet<String> =
        sums.lines().filter_map(|line| Some(format!("/{}", line.split_once("  ")?.1))).collect();
    found.extend(
        paths
            .iter()
            .filter(|path| !in_etc.contains(*path) && !summed.contains(*path))
            .map(|path| format!("md5sums: {path} is missing, `dpkg --verify` would not see it change")),
    );

    for name in SCRIPTS {
        let text = read(name);
        if text.is_empty() {
            continue;
        }
        if !text.starts_with("#!/bin/sh\n") || !text.contains("\nset -e\n") {
            found.push(format!("{name}: must begin with #!/bin/sh and stop at the first error (set -e)"));
        }
        if let Err(error) = command::output(Command::new("sh").arg("-n").arg(control.join(name))) {
            found.push(format!("{name}: {error:#}"));
        }
        found.extend(left_open(name, text.as_bytes()));
    }
    found.extend(left_open("control", read("control").as_bytes()));
    Ok(found)
}

/// What is wrong with a file by what is in it.
fn content_problems(path: &str, file: &Path) -> Result<Vec<String>> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut found: Vec<String> = left_open(path, &content).into_iter().collect();
    if content.is_empty() {
        found.push(format!("{path}: empty"));
    }
    let is_elf = content.starts_with(b"\x7fELF");
    if path.contains("bin/") && is_elf {
        let headers = command::text(Command::new("readelf").arg("-lWd").arg(file))?;
        if headers.contains("INTERP") || headers.contains("(NEEDED)") {
            found.push(format!("{path}: not a static program"));
        }
    }
    // e_type 1 at byte 16: relocatable, what Kbuild links (System V ABI, "ELF Header").
    if path.ends_with("/core.o_raw") && !(is_elf && content.get(16..18) == Some(&[1, 0])) {
        found.push(format!("{path}: not a relocatable object"));
    }
    if path.ends_with("/core.o_raw") && !content.windows(4).any(|bytes| bytes == ENDBR64) {
        found
            .push(format!("{path}: no branch marks; a kernel with IBT would stop at the first call into it"));
    }
    Ok(found)
}

/// The instruction that an indirect branch must meet where IBT is on (Intel SDM volume 1, 17.3).
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// A place of a template that nothing was put into.
fn left_open(name: &str, content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let (_, behind) = text.split_once('@')?;
    let (between, _) = behind.rsplit_once('@')?;
    let name_like = |word: &&str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let word = between.split('@').find(name_like)?;
    Some(format!("{name}: @{word}@ was not filled in"))
}
