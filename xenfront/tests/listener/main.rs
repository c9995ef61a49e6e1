// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The listener's guest side: its state machine step by step, hosts that break the protocol, random sequences.

mod desk;
mod hostile;
mod random;
mod state;
