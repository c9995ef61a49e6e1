// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! How far the host is, and when it wants to be told: the one word per buffer that the host writes.

/// `consumed << 32 | wake`, at 8 × the buffer's number in the consumed page; a single release store of the host.
///
/// After storing it, the host makes a full fence and reads the head again: if that has reached `wake`, there is work and
/// no kick comes. The guest's side of the pair is in [`Head`](super::Head)'s file. It outlives a connection and a
/// daemon: the next one begins at `consumed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Consumed {
    /// Sub-buffers that the host needs no more, lower 32 bits: all before this number may be overwritten.
    pub consumed: u32,
    /// The `produced` at which the host wants to be kicked.
    pub wake: u32,
}

impl Consumed {
    /// From here on, `wake − produced` means "do not wake me".
    const FAR: u32 = 1 << 30;

    /// Takes the word apart.
    pub const fn from_word(word: u64) -> Self {
        Self { consumed: (word >> 32) as u32, wake: word as u32 }
    }

    /// As it stands in the page.
    pub const fn word(self) -> u64 {
        (self.consumed as u64) << 32 | self.wake as u64
    }

    /// "Tell me of the next switch": `produced` is of the head that was read last.
    pub const fn waking(consumed: u32, produced: u32) -> Self {
        Self { consumed, wake: produced.wrapping_add(1) }
    }

    /// "Do not wake me": nobody reads, or somebody looks without being told.
    pub const fn quiet(consumed: u32, produced: u32) -> Self {
        Self { consumed, wake: produced.wrapping_add(1 << 31) }
    }

    /// Guest: what the host needs no more. Nonsense (more than was produced, or less than before) is ignored.
    pub const fn taken(self, before: u32, produced: u32) -> u32 {
        if self.consumed.wrapping_sub(before) > produced.wrapping_sub(before) {
            before
        } else {
            self.consumed
        }
    }

    /// Guest: whether to kick after the switch that made it `produced`.
    pub const fn wakes(self, produced: u32) -> bool {
        self.wake == produced
    }

    /// Guest: whether to kick when bytes were published without a switch, after a quiet time.
    pub const fn wakes_idle(self, produced: u32) -> bool {
        self.wake.wrapping_sub(produced) < Self::FAR
    }
}
