// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has signed a kernel module, as the kernel's `scripts/sign-file` does it.
//!
//! * **Any byte of a module may be hostile**, and so may each of its signature: whatever cannot be read is [`Unsigned`], nothing
//!   panics, and what is parsed is bounded before it is.
//! * **What is signed is what is sent**: all bytes before the signature, as the kernel counts them. A module that was signed twice
//!   has the signature at its end.
//! * **Only listed certificates count.** Those in a signature are not looked at, there is no chain, and the dates of a
//!   certificate say nothing, as in the kernel.
//!
//! | module | subject |
//! |---|---|
//! | `appended` | the signature at the end of a module |
//! | `check` | whose it is, and whether it fits |
//! | `certificate` | a listed certificate |
//! | `key` | its key |

mod appended;
mod certificate;
mod check;
mod key;

pub use certificate::{BadCertificate, Signer};
pub use check::{Unsigned, signer_of};
