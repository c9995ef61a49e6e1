// SPDX-License-Identifier: MIT OR Apache-2.0
//! Developer commands of VESPER: `cargo xtask COMMAND`. This file is the table of contents, each command has a file.

mod bench;
mod demo;
mod dist;
mod kmod;
mod lab;
mod machine;
mod probes;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vesper_lab::{host_packages, kernel};

/// Developer commands of VESPER.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Start here:
  cargo xtask demo          loads a module into a real Xen guest whose user space is stopped
  cargo xtask test --quick  all tests that need no Xen
  cargo xtask test          those and the main scenarios on real Xen

What is built and unpacked is kept under target/; a missing host package is installed (as root) or named.";

#[derive(Subcommand)]
enum Command {
    /// Sets up, builds, boots Xen, dom0 and a guest, loads a module into it with its user space stopped, powers off.
    Demo {
        #[command(flatten)]
        platform: machine::Platform,
    },
    /// Runs the tests: the core ones by default.
    Test(test::Arguments),
    /// Measures again what docs/performance.md and docs/failover.md say: all benchmarks, or those named.
    Bench(bench::Arguments),
    /// Builds the guest's kernel modules: target/kmod/VERSION/{vesper_front.ko,probes/*.ko}.
    Kmod {
        /// The kernel it is for: a series (6.1, 6.12) or a release whose headers are installed.
        #[arg(long, value_name = "VERSION", default_value = "6.1")]
        kernel: String,
        /// Where it goes instead of target/kmod/VERSION.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Builds what goes into a machine, under target/dist: Debian packages and archives for dom0 and for guests.
    Dist,
    /// Real Xen in QEMU's software CPU: boots dom0 and guests, runs scripts and scenarios.
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo { platform } => demo::main(&platform),
        Command::Test(arguments) => test::main(&arguments),
        Command::Kmod { kernel, out } => host_packages::ensure().and_then(|()| {
            let built = kmod::build(Some(&kernel::release(&kernel)?), out.as_deref())?;
            println!("{}", built.display());
            Ok(ExitCode::SUCCESS)
        }),
        Command::Dist => host_packages::ensure().and_then(|()| dist::main()).map(|()| ExitCode::SUCCESS),
        Command::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
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
