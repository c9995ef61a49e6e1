// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probe modules of this machine: which there are, and what is to be loaded of them. For the command (`vesper probe`) and for
//! the daemon's rules.
//!
//! | module | subject |
//! |---|---|
//! | `group` | what somebody wrote: a group of probes, its events, parameters |
//! | `find` | the module's file for a kernel |
//! | `modinfo` | what a module's file says of itself |

mod find;
mod group;
mod modinfo;

pub use find::{Directories, module_names};
pub use group::{Group, InvalidName, name};
