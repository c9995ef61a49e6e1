// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probe modules: found in directories of this machine, loaded and unloaded as any other module.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vesper_api::{Done, ErrorKind, Failure, GuestStatus, Probed, Probes, Request};
use vesper_probes::{Directories, module_names};

use crate::ask::ask;
use crate::options::{self, Dirs, Probe, Unprobe};

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

/// `vesper probe`: loads a module for each group, one after another.
///
/// # Errors
/// Of the first thing that does not work. Files are looked for before anything is sent.
pub(crate) fn probe(socket: &Path, options: &Probe) -> Result<Done, Failure> {
    let status = status(socket, &options.dom)?;
    let Some(kernel) = &status.guest.kernel else {
        let guest = status.guest.guest;
        let message = format!("which kernel {} has is not known: it is not connected", guest.name);
        return Err(Failure::new(ErrorKind::NotAttached, message)
            .remedy(format!("attach it first: vesper attach {}", guest.domid))
            .guest(guest));
    };
    let directories = directories(&options.dirs);
    let mut modules = Vec::new();
    for group in &options.groups {
        let file = directories.find(kernel, &group.name)?;
        let module = options::open_module(&file)?;
        modules.push((group, file, module));
    }
    // The guest that was asked, even if another one gets its name meanwhile.
    let dom = &status.guest.guest.uuid;
    let mut loaded = Vec::new();
    for (group, file, module) in modules {
        let request = options::insmod(dom, &file, group.parameters(options.args.clone()), &options.limit);
        match ask(socket, &request, Some(&module)).into_result() {
            Ok(Done::Loaded(done)) => loaded.push(done),
            Ok(_) => return Err(Failure::new(ErrorKind::Internal, "the daemon's answer is no load")),
            Err(mut failure) => {
                if !loaded.is_empty() {
                    let names: Vec<_> = loaded.iter().map(|done| done.module.as_str()).collect();
                    failure.message += &format!("\nloaded before, and still in: {}", names.join(", "));
                }
                return Err(failure);
            }
        }
    }
    Ok(Done::Probed(Probed { loaded }))
}

/// `vesper unprobe`.
///
/// # Errors
/// As `vesper rmmod`; and if no module of this group is in.
pub(crate) fn unprobe(socket: &Path, options: &Unprobe) -> Result<Done, Failure> {
    let status = status(socket, &options.dom)?;
    let modules = &status.guest.modules;
    let name = module_names(&options.group).into_iter().find(|name| modules.contains(name));
    let Some(name) = name else {
        let guest = status.guest.guest;
        let there = if modules.is_empty() { "none".into() } else { modules.join(", ") };
        let message =
            format!("no probes {} are in {}; loaded through VESPER: {there}", options.group, guest.name);
        return Err(Failure::new(ErrorKind::BadRequest, message).guest(guest));
    };
    let dom = status.guest.guest.uuid;
    ask(socket, &Request::Rmmod { dom, name, timeout_ms: options.limit.millis() }, None).into_result()
}

/// `vesper probes`.
///
/// # Errors
/// If a directory cannot be read that was named.
pub(crate) fn probes(options: &Dirs) -> Result<Done, Failure> {
    Ok(Done::Probes(Probes { probes: directories(options).all()? }))
}

fn status(socket: &Path, dom: &str) -> Result<GuestStatus, Failure> {
    match ask(socket, &Request::Status { dom: dom.to_owned() }, None).into_result()? {
        Done::Status(status) => Ok(*status),
        _ => Err(Failure::new(ErrorKind::Internal, "the daemon's answer is no status")),
    }
}

fn directories(options: &Dirs) -> Directories {
    let text = fs::read_to_string(vesper_api::CONFIG).unwrap_or_default();
    let configured: Configuration = toml::from_str(&text).unwrap_or_default();
    Directories::new(&options.dirs, &configured.directories.probes)
}
