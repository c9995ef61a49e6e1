// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vesperd program: options, signals, and Xen's own devices.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vesper_xenstore::Store;
use vesperd::config::{self, Config, ConfigError};

/// The VESPER daemon of dom0: loads kernel probe modules into running guests.
///
/// It serves all guests of this machine and is asked by the command `vesper`. Usually systemd starts it:
/// `systemctl start vesperd`, and its messages are in `journalctl -u vesperd`.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Configuration [default: /etc/vesper/vesper.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here and not where the configuration says
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Attach every guest that appears, and those that are there
    #[arg(long)]
    auto_attach: bool,
    /// Log more
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    vesperd::logging::init(if options.verbose { LevelFilter::Debug } else { LevelFilter::Info });
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", told_once(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that a message before them has told already.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

fn serve(options: Options) -> anyhow::Result<()> {
    let config = configure(&options)?;
    if let Err(errno) = allow_open_files() {
        log::warn!("the limit of open files stays as it is: {errno}");
    }
    let (stop, signal) = UnixStream::pair().context("a socket for signals")?;
    for number in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?).context("signal handlers")?;
    }
    let (asked, signal) = UnixStream::pair().context("a socket for signals")?;
    signal_hook::low_level::pipe::register(SIGHUP, signal).context("signal handlers")?;
    let reload = vesperd::Reload { asked, read: Box::new(move || configure(&options)) };
    let host = vesper_grant::XenHost::new().context("Xen cannot be reached (is this dom0?)")?;
    let store = connect().context("xenstore cannot be reached (is this dom0?)")?;
    let ready = || notify(&[sd_notify::NotifyState::Ready]);
    let result = vesperd::run(Arc::new(host), store, Box::new(connect), &config, stop, reload, ready);
    notify(&[sd_notify::NotifyState::Stopping]);
    Ok(result?)
}

/// Lifts the soft limit of open files to the hard one: the usual 1024 is for programs that use select(2), and a client may pass
/// 253 with one message.
fn allow_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

fn configure(options: &Options) -> Result<Config, ConfigError> {
    let mut config = match &options.config {
        Some(path) => Config::load(path)?,
        None if Path::new(config::PATH).exists() => Config::load(Path::new(config::PATH))?,
        None => Config::default(),
    };
    if let Some(socket) = &options.socket {
        config.socket.clone_from(socket);
    }
    config.attach.all |= options.auto_attach;
    Ok(config)
}

fn connect() -> Result<Arc<dyn Store>, vesper_xenstore::Error> {
    Ok(Arc::new(vesper_xenstore::Client::connect()?))
}

/// Tells systemd, where it is there.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_manual_page_knows_every_option() {
        let page = include_str!("../dist/vesperd.8").replace('\\', "");
        let mut command = Options::command();
        command.build();
        for argument in command.get_arguments() {
            let option = format!("--{}", argument.get_long().expect("all of them have long names"));
            assert!(page.lines().any(|line| line.starts_with(".B") && line.contains(&option)), "{option}");
        }
        for path in [config::PATH, vesper_api::SOCKET, vesper_api::PROBES, "/var/lib/vesper/"] {
            assert!(page.contains(path), "{path}");
        }
    }
}
