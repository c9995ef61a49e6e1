// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `vesper` command: asks vesperd, shows what it says, and exits with the status that goes with it.
//!
//! | module | subject |
//! |---|---|
//! | `options` | the command line and its help |
//! | `ask` | one request over the socket |
//! | `show` | results and errors as text |
//! | `pages` | manual pages and completions, for packages |

mod ask;
mod options;
mod pages;
mod show;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use options::Options;
use vesper_api::Reply;

fn main() -> ExitCode {
    let options = Options::parse();
    if let options::Command::Pages { dir } = &options.command {
        return match pages::write(dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("vesper pages: {}: {error}\n", dir.display()));
                ExitCode::from(2)
            }
        };
    }
    let reply = match options.command.request() {
        Ok((request, file)) => ask::ask(&options.socket, &request, file.as_ref()),
        Err(failure) => Reply::from(Err(failure)),
    };
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
