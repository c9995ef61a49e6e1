// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest records, from vesperd's socket or a file to a terminal.
//!
//! What it lives by:
//!
//! * **Nothing here knows a probe.** What a record means is in the schema that came with its channel.
//! * **Arbitrary bytes are data.** What cannot be read is counted, said, and passed over to the next frame.
//! * **Nothing is lost silently.** Each record has a sequence number; what is missing is said where it is missing, exactly.
//! * **Everything that is held is bounded**: lines, payloads, what waits to be put in order.
//!
//! | module | subject |
//! |---|---|
//! | [`frame`] | the frames, and how they are written |
//! | [`parser`] | bytes to frames |
//! | [`schema`], [`record`], [`value`] | what a record is made of |
//! | [`account`] | sequence numbers to numbers of lost records |
//! | [`decoder`], [`item`] | frames to what is shown |
//! | [`merge`] | the order of time over CPUs and channels |
//! | [`moment`] | dom0's time |
//! | [`text`], [`json`] | one record a line |
//! | [`store`] | a stream in a directory |
//!
//! `docs/api.md` has the frames by example.

pub mod account;
pub mod decoder;
pub mod frame;
pub mod item;
pub mod json;
pub mod merge;
pub mod moment;
pub mod parser;
pub mod record;
pub mod schema;
pub mod store;
pub mod text;
pub mod value;

pub use account::{Account, Loss};
pub use decoder::Decoder;
pub use frame::{Cpu, Frame};
pub use item::{Channel, Item, What};
pub use merge::Merger;
pub use moment::Moment;
pub use parser::{Entry, Parser};
pub use record::{Header, Record, Records};
pub use schema::Schema;
pub use store::Recording;
