// SPDX-License-Identifier: MIT OR Apache-2.0
//! Action layer on the host: what VESPER does with a guest, without knowing how the guest is reached.
//!
//! What this crate lives by:
//!
//! * **It knows no VMM and no message.** The Communication layer turns the guest's requests into an [`Ask`] and is spoken to
//!   through one trait, [`Link`]; the listener has its own pair, [`listener::Ask`] and [`listener::Link`]. A second VMM
//!   touches no file here.
//! * **No clock, no thread, no I/O.** [`Loader`] and [`listener::Listener`] are state machines: time comes in as an argument,
//!   results are fetched with [`Loader::finished`] and [`listener::Listener::happened`]. So every path can be tested in any
//!   order.
//! * **Each accepted command has exactly one outcome**, whatever the guest does or does not do.
//! * **The guest is hostile.** What it says is an allegation; a lie stops its own device ([`Violation`]) and nothing
//!   else. A late result is no lie: it is logged, the module list is put right, and the queue goes on.

mod command;
pub mod image;
mod link;
pub mod listener;
mod loader;
mod log_limit;
mod modules;
mod name;
mod outcome;

pub use command::{Command, CommandId, Run};
pub use link::{Answer, Ask, CommandResult, FillError, Link, Violation};
pub use loader::{ARGS_MAX, Counters, IMAGE_MAX, Loader, Status, SubmitError};
pub use log_limit::LogLimit;
pub use modules::{LoadedModule, MODULES_MAX, Memory, SentCommand};
pub use name::{InvalidName, ModuleName, NAME_MAX};
pub use outcome::{Failure, Finished, Outcome};
