// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab`: run scenarios, run a script in dom0, get a shell in dom0.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use vesper_lab::guest::{Guests, Kind};
use vesper_lab::host_packages;
use vesper_lab::qemu::Event;
use vesper_lab::session::{self, Added, Lab};
use vesper_lab::suite::Xen;

/// What can be asked of the lab.
#[derive(Subcommand)]
pub enum Command {
    /// Boots, starts vesperd, brings N guests up and attaches them, runs a shell script in dom0, ends with its status.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec {
        #[command(flatten)]
        machine: Machine,
        /// Seconds that the script may take.
        #[arg(long, value_name = "S", default_value_t = 900)]
        limit: u64,
        /// The shell script that dom0 runs.
        #[arg(last = true, required = true)]
        script: String,
    },
    /// The same with an interactive shell in dom0 on this terminal; `exit` powers off.
    Up {
        #[command(flatten)]
        machine: Machine,
    },
}

const EXEC_EXAMPLES: &str = "Examples:
  cargo xtask lab exec -- 'vesper list'
  cargo xtask lab exec --guests 2 --kernel 6.12 -- 'vesper status 1; vesper status 2'
  cargo xtask lab exec --add target/answer.ko:/root/answer.ko -- 'vesper insmod 1 answer.ko answer=42; guest-log 1'
  cargo xtask lab exec --bare --guests 0 -- 'xl list; xl info'

In dom0: a shell, busybox, xl, xenstore-*, vesper, vesperd, and
  guest DOM 'COMMAND'   runs a command in a guest (over its console), ends with its status
  guest-log DOM         prints what the guest's console has shown, kernel messages included";

/// Which machine is booted.
#[derive(Args)]
pub struct Machine {
    /// Xen version: 4.17 (Debian bookworm) or 4.20 (Debian trixie).
    #[arg(long, value_name = "VERSION", default_value = "4.17")]
    xen: Xen,
    /// How Xen runs the guests: pv or pvh.
    #[arg(long, value_name = "KIND", default_value = "pv")]
    guest: Kind,
    /// How many guests; they get the domids 1…N.
    #[arg(long, value_name = "N", default_value_t = 1)]
    guests: u32,
    /// The guests' kernel: a series (6.1, 6.12) or a release whose headers are installed.
    #[arg(long, value_name = "VERSION", default_value = "6.1")]
    kernel: String,
    /// Virtual CPUs of each guest.
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u32,
    /// A file of this machine for dom0; without PATH it goes to /root.
    #[arg(long, value_name = "HOSTFILE[:PATH]")]
    add: Vec<String>,
    /// Without VESPER: no daemon, no frontend in the guests.
    #[arg(long)]
    bare: bool,
}

impl Machine {
    fn lab(&self) -> Result<Lab> {
        host_packages::ensure()?;
        let guests = Guests {
            count: self.guests,
            kind: self.guest,
            vcpus: self.vcpus,
            memory: 192,
            parameters: String::new(),
            modules: Vec::new(),
        };
        let added = self.add.iter().map(|text| added(text)).collect::<Result<_>>()?;
        Ok(Lab { xen: self.xen, kernel: self.kernel.clone(), guests, vesper: Vec::new(), added })
    }
}

/// Reads `HOSTFILE[:PATH]`.
fn added(text: &str) -> Result<Added> {
    let (from, to) = match text.split_once(':') {
        Some((from, to)) => (PathBuf::from(from), Some(to.to_string())),
        None => (PathBuf::from(text), None),
    };
    let Some(name) = from.file_name().filter(|_| from.is_file()) else {
        bail!("--add {text}: {} is not a file", from.display());
    };
    let to = to.unwrap_or_else(|| format!("/root/{}", name.to_string_lossy()));
    if !to.starts_with('/') {
        bail!("--add {text}: the path in dom0 must begin with a slash");
    }
    Ok(Added { from, to })
}

/// Runs one of them.
pub fn main(command: Command) -> Result<ExitCode> {
    match command {
        Command::Exec { machine, limit, script } => {
            exec(&machine.lab()?, &script, Duration::from_secs(limit))
        }
        Command::Up { machine } => session::shell(&machine.lab()?).map(|()| ExitCode::SUCCESS),
    }
}

fn exec(lab: &Lab, script: &str, limit: Duration) -> Result<ExitCode> {
    let mut shown = std::io::stdout();
    eprintln!("· booting Xen {} …", lab.xen);
    let started = std::time::Instant::now();
    let outcome = session::run(lab, script, limit, &mut |event| match event {
        Event::Output(bytes) => {
            let _ = shown.write_all(&bytes).and_then(|()| shown.flush());
        }
        Event::Mark(mark) => {
            let said = match mark.split(' ').next() {
                Some("up") => "dom0 is up",
                Some("guests") => "guests are up",
                Some("attached") => "guests are attached",
                _ => return,
            };
            eprintln!("· {said} after {:.1} s", started.elapsed().as_secs_f64());
        }
        Event::End => {}
    })?;
    Ok(ExitCode::from(u8::try_from(outcome.status).unwrap_or(1)))
}
