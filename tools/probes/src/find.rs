// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where probe modules are: `DIR/RELEASE/GROUP.ko`, or `DIR/GROUP.ko` in a directory of one kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use vesper_api::{ErrorKind, Failure, Probe};

use super::modinfo::{self, ModuleInfo};

/// What the names of shipped modules begin with, so that they are not mistaken for the kernel's own.
const PREFIX: &str = "vesper_";

/// The directories that are looked through, first things first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    dirs: Vec<PathBuf>,
    /// How many of them were named on the command line: these must be there.
    named: usize,
}

impl Directories {
    /// Those that were named, those of the configuration, and where the packages put them.
    pub fn new(named: &[PathBuf], configured: &[PathBuf]) -> Self {
        let packaged = [PathBuf::from(vesper_api::PROBES)];
        let dirs = [named, configured, &packaged].concat();
        Self { dirs, named: named.len() }
    }

    /// The module's file of a group for a kernel. No path is made of either.
    ///
    /// # Errors
    /// With what to do about it, if there is none.
    pub fn find(&self, kernel: &str, group: &str) -> Result<PathBuf, Failure> {
        let mut built_for = Vec::new();
        for probe in self.look(Some(group))? {
            if probe.kernel == kernel {
                return Ok(probe.file);
            }
            built_for.push(probe.kernel);
        }
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let mut message =
            format!("there are no probes {group} for the kernel {kernel} in {}", dirs.join(", "));
        if !built_for.is_empty() {
            message += &format!("\nthey are there for: {}", built_for.join(", "));
        }
        let failure = Failure::new(ErrorKind::BadRequest, message);
        if !is_release(kernel) {
            // What the guest says of its kernel is no part of a command that somebody may copy.
            return Err(failure);
        }
        Err(failure.remedy(format!(
            "build them in VESPER's source: cargo xtask kmod --kernel {kernel}; then copy target/kmod/{kernel}/probes \
             to {}/{kernel}, or name it with --dir",
            vesper_api::PROBES
        )))
    }

    /// All modules, by kernel and group; of two for the same, the one that is found first.
    ///
    /// # Errors
    /// If a directory cannot be read that was named, or is there.
    pub fn all(&self) -> Result<Vec<Probe>, Failure> {
        self.look(None)
    }

    /// Those of one group, or all.
    fn look(&self, group: Option<&str>) -> Result<Vec<Probe>, Failure> {
        let mut found = BTreeMap::new();
        for (at, dir) in self.dirs.iter().enumerate() {
            let entries = match fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if at < self.named => return Err(unreadable(dir, &error)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(dir, &error)),
            };
            for path in sorted(entries) {
                if path.is_dir() {
                    let inside = fs::read_dir(&path).map_err(|error| unreadable(&path, &error))?;
                    sorted(inside).iter().for_each(|path| add(&mut found, path, group));
                } else {
                    add(&mut found, &path, group);
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// What a group's module may be called in a kernel.
pub fn module_names(group: &str) -> [String; 2] {
    [format!("{PREFIX}{group}"), group.to_owned()]
}

/// Whether a text has the form of a kernel's release.
fn is_release(kernel: &str) -> bool {
    kernel.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte))
}

fn sorted(entries: fs::ReadDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn add(found: &mut BTreeMap<(String, String), Probe>, path: &Path, wanted: Option<&str>) {
    if path.extension().is_none_or(|extension| extension != "ko") {
        return;
    }
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return };
    let name = stem.replace('-', "_");
    let group = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
    if wanted.is_some_and(|wanted| wanted != group) {
        return;
    }
    // A file that is no module is none of ours.
    let Some(info) = modinfo::read(path) else { return };
    let ModuleInfo { name, kernel, description, parameters } = info;
    found.entry((kernel.clone(), group.clone())).or_insert_with(|| Probe {
        group,
        kernel,
        file: path.to_owned(),
        module: name,
        description,
        parameters,
    });
}

fn unreadable(dir: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorKind::BadRequest, format!("{}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_of_its_kernel_is_no_path_and_no_command() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::new(&[dir.path().to_owned()], &["/nonexistent".into()]);
        for kernel in ["../../etc", "6.1; reboot", "6.1\n"] {
            let failure = directories.find(kernel, "panic").unwrap_err();
            assert_eq!(failure.remedy, None, "{kernel:?}");
        }
        let failure = directories.find("6.1.0-56-amd64", "panic").unwrap_err();
        assert!(failure.remedy.unwrap().contains("cargo xtask kmod --kernel 6.1.0-56-amd64;"));
    }

    #[test]
    fn a_directory_that_was_named_must_be_there() {
        let failure = Directories::new(&["/nonexistent".into()], &[]).all().unwrap_err();
        assert_eq!(failure.message, "/nonexistent: No such file or directory (os error 2)");
        assert!(Directories::new(&[], &["/nonexistent".into()]).all().is_ok());
    }
}
