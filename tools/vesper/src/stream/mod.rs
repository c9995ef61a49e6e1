// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that read what guests record.

mod events;
mod feed;
mod record;
mod replay;
mod tail;
mod view;

pub(crate) use events::events;
pub(crate) use record::record;
pub(crate) use replay::replay;
pub(crate) use tail::tail;
