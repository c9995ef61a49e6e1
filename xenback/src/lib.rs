// SPDX-License-Identifier: MIT OR Apache-2.0
//! Communication layer on the host: one VESPER device per guest over xenbus, two rings, grants and event channels.
//!
//! What this crate lives by:
//!
//! * **A guest is hostile.** Nothing it writes is trusted, nothing is read twice. Breaking the protocol stops its own
//!   device and nothing else; a flood costs it its own turn.
//! * **One thread, never blocked by a guest.** [`Backend`] is one descriptor and one `run` call.
//! * **Everything given is given back**: mapping, port, descriptors and watches of a guest go with its device.
//! * **xenstore is a notice board, not the truth.** A vanished node is no vanished guest: Xen is asked.
//!
//! | module | subject |
//! |---|---|
//! | `backend` | [`Backend`]: all guests, the epoll; `looking` which there are, `turns` whose turn it is |
//! | `guest` | one guest: `mod` commands and turns, `lifecycle` and `connect` the xenbus states, `listening` its channels |
//! | `line` | one ring: mapped page, port, kicks |
//! | `loader`, `listener` | the ring of each; the Action layer's `Link`s over them |
//! | `sharing` | what a guest shares: descriptor and directory, checked; the pages, mapped |
//! | `nodes`, `memory`, `listener_memory` | xenstore nodes, and what a restarted daemon finds there |
//! | `info`, `limits`, `error`, `uuid` | what the caller sees |

mod backend;
mod error;
mod guest;
mod info;
mod limits;
mod line;
mod listener;
mod listener_memory;
mod loader;
mod memory;
mod nodes;
mod sharing;
mod uuid;

pub use backend::Backend;
use backend::RETRY;
pub use error::Error;
pub use info::{Counters, DeviceState, Event, GuestInfo, ListenerInfo};
pub use limits::Limits;
pub use uuid::{InvalidUuid, Uuid};
pub use vesper_action as action;
