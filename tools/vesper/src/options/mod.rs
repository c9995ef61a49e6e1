// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

mod events;
mod probe;
mod stream;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
pub(crate) use events::Events;
use nix::fcntl::OFlag;
pub(crate) use probe::{Dirs, Probe, Unprobe};
pub(crate) use stream::{Format, Record, Replay, Tail};
use vesper_api::{ErrorKind, Failure, Request};

const EXAMPLES: &str = "\
Examples:
  vesper list                                  the guests of this machine
  vesper attach web1                           connect to the guest web1 (its kernel needs vesper_front)
  vesper insmod web1 answer.ko answer=42       load a module, with a parameter
  vesper rmmod web1 answer                     unload it
  vesper status 3 --json                       all about domain 3, as one JSON document
  vesper probes                                the probes that can be put into guests
  vesper probe web1 panic                      put one in
  vesper tail web1 --follow                    what it records, as it records it
  vesper tail web1/panic                       what one channel has recorded so far
  vesper events --follow                       what happens to guests, with the cause
  vesper alive web1                            is it alive? (exit status 0: yes, 1: no)

DOM is a domid when it is all digits, else a name or a UUID.

Exit status, the same for every command:
  0  done
  1  the guest's kernel refused: the errno, what it means, and the kernel's own log lines are shown;
     of vesper alive: it is not
  2  wrong usage, or a file that was refused before anything was sent
  3  no such guest or channel, not attached, or the guest went away
  4  the daemon cannot be reached, or was lost midway (outcome unknown)
  5  timed out
  6  not permitted: you are neither root nor in the group that has the right to it, or the module is not one of those that may
     be loaded
  7  the device was stopped because the guest broke the protocol";

/// Load kernel probe modules into running Xen guests, with no help from their user space, and read what they record.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Socket of vesperd
    #[arg(long, global = true, value_name = "PATH", env = vesper_api::SOCKET_VARIABLE, default_value = vesper_api::SOCKET, hide_env_values = true)]
    pub(crate) socket: PathBuf,
    /// Print one JSON document: the reply of the daemon (see docs/api.md), errors too; tail, replay and events: one for each record or event
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Options {
    /// The command line of this process; if it is wrong, or asks for help, the process ends here.
    pub(crate) fn read() -> Self {
        let words: Vec<OsString> = std::env::args_os().skip(1).collect();
        let plain =
            || std::env::var_os(vesper_api::SOCKET_VARIABLE).is_none().then(|| Self::plain_load(&words));
        plain().flatten().unwrap_or_else(Self::parse)
    }

    /// `insmod` without an option, read without the parser: to make that takes longer than all else that is done here for
    /// a load, and a load is what is waited for. What is not as plain as that is the parser's.
    fn plain_load(words: &[OsString]) -> Option<Self> {
        let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
        let ["insmod", dom, file, args @ ..] = &words[..] else { return None };
        if words.iter().any(|word| word.is_empty() || word.starts_with('-')) {
            return None;
        }
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let command =
            Command::Insmod { dom: (*dom).into(), file: file.into(), args, limit: Limit { timeout: None } };
        Some(Self { socket: vesper_api::SOCKET.into(), json: false, command })
    }
}

#[derive(Subcommand)]
// The options of one command are made, not those of all.
#[command(defer = true)]
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
    /// Put shipped probes into a guest's kernel
    ///
    /// A group is a probe module that was built for the guest's kernel; vesper probes lists those that are there. With events
    /// named, only these are probed. What they record is read with vesper tail.
    #[command(
        after_help = "Examples:\n  vesper probe web1 panic\n  vesper probe web1 oom signal:exit -- names=nginx\n\nProbes for another kernel are built with: cargo xtask kmod --kernel RELEASE"
    )]
    Probe(Probe),
    /// Take shipped probes out of a guest's kernel
    ///
    /// What they have recorded goes to the readers first, so nothing is lost.
    Unprobe(Unprobe),
    /// Show the probes that can be put into guests, for each kernel release
    Probes(Dirs),
    /// Show the channels that guests share, what they record, and how much of it was lost
    Channels {
        /// Guest: domid, name or UUID; all unless one is named
        dom: Option<String>,
    },
    /// Show what a guest records, as one time line over its CPUs and channels
    ///
    /// Times are dom0's (UTC). What was lost is said where it is missing. Of a guest that is gone, what was saved of it is shown.
    #[command(
        after_help = "Examples:\n  vesper tail web1                       what has been recorded so far\n  vesper tail web1 --follow              and what comes\n  vesper tail web1/panic --format json   one channel, for a program\n  vesper tail web1/mine --format raw     the bytes as the module wrote them\n\nOrder: an urgent record is shown at once, any other after at most 250 ms, so that those of other CPUs\ncome in their order. One that comes later than that is shown when it comes."
    )]
    Tail(Tail),
    /// Write what a guest records into a directory, until the guest ends or ^C; vesper replay shows it
    #[command(after_help = "Example:\n  vesper record web1 -o /var/tmp/web1 --size-limit 256M")]
    Record(Record),
    /// Show what vesper record, or vesperd after a guest's death, has written
    Replay(Replay),
    /// Show what happened to guests: panics, crashes, hangs, killed processes, failed disks, each with its cause
    ///
    /// One fault is one event, with the newest that is known of it. Events are kept over restarts of the daemon.
    #[command(
        after_help = "Examples:\n  vesper events                          of all guests, also of those that are gone\n  vesper events web1 --follow            of one, and what comes\n  vesper events --json --since 17        for a program: what was told after #17"
    )]
    Events(Events),
    /// Check a configuration of vesperd, with place and remedy of what is wrong
    ///
    /// As vesperd itself does when it starts and when it is reloaded; nothing is asked of it or changed. Exit status 0 or 2.
    #[command(
        after_help = "Examples:\n  vesper check-config                    /etc/vesper/vesper.toml, before: systemctl reload vesperd\n  vesper check-config new.toml --json    another file, for a program"
    )]
    CheckConfig {
        /// The file [default: /etc/vesper/vesper.toml, if it is there]
        file: Option<PathBuf>,
    },
    /// Ask whether a guest is alive, and how that is known; with NAME also whether that module is in and has seen nothing fatal
    ///
    /// A guest is alive when its vCPUs beat, or cannot be expected to: it is paused, being saved, or Xen does not let it run.
    Alive {
        /// Guest: domid, name or UUID
        dom: String,
        /// A module that was loaded through VESPER
        name: Option<String>,
        /// Answer at once from what vesperd knows, with the faults that count; from then on it looks at the guest regularly
        #[arg(long, conflicts_with = "name")]
        now: bool,
        #[command(flatten)]
        limit: Limit,
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
    pub(crate) fn millis(&self) -> Option<u64> {
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
            Self::Probe(_) => "probe",
            Self::Unprobe(_) => "unprobe",
            Self::Probes(_) => "probes",
            Self::Channels { .. } => "channels",
            Self::Tail(_) => "tail",
            Self::Record(_) => "record",
            Self::Replay(_) => "replay",
            Self::Events(_) => "events",
            Self::CheckConfig { .. } => "check-config",
            Self::Alive { .. } => "alive",
            Self::Pages { .. } => "pages",
        }
    }

    /// What the daemon is asked, and the file that goes with it, where that is all there is to do.
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
            Self::Channels { dom } => Request::Channels { dom: dom.clone() },
            Self::Alive { dom, name, now, limit } => {
                let (dom, module) = (dom.clone(), name.clone());
                Request::Alive { dom, module, timeout_ms: limit.millis(), now: *now }
            }
            Self::Insmod { dom, file, args, limit } => {
                let request = insmod(dom, file, args.clone(), limit);
                return Ok((request, Some(open_module(file)?)));
            }
            Self::Probe(_)
            | Self::Unprobe(_)
            | Self::Probes(_)
            | Self::Tail(_)
            | Self::Record(_)
            | Self::Replay(_)
            | Self::Events(_)
            | Self::CheckConfig { .. }
            | Self::Pages { .. } => unreachable!("it is more than one request, or none"),
        };
        Ok((request, None))
    }
}

/// The request that loads a module.
pub(crate) fn insmod(dom: &str, file: &Path, args: Vec<String>, limit: &Limit) -> Request {
    Request::Insmod { dom: dom.into(), file: file.display().to_string(), args, timeout_ms: limit.millis() }
}

/// Opens a module's file. Not blocking, in case it is a pipe; the daemon looks at what it is.
pub(crate) fn open_module(file: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file);
    opened.map_err(|error| Failure::new(ErrorKind::BadImage, format!("{}: {error}", file.display())))
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
    fn a_plain_load_is_what_the_parser_makes_of_it() {
        let fields = |options: Options| match options.command {
            Command::Insmod { dom, file, args, limit: Limit { timeout } } => {
                (options.socket, options.json, dom, file, args, timeout)
            }
            other => panic!("{}", other.name()),
        };
        for line in
            ["insmod 1 x.ko", "insmod web1 /lib/x.ko.xz answer=42 text=a-b", "insmod insmod x.ko help"]
        {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let parsed = Options::try_parse_from([OsString::from("vesper")].into_iter().chain(words.clone()));
            assert_eq!(fields(Options::plain_load(&words).expect(line)), fields(parsed.expect(line)));
        }
        for line in [
            "",
            "insmod",
            "insmod 1",
            "insmod 1 ",
            "insmod 1 -x",
            "insmod --json 1 x",
            "insmod 1 x --",
            "rmmod 1 x",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(Options::plain_load(&words).is_none(), "{line:?}");
        }
    }

    #[test]
    fn times_are_seconds_with_fractions() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "1e9", "NaN", "inf", "soon", ""] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}
