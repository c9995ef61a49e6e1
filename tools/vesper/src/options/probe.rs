// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of the commands about probe modules.

use std::path::PathBuf;

use super::Limit;

/// A group of probes, with the events of it that are wanted; none: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its name, with `_` for `-`.
    pub(crate) name: String,
    pub(crate) events: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Probe {
    /// Guest: domid, name or UUID
    pub(crate) dom: String,
    /// Group of probes, and which of its events: all unless some are named
    #[arg(value_name = "GROUP[:EVENT[,EVENT]]", required = true, value_parser = group)]
    pub(crate) groups: Vec<Group>,
    #[command(flatten)]
    pub(crate) dirs: Dirs,
    /// Parameters for the probe modules
    #[arg(value_name = "PARAM=VALUE", last = true)]
    pub(crate) args: Vec<String>,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

#[derive(clap::Args)]
pub(crate) struct Unprobe {
    /// Guest: domid, name or UUID
    pub(crate) dom: String,
    /// Group of probes
    #[arg(value_parser = name)]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

#[derive(clap::Args)]
pub(crate) struct Dirs {
    /// Look here first: a directory with GROUP.ko, or with one for each kernel release [default: directories.probes in
    /// /etc/vesper/vesper.toml, then /usr/lib/vesper/probes]
    #[arg(long = "dir", value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
}

fn group(text: &str) -> Result<Group, String> {
    let (group, events) = text.split_once(':').map_or((text, None), |(group, events)| (group, Some(events)));
    let events = events.map_or_else(|| Ok(Vec::new()), |events| events.split(',').map(name).collect());
    Ok(Group { name: name(group)?, events: events? })
}

fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.is_empty() || text.len() > 48 || !text.bytes().all(fits) {
        return Err(format!("{text:?} is no name: letters, digits, _ and - are wanted, 48 at most"));
    }
    Ok(text.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_have_events() {
        let made = |name: &str, events: &[&str]| Group {
            name: name.into(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
        };
        assert_eq!(group("panic"), Ok(made("panic", &[])));
        assert_eq!(group("hung-task:io,lock"), Ok(made("hung_task", &["io", "lock"])));
        for bad in ["", ":", "a:", "a:b,", "../x", "a/b", "a b", "a:b:c", &"x".repeat(49)] {
            assert!(group(bad).is_err(), "{bad:?}");
        }
    }
}
