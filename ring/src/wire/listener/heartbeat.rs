// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The heartbeat page: when each vCPU of the guest was last seen.

use core::mem::{offset_of, size_of};

use crate::wire::{PAGE_SIZE, Wire};

/// vCPUs that have a word; the others are not watched.
pub const BEATS: usize = 504;

/// The page. All times are of the guest's clock, in nanoseconds; each word is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Heartbeat {
    /// When the vCPU of that number was last seen; 0: it is not online.
    pub beat: [u64; BEATS],
    /// Time from one beat to the next.
    pub period: u64,
    /// Last words for which no place was left.
    pub words_lost: u64,
    /// When the frontend connected.
    pub connected: u64,
    /// 0.
    pub zero: [u64; 5],
}

// SAFETY: repr(C), only integers, no padding (asserted below), size a multiple of 8.
unsafe impl Wire for Heartbeat {}

const _: () = {
    assert!(size_of::<Heartbeat>() == PAGE_SIZE);
    assert!(offset_of!(Heartbeat, period) == 4032);
    assert!(offset_of!(Heartbeat, words_lost) == 4040);
    assert!(offset_of!(Heartbeat, connected) == 4048);
};
