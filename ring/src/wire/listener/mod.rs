// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Messages of the listener ring, and the layout of every page that the listener shares.
//!
//! As on the loader's ring, the frontend asks, the backend answers, and at most one request is outstanding:
//!
//! ```text
//! frontend                                     backend
//! TIME {now, stamps of the exchange before} ──▶
//!                                           ◀──  TIME_IS {received, sent}
//! EXPORT {descriptor, directory, grants}    ──▶  checks, maps
//!                                           ◀──  DONE {0}
//!            … positions, consumed words and kicks; no messages …
//! UNEXPORT {export}                         ──▶  takes what is unread, unmaps
//!                                           ◀──  DONE {0}
//! ```
//!
//! What a buffer holds is never said in a message: it is in the [positions](Head) that the guest publishes and in the
//! [consumed word](Consumed) that the host writes; the event channel is only the bell.
//!
//! | file | what |
//! |---|---|
//! | `message` | opcodes, [`Request`], [`Response`] |
//! | `request`, `response` | the same, checked: [`Asked`], [`Answer`] |
//! | `export`, `descriptor` | [`ExportInfo`], and checked: [`Descriptor`] |
//! | `geometry`, `chain` | [`Geometry`]: what lies where; [`Chain`]: walk along the directory pages |
//! | `positions`, `consumed` | the words by which guest and host tell each other where they are |
//! | `record`, `words`, `heartbeat` | header of a record, pages of last words, the heartbeat page |

mod bad;
mod chain;
mod consumed;
mod descriptor;
mod export;
mod geometry;
mod heartbeat;
mod message;
mod name;
mod positions;
mod record;
mod request;
mod response;
mod words;

pub use bad::BadExport;
pub use chain::Chain;
pub use consumed::Consumed;
pub use descriptor::Descriptor;
pub use export::{ExportInfo, GLOBAL, NO_CPU};
pub use geometry::{BUFFER_BYTES, BUFFERS, CONSUMED_PAGES, GRANTS, Geometry, SCHEMA_BYTES, SUBBUFS};
pub use heartbeat::{BEATS, Heartbeat};
pub use message::{DONE, EXPORT, PART, Request, Response, TIME, TIME_IS, UNEXPORT};
pub use name::ExportName;
pub use positions::{FINAL, Head, NOT_BEGUN, Padding, Positions, SubBuffer};
pub use record::{RecordHeader, record_flags};
pub use request::{Asked, Export};
pub use response::Answer;
pub use words::{RECORD_OFFSET, WORDS, WordsHeader, words_state};
