// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a guest lives: two looks at it, and a verdict.
//!
//! A guest beats by itself on each vCPU (a timer, 500 ms unless configured). That a beat is missing says little: the
//! guest may be paused, being saved, or starved by a loaded host. So a beat that is missing is held against a vCPU only
//! if the host gave it the time to beat: it *ran* for a whole period, or it sleeps, so that its timer would have woken
//! it.
//!
//! [`judge`] is a pure function of two looks. Each look takes the vCPUs first and the beats after them: a vCPU that has
//! run and not beaten by then is one that did not beat, whatever happens between the two.

use super::Beats;

/// Missed beats after which a vCPU is judged.
pub const MISSED_BEATS: u32 = 3;

/// What a VMM says of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// It runs, or waits for an event or for a CPU.
    Up,
    /// Paused by its operator.
    Paused,
    /// Suspended to be saved or migrated.
    Suspended,
    /// Over.
    Dead(DeadCause),
}

/// What ended a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadCause {
    /// The domain is gone or going, and had not shut down before.
    Destroyed,
    /// It was suspended and then taken away: it goes on from its save, or on another host.
    Saved,
    /// Its kernel crashed.
    Crashed,
    /// It shut itself down.
    PoweredOff,
    /// It shut itself down to start again.
    Rebooted,
    /// Its watchdog expired.
    Watchdog,
    /// It shut down for another kernel (kexec).
    SoftReset,
    /// A reason that this build has no name for.
    Other(u8),
}

/// What a VMM says of one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vcpu {
    /// It is up.
    pub online: bool,
    /// It waits for an event.
    pub blocked: bool,
    /// Time that it has run, nanoseconds.
    pub ran_ns: u64,
}

/// One look at a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When, on the host's clock, nanoseconds.
    pub at_ns: u64,
    /// The domain.
    pub domain: Domain,
    /// Its vCPUs in the order of their numbers, as they were *before* the beats were read; empty if not known.
    pub vcpus: Vec<Vcpu>,
    /// The heartbeat page; `None` if the guest shares none.
    pub beats: Option<Beats>,
}

/// What two looks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lives, or nothing that is known says otherwise.
    Alive(Why),
    /// The looks are too close, or something happened between them that makes them no pair: look again after this time.
    Undecided {
        /// Nanoseconds.
        again_ns: u64,
    },
    /// These vCPUs had the time to beat and did not, in the order of their numbers. Never empty.
    Hung {
        /// Their numbers.
        vcpus: Vec<u32>,
    },
    /// It is over.
    Dead(DeadCause),
}

/// Why a guest counts as alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Each vCPU has beaten.
    Beating,
    /// Paused by its operator.
    Paused,
    /// Being saved or migrated.
    Saving,
    /// A beat is missing, but the host did not give it the time.
    Starved,
    /// It runs and shares no heartbeat (no frontend is connected, or one that has none).
    Silent,
}

/// What one vCPU says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulse {
    Beating,
    Starved,
    Undecided,
    Hung,
}

/// Judges a guest by two looks at it, `then` before `now`.
pub fn judge(then: &Look, now: &Look) -> Verdict {
    match now.domain {
        Domain::Dead(cause) => return Verdict::Dead(cause),
        Domain::Paused => return Verdict::Alive(Why::Paused),
        Domain::Suspended => return Verdict::Alive(Why::Saving),
        Domain::Up => {}
    }
    let Some(beats) = now.beats.as_ref().filter(|beats| beats.any()) else {
        return Verdict::Alive(Why::Silent);
    };
    let patience = beats.period_ns() * u64::from(MISSED_BEATS);
    let elapsed = now.at_ns.saturating_sub(then.at_ns);
    let again_ns = match patience.saturating_sub(elapsed) {
        0 => patience,
        rest => rest,
    };
    let (Domain::Up, Some(before)) = (then.domain, &then.beats) else {
        return Verdict::Undecided { again_ns: patience };
    };
    let pulses: Vec<(u32, Pulse)> = beats
        .online()
        // The guest may write anything; a vCPU that it does not have is none.
        .filter(|(vcpu, _)| now.vcpus.is_empty() || is_up(now, *vcpu))
        .map(|(vcpu, beat)| (vcpu, pulse(vcpu, before.of(vcpu), beat, then, now, beats.period_ns())))
        .collect();
    let with =
        |wanted: Pulse| pulses.iter().filter(move |(_, pulse)| *pulse == wanted).map(|(vcpu, _)| *vcpu);
    let hung: Vec<u32> = with(Pulse::Hung).collect();
    match () {
        () if !hung.is_empty() => Verdict::Hung { vcpus: hung },
        () if pulses.is_empty() => Verdict::Alive(Why::Silent),
        () if with(Pulse::Undecided).next().is_some() => Verdict::Undecided { again_ns },
        () if with(Pulse::Starved).next().is_some() => Verdict::Alive(Why::Starved),
        () => Verdict::Alive(Why::Beating),
    }
}

fn is_up(look: &Look, vcpu: u32) -> bool {
    look.vcpus.get(vcpu as usize).is_some_and(|vcpu| vcpu.online)
}

/// One vCPU that the guest says is up. `was` and `is` are its last beats on the guest's clock, `was` 0 if it was down
/// then.
fn pulse(vcpu: u32, was: u64, is: u64, then: &Look, now: &Look, period: u64) -> Pulse {
    let patience = period * u64::from(MISSED_BEATS);
    let elapsed = now.at_ns.saturating_sub(then.at_ns);
    if was == 0 {
        // It came up since, and beats as it does.
        return Pulse::Beating;
    }
    if is > was {
        // Between two looks that are far apart, it may have beaten and hung after that.
        return if elapsed.saturating_sub(is - was) <= patience { Pulse::Beating } else { Pulse::Undecided };
    }
    let at = |look: &Look| look.vcpus.get(vcpu as usize).copied();
    let (Some(before), Some(after)) = (at(then), at(now)) else { return Pulse::Undecided };
    if elapsed < patience {
        return Pulse::Undecided;
    }
    let ran = after.ran_ns.saturating_sub(before.ran_ns);
    // Sleeping, it is woken by the timer that beats; and what has just beaten and gone to sleep has beaten.
    if ran >= period || after.blocked { Pulse::Hung } else { Pulse::Starved }
}
