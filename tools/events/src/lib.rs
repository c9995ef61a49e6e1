// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened to guests, as events for people, programs and hooks.
//!
//! What it lives by:
//!
//! * **One fault is one event.** A panic is a record, last words, a crashed domain and a heartbeat that stops; it is told
//!   once, by what explains it best. What is learned later is told under the same number.
//! * **Nothing here knows a probe.** Which record is which event is in the schema that came with its channel.
//! * **Written down before it is told**, so that what was seen is acted on, and once, whatever becomes of the daemon.
//! * **A guest that makes events without end costs nobody else anything**: what is too much is counted, and what is kept
//!   is bounded.
//! * No clock, no thread, no socket. The time is handed in, in nanoseconds of the real-time clock.
//!
//! | module | subject |
//! |---|---|
//! | [`event`] | the document |
//! | [`report`] | what is known of a fault before it is an event; records to reports |
//! | `fault` | one fault: what belongs to it |
//! | `guest` | the faults of one guest |
//! | `limits`, `bucket` | how many it may have |
//! | `told` | what is told of one, and what the rules say failed |
//! | `book` | all guests, and the serial numbers |
//! | [`journal`] | on disk |
//! | [`recent`] | the newest, for those who ask |
//! | [`standing`] | what still counts of each guest |
//!
//! `docs/events.md` has the documents by example.

mod book;
mod bucket;
pub mod event;
mod fault;
mod guest;
pub mod journal;
mod limits;
pub mod recent;
pub mod report;
pub mod standing;
#[cfg(test)]
mod tests;
mod told;

pub use book::Book;
pub use event::{End, Event, Failed, Kind, Missed, Severity, Source};
pub use journal::{Entry, Journal, Kept};
pub use recent::Recent;
pub use report::{Meaning, Meanings, Report, Who};
pub use standing::Standing;
pub use told::{Judge, Told};
