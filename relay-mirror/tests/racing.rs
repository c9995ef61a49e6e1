// SPDX-License-Identifier: MIT OR Apache-2.0
//! An honest guest in a thread of its own, as fast as it can, and readers that are slower, come late, go early, or lose
//! their mapping: nothing torn is taken for good, and the sums are exact.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{SetAtEnd, Sink, Source, geometry, mirror};
use vesper_relay_mirror::writer::{Export, Kick, WhenFull};
use vesper_relay_mirror::{Channel, Next, Start};

/// The event channel: an event that stays until it is taken.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    ring: Condvar,
}

impl Bell {
    fn kick(self: &Arc<Self>) -> Kick {
        let bell = Arc::clone(self);
        Arc::new(move || bell.ring())
    }

    fn ring(&self) {
        *self.rung.lock().expect("bell") += 1;
        self.ring.notify_all();
    }

    /// Takes what was rung; false: nothing for `time`.
    fn wait(&self, time: Duration) -> bool {
        let rung = self.rung.lock().expect("bell");
        let (mut rung, over) = self.ring.wait_timeout_while(rung, time, |rung| *rung == 0).expect("bell");
        *rung = 0;
        !over.timed_out()
    }
}

/// Pseudo-random numbers (xorshift), seeded by the test.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn write_all(source: &mut Source, seed: u64, writes: u64, stop: &AtomicBool) {
    let mut state = seed;
    for turn in 0..writes {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let _ = source.write((random(&mut state) % 100) as usize);
        if turn.is_multiple_of(16) {
            source.writer.publish();
        }
    }
    source.writer.finish();
}

/// Two readers, one buffer, a guest that never waits for either.
fn race(when_full: WhenFull, subbufs: u32, first: u64) -> (Source, Vec<Sink>, Arc<Channel>) {
    let geometry = geometry(512, subbufs, 1);
    let export = Export::new(geometry, first);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, when_full);
    let readers: Vec<_> = (0..2).map(|_| channel.reader(Start::Now)).collect();
    let sinks = thread::scope(|scope| {
        let reading: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                scope.spawn(move || {
                    let mut sink = Sink::default();
                    while !sink.ended {
                        sink.turn(&mut reader, 0);
                    }
                    sink
                })
            })
            .collect();
        write_all(&mut source, first | 1, 100_000, &AtomicBool::new(false));
        reading.into_iter().map(|thread| thread.join().expect("a reader")).collect()
    });
    (source, sinks, channel)
}

#[test]
fn a_guest_that_overwrites_tears_nothing_and_each_byte_is_accounted_for() {
    for (subbufs, first) in [(2, 0), (3, u64::from(u32::MAX) - 500), (8, 77), (64, (9 << 32) - 1000)] {
        let (source, sinks, channel) = race(WhenFull::Overwrite, subbufs, first);
        for sink in sinks {
            assert_eq!(sink.bytes + sink.lost.bytes, source.bytes, "{subbufs} sub-buffers: {sink:?}");
            assert_eq!(sink.lost.writes, 0);
            assert!(sink.bytes > 0, "it got nothing at all");
        }
        assert_eq!(channel.status()[0].nonsense, 0);
    }
}

#[test]
fn a_guest_that_refuses_loses_what_it_counted_and_nothing_else() {
    for (subbufs, first) in [(1, 0), (2, 5), (5, u64::from(u32::MAX) - 500), (64, 0)] {
        let (source, sinks, channel) = race(WhenFull::Refuse, subbufs, first);
        for sink in sinks {
            assert_eq!(sink.writes + sink.lost.writes, source.attempts, "{subbufs} sub-buffers: {sink:?}");
            assert_eq!((sink.writes, sink.bytes), (source.written, source.bytes));
            assert_eq!((sink.lost.sub_buffers, sink.lost.bytes, sink.torn), (0, 0, 0), "it waits for both");
        }
        assert_eq!(channel.status()[0].nonsense, 0);
    }
}

/// The owner sleeps whenever it may. A kick that does not come is seen as a sleep that does not end.
#[test]
fn no_kick_is_missed() {
    for (when_full, subbufs) in [(WhenFull::Refuse, 2), (WhenFull::Overwrite, 6), (WhenFull::Refuse, 16)] {
        let geometry = geometry(256, subbufs, 1);
        let export = Export::new(geometry, 0);
        let channel = mirror(geometry, &export);
        let bell = Arc::new(Bell::default());
        let mut source = Source::with(export.writer(0, when_full, bell.kick()));
        let mut reader = channel.reader(Start::Now);
        let done = AtomicBool::new(false);
        let (sink, sleeps) = thread::scope(|scope| {
            let owner = scope.spawn(|| {
                let (mut sink, mut sleeps) = (Sink::default(), 0_u64);
                loop {
                    channel.update();
                    sink.drain(&mut reader, 0);
                    if sink.ended {
                        return (sink, sleeps);
                    }
                    if channel.arm() {
                        continue;
                    }
                    sleeps += 1;
                    let rung = bell.wait(Duration::from_secs(20));
                    assert!(
                        rung || done.load(Ordering::SeqCst),
                        "asleep, and nobody rings: {:?}",
                        channel.status()
                    );
                }
            });
            let mut state = 3;
            for _ in 0..60_000 {
                let bytes = (random(&mut state) % 60) as usize;
                // A guest's probe does not wait; this one lets the owner fall asleep every now and then.
                if source.write(bytes).is_err() && when_full == WhenFull::Refuse {
                    let full = Instant::now();
                    while source.write(1).is_err() {
                        assert!(full.elapsed() < Duration::from_secs(20), "full, and nobody reads");
                        thread::yield_now();
                    }
                }
            }
            source.writer.finish();
            done.store(true, Ordering::SeqCst);
            bell.ring();
            owner.join().expect("the owner")
        });
        assert!(sleeps > 0, "it never slept, so this shows nothing");
        assert_eq!(sink.torn * u64::from(when_full == WhenFull::Refuse), 0);
        if when_full == WhenFull::Refuse {
            assert_eq!(sink.writes, source.written);
        } else {
            assert_eq!(sink.bytes + sink.lost.bytes, source.bytes);
        }
    }
}

/// Readers in threads of their own wait on the channel, the owner only passes kicks on.
#[test]
fn readers_in_other_threads_are_woken() {
    let geometry = geometry(256, 4, 2);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let bell = Arc::new(Bell::default());
    let over = AtomicBool::new(false);
    let ends = thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        let owner = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                channel.update();
                if !channel.arm() {
                    bell.wait(Duration::from_secs(1));
                }
            }
        });
        let reading: Vec<_> = (0..3)
            .map(|_| {
                let mut reader = channel.reader(Start::Now);
                scope.spawn(move || {
                    let mut sinks = [Sink::default(), Sink::default()];
                    while !sinks.iter().all(|sink| sink.ended) {
                        let seen = reader.channel().generation();
                        for (buffer, sink) in sinks.iter_mut().enumerate() {
                            sink.drain(&mut reader, buffer);
                        }
                        if sinks.iter().all(|sink| sink.ended) {
                            break;
                        }
                        let begun = Instant::now();
                        reader.channel().wait(seen, Duration::from_secs(25));
                        assert!(begun.elapsed() < Duration::from_secs(20), "nobody woke it");
                    }
                    sinks
                })
            })
            .collect();
        let writing: Vec<_> = (0..2_u32)
            .map(|buffer| {
                let mut source = Source::with(export.writer(buffer, WhenFull::Refuse, bell.kick()));
                scope.spawn(move || {
                    let (mut state, mut last) = (u64::from(buffer) + 7, Instant::now());
                    while source.written < 20_000 {
                        if source.write((random(&mut state) % 60) as usize).is_ok() {
                            last = Instant::now();
                        } else {
                            assert!(last.elapsed() < Duration::from_secs(40), "full, and nobody reads");
                            thread::yield_now();
                        }
                    }
                    source.writer.finish();
                    source.writer.urgent();
                    source
                })
            })
            .collect();
        let sources: Vec<_> = writing.into_iter().map(|thread| thread.join().expect("a writer")).collect();
        let ends: Vec<_> = reading.into_iter().map(|thread| thread.join().expect("a reader")).collect();
        over.store(true, Ordering::SeqCst);
        bell.ring();
        owner.join().expect("the owner");
        for sinks in &ends {
            for (sink, source) in sinks.iter().zip(&sources) {
                assert_eq!(sink.writes + sink.lost.writes, source.attempts);
                assert_eq!(sink.writes, source.written);
            }
        }
        ends.len()
    });
    assert_eq!(ends, 3);
}

/// The mapping goes while a guest writes and readers read; each reader gets what was there, then the end.
#[test]
fn closed_in_the_middle() {
    for round in 0..60_u64 {
        let when_full = if round % 2 == 0 { WhenFull::Refuse } else { WhenFull::Overwrite };
        let geometry = geometry(512, 1 + (round % 7) as u32 + u32::from(when_full == WhenFull::Overwrite), 1);
        let export = Export::new(geometry, (1 << 32) - round);
        let channel = mirror(geometry, &export);
        let mut source = Source::new(&export, 0, when_full);
        let readers: Vec<_> = (0..3).map(|_| channel.reader(Start::Now)).collect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| write_all(&mut source, round + 1, u64::MAX, &stop));
            let reading: Vec<_> = readers
                .into_iter()
                .enumerate()
                .map(|(slow, mut reader)| {
                    scope.spawn(move || {
                        let mut sink = Sink::default();
                        while !sink.ended {
                            sink.turn(&mut reader, 0);
                            (0..slow * 200).for_each(|_| std::hint::spin_loop());
                        }
                        assert!(matches!(reader.next(0), Next::End));
                        sink
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(3));
            channel.close();
            assert_eq!(export.mapped(), 0, "unmapped, although readers are there");
            let sinks: Vec<_> = reading.into_iter().map(thread::ScopedJoinHandle::join).collect();
            // Also when a reader has failed, or nobody would ever end.
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("the writer");
            for sink in sinks {
                let sink = sink.expect("a reader");
                if when_full == WhenFull::Refuse {
                    assert_eq!(sink.lost.bytes, 0);
                    let seen = channel.status()[0];
                    assert!(sink.lost.writes <= seen.dropped);
                }
            }
        });
    }
}
