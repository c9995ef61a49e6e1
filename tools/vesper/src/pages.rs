// SPDX-License-Identifier: MIT OR Apache-2.0
//! Manual pages and shell completions, made from the same description as the help.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::options::Options;

/// Writes `vesper.1`, a page for each command (`vesper-insmod.1`), `vesper.bash`, `_vesper` and `vesper.fish`.
pub(crate) fn write(dir: &Path) -> io::Result<()> {
    let command = Options::command();
    clap_mangen::generate_to(command.clone(), dir)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "vesper", dir)?;
    }
    Ok(())
}
