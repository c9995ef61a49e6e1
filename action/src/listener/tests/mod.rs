// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener against a link that is memory of this process, and the verdict.

mod any_order;
mod heart;
