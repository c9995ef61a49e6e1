// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer of each CPU, as `kmod/vesper_hotplug.c`: beats the heart and shows what quiet channels hold.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::vec::Vec;

use vesper_grant::loopback::{GuestPage, LoopGuest};
use vesper_ring::wire::listener::{BEATS, Heartbeat};

use super::Shared;
use super::memory::Run;

/// How long what was written can stay unseen in a quiet channel.
const IDLE: Duration = Duration::from_millis(100);
/// Time from one beat to the next, unless told otherwise.
const PERIOD: Duration = Duration::from_millis(500);

/// The heartbeat page and the CPUs.
pub(super) struct Heart {
    page: Run,
    cpus: Mutex<Cpus>,
}

struct Cpus {
    /// Those that are online, and when the next beat of each is due.
    online: BTreeMap<u16, Instant>,
    hung: BTreeSet<u16>,
    period: Duration,
}

impl Heart {
    pub(super) fn new(guest: &LoopGuest) -> Self {
        let now = Instant::now();
        let online = BTreeMap::from([(0, now), (1, now)]);
        let cpus = Mutex::new(Cpus { online, hung: BTreeSet::new(), period: PERIOD });
        let heart = Self { page: Run::new(guest, 1), cpus };
        heart.set_period(PERIOD);
        heart
    }

    pub(super) fn page(&self) -> impl Iterator<Item = &GuestPage> {
        self.page.pages().iter()
    }

    fn cpus(&self) -> MutexGuard<'_, Cpus> {
        self.cpus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        self.page.word(offset)
    }

    fn beat(&self, cpu: u16, when: u64) {
        if usize::from(cpu) < BEATS {
            self.word(offset_of!(Heartbeat, beat) + usize::from(cpu) * 8).store(when, Ordering::Release);
        }
    }

    /// The next beat of every CPU is due.
    pub(super) fn set_period(&self, period: Duration) {
        self.word(offset_of!(Heartbeat, period)).store(period.as_nanos() as u64, Ordering::Release);
        let mut cpus = self.cpus();
        cpus.period = period;
        cpus.online.values_mut().for_each(|due| *due = Instant::now());
    }

    pub(super) fn set_hung(&self, cpu: u16, hung: bool) {
        let mut cpus = self.cpus();
        if hung {
            cpus.hung.insert(cpu)
        } else {
            cpus.hung.remove(&cpu)
        };
    }

    pub(super) fn set_online(&self, cpu: u16, online: bool) {
        let mut cpus = self.cpus();
        if online {
            cpus.online.insert(cpu, Instant::now());
        } else if cpus.online.remove(&cpu).is_some() {
            self.beat(cpu, 0);
        }
    }

    /// Last words found no place.
    pub(super) fn lost(&self) {
        self.word(offset_of!(Heartbeat, words_lost)).fetch_add(1, Ordering::Release);
    }

    pub(super) fn connected(&self, when: u64) {
        self.word(offset_of!(Heartbeat, connected)).store(when, Ordering::Release);
    }

    /// Beats those that are due; the CPUs whose timer runs.
    fn tick(&self, clock: impl Fn() -> u64) -> Vec<u16> {
        let now = Instant::now();
        let mut cpus = self.cpus();
        let Cpus { online, hung, period } = &mut *cpus;
        let alive = online.iter_mut().filter(|(cpu, _)| !hung.contains(cpu));
        alive
            .map(|(&cpu, due)| {
                if *due <= now {
                    self.beat(cpu, clock());
                    *due = now + *period;
                }
                cpu
            })
            .collect()
    }

    fn next(&self) -> Duration {
        self.cpus().period.min(IDLE)
    }
}

impl Shared {
    /// The timers of all CPUs, once.
    fn tick(&self) {
        self.show_idle(&self.heart.tick(|| self.clock()));
    }

    /// Shows what these CPUs have written; a global buffer belongs to the first.
    pub(super) fn show_idle(&self, cpus: &[u16]) {
        let channels: Vec<_> = self.exports().live().map(|export| Arc::clone(&export.channel)).collect();
        for channel in channels {
            for (at, &cpu) in cpus.iter().enumerate() {
                channel.show_idle(cpu, at == 0);
            }
        }
    }
}

/// The thread that is the timers. Dropped, the guest's CPUs stand still.
pub(in super::super) struct Pulse {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(in super::super) fn start(shared: Arc<Shared>) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut guard = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                shared.tick();
                let pause = shared.heart.next();
                (guard, _) = stopped.1.wait_timeout(guard, pause).unwrap_or_else(PoisonError::into_inner);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the timers' thread panicked");
        }
    }
}
