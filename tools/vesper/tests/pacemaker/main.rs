// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agents, the hook and the health script for Pacemaker (`tools/pacemaker`), run as Pacemaker, vesperd and a timer run them. `xl` and
//! Pacemaker's tools are stand-ins; `vesper` is one, too, or the real command against the real daemon's loop.

mod guest;
mod health;
mod node;
#[cfg(feature = "ocf-tester")]
mod ocf_tester;
mod push;
mod real;
mod service;
