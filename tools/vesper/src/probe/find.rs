// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where probe modules are: `DIR/RELEASE/GROUP.ko`, or `DIR/GROUP.ko` in a directory of one kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use vesper_api::{ErrorKind, Failure, Probe};

use super::modinfo::{self, ModuleInfo};

/// What the names of shipped modules begin with, so that they are not mistaken for the kernel's own.
const PREFIX: &str = "vesper_";

/// The directories that are looked through, first things first.
pub(super) struct Directories {
    dirs: Vec<PathBuf>,
    /// How many of them were named on the command line: these must be there.
    named: usize,
}

/// What is read of the daemon's configuration; whether the rest of it is in order is the daemon's business.
#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    directories: Configured,
}

#[derive(Default, Deserialize)]
struct Configured {
    #[serde(default)]
    probes: Vec<PathBuf>,
}

impl Directories {
    /// Those that were named, those of the configuration, and where the packages put them.
    pub(super) fn new(named: &[PathBuf]) -> Self {
        let text = fs::read_to_string(vesper_api::CONFIG).unwrap_or_default();
        let configured: Configuration = toml::from_str(&text).unwrap_or_default();
        let mut dirs = named.to_vec();
        dirs.extend(configured.directories.probes);
        dirs.push(vesper_api::PROBES.into());
        Self { dirs, named: named.len() }
    }

    /// The module of a group for a kernel.
    pub(super) fn find(&self, kernel: &str, group: &str) -> Result<PathBuf, Failure> {
        let mut built_for = Vec::new();
        for probe in self.all()? {
            if probe.group == group {
                if probe.kernel == kernel {
                    return Ok(probe.file);
                }
                built_for.push(probe.kernel);
            }
        }
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let mut message =
            format!("there are no probes {group} for the kernel {kernel} in {}", dirs.join(", "));
        if !built_for.is_empty() {
            message += &format!("\nthey are there for: {}", built_for.join(", "));
        }
        Err(Failure::new(ErrorKind::BadRequest, message).remedy(format!(
            "build them in VESPER's source: cargo xtask kmod --kernel {kernel}; then copy target/kmod/{kernel}/probes \
             to {}/{kernel}, or name it with --dir",
            vesper_api::PROBES
        )))
    }

    /// All modules, by kernel and group; of two for the same, the one that is found first.
    pub(super) fn all(&self) -> Result<Vec<Probe>, Failure> {
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
                    sorted(inside).iter().for_each(|path| add(&mut found, path));
                } else {
                    add(&mut found, &path);
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// What a group's module may be called in a kernel.
pub(super) fn module_names(group: &str) -> [String; 2] {
    [format!("{PREFIX}{group}"), group.to_owned()]
}

fn sorted(entries: fs::ReadDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn add(found: &mut BTreeMap<(String, String), Probe>, path: &Path) {
    if path.extension().is_none_or(|extension| extension != "ko") {
        return;
    }
    // A file that is no module is none of ours.
    let (Some(stem), Some(info)) = (path.file_stem().and_then(|stem| stem.to_str()), modinfo::read(path))
    else {
        return;
    };
    let name = stem.replace('-', "_");
    let group = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
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
