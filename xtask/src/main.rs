// SPDX-License-Identifier: MIT OR Apache-2.0
//! Developer commands of VESPER: `cargo xtask COMMAND`. This file is the table of contents, each command has a file.

mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of VESPER.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Real Xen in QEMU's software CPU: boots dom0 and guests, runs scripts and scenarios.
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Lab(command) => lab::main(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
