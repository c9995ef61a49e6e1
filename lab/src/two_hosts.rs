// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two machines with a network cable between them.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::qemu::Cable;
use crate::session::Lab;

/// For QEMU to start.
const START: Duration = Duration::from_secs(60);

/// The same machine twice, a and b, with the cable's ends in a socket of that path.
pub fn pair(lab: &Lab, socket: &Path) -> [Lab; 2] {
    [true, false].map(|makes| Lab { cable: Some(Cable { socket: socket.to_owned(), makes }), ..lab.clone() })
}

/// Runs both at a time, and gives what comes of `a`. `b` begins when the cable is there, which `a` makes.
///
/// # Errors
///
/// Those of either, of both if there are two; there is no cable.
pub fn run<T>(
    [a, b]: &[Lab; 2],
    run_a: impl FnOnce(&Lab) -> Result<T>,
    run_b: impl FnOnce(&Lab) -> Result<()> + Send,
) -> Result<T> {
    let socket = b.cable.as_ref().map(|cable| cable.socket.as_path());
    let _ = socket.map(fs::remove_file);
    thread::scope(|scope| {
        let other = scope.spawn(|| socket.map_or(Ok(()), wait_for).and_then(|()| run_b(b)));
        let came = run_a(a);
        let others = other.join().expect("it does not panic");
        match (came, others) {
            (Err(came), Err(others)) => Err(came.context(format!("the other host: {others:#}"))),
            (came, others) => others.map_err(|error| error.context("the other host")).and(came),
        }
    })
}

/// Until the machine that makes the cable is there.
fn wait_for(socket: &Path) -> Result<()> {
    let until = Instant::now() + START;
    while !socket.exists() {
        ensure!(Instant::now() < until, "{}: the first machine did not start", socket.display());
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
