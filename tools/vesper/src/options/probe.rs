// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of the commands about probe modules.

use std::path::PathBuf;

use vesper_probes::Group;

use super::Limit;

#[derive(clap::Args)]
pub(crate) struct Probe {
    /// Guest: domid, name or UUID
    pub(crate) dom: String,
    /// Group of probes, and which of its events: all unless some are named
    #[arg(value_name = "GROUP[:EVENT[,EVENT]]", required = true)]
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
    #[arg(value_parser = vesper_probes::name)]
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
