// SPDX-License-Identifier: MIT OR Apache-2.0
//! vesperd: the daemon of dom0, as a library so that tests run the same loop over loopback guests.
//!
//! What it lives by:
//!
//! * **One thread and one epoll.** Guests, clients and signals are served in turn, and none of them can hold it up:
//!   every descriptor is non-blocking, every buffer bounded. Only module images are read, decompressed and
//!   checked in a worker thread, because that takes long; files are written in another and what clients passed is closed in a
//!   third, because that may. Events have threads of their own, so that they wait for none of this.
//! * **No wake-up without a cause.** The loop sleeps until a descriptor is readable or something is due.
//! * **A request gets exactly one reply**, unless its client goes away first: a command that a guest's queue has goes on
//!   then, and the log has how it ended.
//! * **A guest is pinned** by domid and UUID when a request is accepted.
//! * **Nothing that a client names is opened.** A module image comes as a descriptor.
//!
//! | module | subject |
//! |---|---|
//! | [`server`] | the loop |
//! | `clients`, `connection`, `passed` | connections: lines and descriptors in, replies out |
//! | `closer` | the thread that closes what clients passed |
//! | [`socket`], [`peer`], `rights`, `seats` | the listening socket, who may do what, and how many of them |
//! | `desk` | requests, and what becomes of them |
//! | `resolve`, `view`, `failures` | from a guest's name to the guest; from the backend's words to the API's |
//! | `streams` | what guests record, on its way to clients |
//! | `events` | the threads that make events of what happens and tell clients of them |
//! | `hooks` | programs that act on events |
//! | `saver` | the thread that saves what guests recorded last |
//! | `images`, `policy` | the worker thread for module images, and which may be loaded |
//! | [`logging`] | the journal |

mod clients;
mod closer;
mod connection;
mod desk;
mod events;
mod failures;
mod files;
mod hooks;
mod images;
pub mod logging;
mod passed;
pub mod peer;
mod policy;
mod resolve;
mod rights;
mod saver;
mod seats;
pub mod server;
pub mod socket;
mod streams;
mod view;

pub use server::{Reconnect, Reload, run};
pub use vesper_config as config;
pub use vesper_config::Config;
