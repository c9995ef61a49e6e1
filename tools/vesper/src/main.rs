// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `vesper` command: asks vesperd, shows what it says, and exits with the status that goes with it.
//!
//! | module | subject |
//! |---|---|
//! | `options` | the command line and its help |
//! | `ask` | one request over the socket |
//! | `show` | results and errors as text |
//! | `stream` | what guests record, and what happened to them: tail, record, replay, events |
//! | `probe` | probe modules of this machine |
//! | `pages` | manual pages and completions, for packages |

mod ask;
mod options;
mod pages;
mod probe;
mod show;
mod stream;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use options::{Command, Format, Options};
use vesper_api::{Checked, Done, Failure, Reply};
use vesper_config::Config;

fn main() -> ExitCode {
    let options = Options::read();
    let format = if options.json { Format::Json } else { Format::Text };
    let socket = &options.socket;
    let done = match &options.command {
        Command::Pages { dir } => {
            return match pages::write(dir) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    say(&format!("vesper pages: {}: {error}\n", dir.display()));
                    ExitCode::from(2)
                }
            };
        }
        // These print while they go on; what is left to say is why they could not.
        Command::Tail(tail) => match stream::tail(socket, tail, tail.format.unwrap_or(format)) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => Err(failure),
        },
        Command::Replay(replay) => match stream::replay(replay, replay.format.unwrap_or(format)) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => Err(failure),
        },
        Command::Events(events) => match stream::events(socket, events, options.json) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => Err(failure),
        },
        Command::Record(record) => stream::record(socket, record),
        Command::Probe(probe) => probe::probe(socket, probe),
        Command::Unprobe(unprobe) => probe::unprobe(socket, unprobe),
        Command::Probes(dirs) => probe::probes(dirs),
        Command::CheckConfig { file } => check_config(file.as_deref()),
        other => other
            .request()
            .and_then(|(request, file)| ask::ask(socket, &request, file.as_ref()).into_result()),
    };
    tell(&options, done)
}

/// `vesper check-config`.
///
/// # Errors
/// The first thing that is wrong.
fn check_config(file: Option<&Path>) -> Result<Done, Failure> {
    let installed = Path::new(vesper_config::PATH);
    let file = file.or_else(|| installed.exists().then_some(installed));
    let config = file.map(Config::load).transpose()?.unwrap_or_default();
    Ok(Done::Checked(Checked { file: file.map(Path::to_owned), rules: config.rules.count() }))
}

/// Prints a result or an error, and gives the status that goes with it.
fn tell(options: &Options, done: Result<Done, Failure>) -> ExitCode {
    let reply = Reply::from(done);
    let status = reply.status();
    let mut text = Vec::new();
    if options.json {
        text = vesper_api::to_line(&reply);
    } else {
        match reply.into_result() {
            Ok(done) => show::done(&mut text, &done),
            Err(failure) => say(&show::failure(options.command.name(), &failure)),
        }
    }
    // A reader that has gone away has seen what it wanted; the status is still true.
    let _ = io::stdout().write_all(&text);
    ExitCode::from(status)
}

/// Writes to standard error. If that is closed nobody is there to be told; the status still tells how it went.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
