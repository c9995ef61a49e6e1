// SPDX-License-Identifier: MIT OR Apache-2.0
//! The heartbeat, as it was copied out of the guest's memory: allegations.

/// Bounds of a beat's period: what a guest says beyond them is taken as the bound.
const PERIOD_NS: std::ops::RangeInclusive<u64> = 10_000_000..=10_000_000_000;

/// When each vCPU was last seen, on the guest's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beats {
    beat_ns: Vec<u64>,
    period_ns: u64,
    words_lost: u64,
}

impl Beats {
    /// `beat_ns` has the last beat of each vCPU by its number, 0 for one that is down; `period_ns` is the time between
    /// two; `words_lost` counts last words for which there was no place.
    pub fn new(beat_ns: Vec<u64>, period_ns: u64, words_lost: u64) -> Self {
        Self { beat_ns, period_ns: period_ns.clamp(*PERIOD_NS.start(), *PERIOD_NS.end()), words_lost }
    }

    /// The last beat of a vCPU on the guest's clock; 0 if it is down or not watched.
    pub fn of(&self, vcpu: u32) -> u64 {
        self.beat_ns.get(vcpu as usize).copied().unwrap_or(0)
    }

    /// The vCPUs that the guest says are up, each with its last beat.
    pub fn online(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..).zip(self.beat_ns.iter().copied()).filter(|(_, beat)| *beat != 0)
    }

    /// Whether any vCPU is up.
    pub fn any(&self) -> bool {
        self.online().next().is_some()
    }

    /// Time between two beats, nanoseconds; 10 ms to 10 s, whatever the guest says.
    pub fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// Last words for which there was no place.
    pub fn words_lost(&self) -> u64 {
        self.words_lost
    }
}
