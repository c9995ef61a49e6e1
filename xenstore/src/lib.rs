// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenstore for the host side of VESPER: one trait, a client for the real daemon, an in-process stand-in.
//!
//! Principles:
//!
//! * **A flood costs nothing.** A [`Watch`] is one dirty flag, not a queue. Events carry no data that a reader
//!   would not fetch anyway, so merging them loses nothing, and a guest that writes all day can neither block
//!   the daemon nor make it grow.
//! * **Nothing hangs.** Every request has a time limit. A closed socket or a malformed frame ends the
//!   connection for ever, releases every waiter with [`Error::Disconnected`] and fires the wake descriptor.
//! * **Values are bytes.** What a guest wrote is data of unknown form; the helpers ([`read_u32`],
//!   [`read_string`]) check it and name the path and the value when it is wrong.
//! * **One behaviour.** [`MemoryStore`] follows xenstored 4.17 in permissions, transactions and watches; the
//!   same scenarios run against both.
//!
//! | module | what it holds |
//! |---|---|
//! | `store` | the traits: [`Store`] (all of xenstore), [`Basic`] (the part every client library offers), [`Tx`] |
//! | `helpers` | typed reads, [`transaction()`] with bounded retry, [`write_existing`] |
//! | `watch` | [`Watch`] and the wake descriptor |
//! | `client` | [`Client`]: the real daemon over its socket or over `/dev/xen/xenbus` |
//! | `memory` | [`MemoryStore`]: the same semantics inside one process |
//! | [`wire`] | message types, header, frame parser (`xen/io/xs_wire.h`) |
//! | `adapter` | the crate `xenstore-rs` behind [`Basic`]; feature `xenstore-rs`, off by default, **GPL-3.0-only** |
//! | `perm`, `error` | [`Perm`], [`Error`] |
//!
//! # Restarts of xenstored
//!
//! A live update (`xenstore-control live-update`) keeps the connection, the watches and the data: nothing is
//! seen here. A daemon that was killed and started again is an **empty store** while the guests run on. A
//! [`Client`] then reports [`Error::Disconnected`] and stays so: build a new one, register the watches again,
//! and do not read vanished nodes as vanished guests.

//! # The adapter over `xenstore-rs`
//!
//! The feature `xenstore-rs` adds the crate of that name, version 0.8.0, behind [`Basic`]: reading, writing,
//! listing, removing. It can do no more, because 0.8.0 has no transactions, permissions or blocking watches. It
//! is **GPL-3.0-only**: a program built with the feature may be given away under that licence only. Nothing that
//! ships turns it on.

#![warn(rustdoc::broken_intra_doc_links)]

#[cfg(feature = "xenstore-rs")]
pub mod adapter;
mod client;
mod error;
mod helpers;
mod memory;
mod perm;
mod store;
mod watch;
pub mod wire;

pub use client::Client;
pub use error::Error;
pub use helpers::{
    TRANSACTION_TRIES, Written, read_opt, read_string, read_u32, read_u32_or, transaction, write_existing,
};
pub use memory::MemoryStore;
pub use perm::Perm;
pub use store::{Basic, Store, Tx};
pub use watch::Watch;
