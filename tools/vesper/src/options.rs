// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::fcntl::OFlag;
use vesper_api::{ErrorKind, Failure, Request};

const EXAMPLES: &str = "\
Examples:
  vesper list                                  the guests of this machine
  vesper attach web1                           connect to the guest web1 (its kernel needs vesper_front)
  vesper insmod web1 answer.ko answer=42       load a module, with a parameter
  vesper rmmod web1 answer                     unload it
  vesper status 3 --json                       all about domain 3, as one JSON document

DOM is a domid when it is all digits, else a name or a UUID.

Exit status, the same for every command:
  0  done
  1  the guest's kernel refused: the errno, what it means, and the kernel's own log lines are shown
  2  wrong usage, or a file that was refused before anything was sent
  3  no such guest, not attached, or the guest went away
  4  the daemon cannot be reached, or was lost midway (outcome unknown)
  5  timed out
  6  not permitted: you are neither root nor in the group vesper
  7  the device was stopped because the guest broke the protocol";

/// Load kernel probe modules into running Xen guests, with no help from their user space.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Socket of vesperd
    #[arg(long, global = true, value_name = "PATH", env = vesper_api::SOCKET_VARIABLE, default_value = vesper_api::SOCKET, hide_env_values = true)]
    pub(crate) socket: PathBuf,
    /// Print one JSON document: the reply of the daemon (see docs/api.md), errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Connect to a guest: make its VESPER device and wait until the guest answers
    ///
    /// The guest's kernel must have the module vesper_front. Attaching a guest that is attached already is fine.
    #[command(
        after_help = "Example:\n  vesper attach web1\n\nTo attach every guest as it appears, see [attach] in /etc/vesper/vesper.toml."
    )]
    Attach {
        /// Guest: domid, name or UUID
        dom: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Disconnect from a guest: close its VESPER device and remove it
    ///
    /// Refused while modules that were loaded through VESPER are in the guest.
    Detach {
        /// Guest: domid, name or UUID
        dom: String,
        /// Detach although modules are in; they stay in the guest
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show the guests: state, kernel, modules loaded through VESPER, commands that wait
    List,
    /// Load a module into a guest's kernel
    ///
    /// FILE is a kernel module built for the guest's kernel, plain or compressed (.ko, .ko.xz, .ko.zst, .ko.gz). What can be seen
    /// to be wrong with it is refused before anything is sent.
    #[command(after_help = "Example:\n  vesper insmod web1 ./answer.ko.xz answer=42 text='two words'")]
    Insmod {
        /// Guest: domid, name or UUID
        dom: String,
        /// The module's file
        file: PathBuf,
        /// Parameters of the module
        #[arg(value_name = "PARAM=VALUE")]
        args: Vec<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Unload a module from a guest's kernel
    Rmmod {
        /// Guest: domid, name or UUID
        dom: String,
        /// The module, as the kernel knows it; - and _ are the same
        name: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one guest in detail: device, ring, counters, what is in use
    Status {
        /// Guest: domid, name or UUID
        dom: String,
    },
    /// Write manual pages and completions of bash, zsh and fish into a directory, for packages
    #[command(hide = true)]
    Pages {
        /// The directory, which must be there
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct Limit {
    /// Longest wait in seconds [default: 30, or what the daemon is configured for]
    #[arg(long, value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
}

impl Limit {
    fn millis(&self) -> Option<u64> {
        self.timeout.map(|timeout| timeout.as_millis() as u64)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds is wanted, 0.001 to 86400".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (0.001..=86_400.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

impl Command {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
            Self::List => "list",
            Self::Insmod { .. } => "insmod",
            Self::Rmmod { .. } => "rmmod",
            Self::Status { .. } => "status",
            Self::Pages { .. } => "pages",
        }
    }

    /// What the daemon is asked, and the file that goes with it.
    pub(crate) fn request(&self) -> Result<(Request, Option<File>), Failure> {
        let request = match self {
            Self::Attach { dom, limit } => Request::Attach { dom: dom.clone(), timeout_ms: limit.millis() },
            Self::Detach { dom, force, limit } => {
                Request::Detach { dom: dom.clone(), force: *force, timeout_ms: limit.millis() }
            }
            Self::List => Request::List {},
            Self::Rmmod { dom, name, limit } => {
                Request::Rmmod { dom: dom.clone(), name: name.clone(), timeout_ms: limit.millis() }
            }
            Self::Status { dom } => Request::Status { dom: dom.clone() },
            Self::Pages { .. } => unreachable!("it asks the daemon nothing"),
            Self::Insmod { dom, file, args, limit } => {
                // Not blocking, in case it is a pipe; the daemon looks at what it is.
                let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file);
                let opened = opened.map_err(|error| {
                    Failure::new(ErrorKind::BadImage, format!("{}: {error}", file.display()))
                })?;
                let request = Request::Insmod {
                    dom: dom.clone(),
                    file: file.display().to_string(),
                    args: args.clone(),
                    timeout_ms: limit.millis(),
                };
                return Ok((request, Some(opened)));
            }
        };
        Ok((request, None))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn times_are_seconds_with_fractions() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "1e9", "NaN", "inf", "soon", ""] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}
