// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user sees while something takes long: one line when it starts, one when it is done, on standard error.

use std::time::Instant;

use anyhow::Result;

/// Runs `work`, saying on standard error what is being done and, after two seconds or more, how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    eprintln!("· {what} …");
    let result = work()?;
    let took = started.elapsed().as_secs_f64();
    if took >= 2.0 {
        eprintln!("  done in {took:.1} s");
    }
    Ok(result)
}
