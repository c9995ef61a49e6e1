// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest is told: what it may write over, and when to kick.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use common::{LAG, Sink, Source, geometry, lost, mirror, piece};
use vesper_relay_mirror::writer::{Export, Kick, WhenFull};
use vesper_relay_mirror::{Channel, Lost, Next, Reader, Start};

/// One buffer of 8 sub-buffers, each of which a write fills.
struct Stage {
    export: Export,
    channel: Arc<Channel>,
    source: Source,
    kicks: Arc<AtomicU64>,
}

const PAYLOAD: usize = 64 - common::FRAME;

fn stage(when_full: WhenFull) -> Stage {
    let geometry = geometry(64, 8, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let kicks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&kicks);
    let kick: Kick = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let source = Source::with(export.writer(0, when_full, kick));
    Stage { export, channel, source, kicks }
}

impl Stage {
    /// So many writes; returns the kicks they made.
    fn write(&mut self, writes: usize) -> u64 {
        let before = self.kicks.load(Ordering::Relaxed);
        self.source.write_some(writes, PAYLOAD);
        self.kicks.load(Ordering::Relaxed) - before
    }

    /// `(consumed, wake)` as the guest finds it.
    fn told(&self) -> (u32, u32) {
        let word = self.export.consumed(0).load(Ordering::Relaxed);
        ((word >> 32) as u32, word as u32)
    }

    fn quiet(&self) -> bool {
        let status = self.channel.status()[0];
        self.told().1.wrapping_sub(status.produced as u32) >= 1 << 30
    }
}

fn read(reader: &mut Reader, pieces: usize) {
    for _ in 0..pieces {
        let piece = piece(reader, 0);
        reader.advance(&piece, piece.len());
    }
}

#[test]
fn without_a_reader_the_guest_is_asked_for_nothing() {
    let mut stage = stage(WhenFull::Refuse);
    assert!(!stage.channel.arm());
    assert!(stage.quiet());
    assert_eq!(stage.write(20), 0, "it kicks nobody");
    stage.source.writer.publish();
    assert_eq!(stage.kicks.load(Ordering::Relaxed), 0);
    stage.channel.update();
    assert!(!stage.channel.arm());
    assert_eq!(stage.told().0, 0, "and keeps what nobody has read");
    assert_eq!(stage.channel.status()[0].dropped, 12);
}

#[test]
fn a_reader_that_has_all_is_kicked_at_once_and_one_that_is_behind_in_batches() {
    let mut stage = stage(WhenFull::Refuse);
    let mut reader = stage.channel.reader(Start::Now);
    assert!(matches!(reader.next(0), Next::Nothing));
    assert_eq!(stage.told(), (0, 1));
    assert_eq!(stage.write(1), 0, "no switch yet");
    assert_eq!(stage.write(1), 1);
    assert_eq!(stage.write(1), 0, "once");
    stage.channel.update();
    assert!(!stage.channel.arm());
    assert_eq!(stage.told(), (0, 4), "half a buffer before the reader");
    assert_eq!(stage.write(5), 1);
    assert!(stage.channel.update().moved);
    assert!(!stage.channel.arm());
    assert_eq!(stage.told(), (0, 8), "when it is full");
    assert_eq!(stage.write(1), 1);
    stage.channel.update();
    assert!(!stage.channel.arm());
    assert!(stage.quiet(), "a full buffer has nothing more to say");

    read(&mut reader, 3);
    assert_eq!(stage.told().0, 3, "told by the reader itself");
    assert!(!stage.quiet());
    read(&mut reader, 5);
    assert!(matches!(reader.next(0), Next::Lost(Lost { writes: 1, .. })), "the ninth write");
    assert!(matches!(reader.next(0), Next::Nothing));
    assert_eq!(stage.told(), (8, 9));
}

#[test]
fn what_is_refused_while_a_piece_is_read_is_told_before_what_comes_after_it() {
    let mut stage = stage(WhenFull::Refuse);
    let (mut reader, mut sink) = (stage.channel.reader(Start::Now), Sink::default());
    stage.write(8);
    let first = piece(&mut reader, 0);
    stage.write(2);
    reader.advance(&first, first.len());
    stage.write(1);
    stage.source.writer.publish();
    sink.got = Some(Vec::new());
    sink.drain(&mut reader, 0);
    let told = sink.got.expect("it is noted").pop();
    assert_eq!(told, Some((10, Lost { writes: 2, ..Lost::default() })));
}

#[test]
fn the_slowest_reader_says_what_is_consumed_and_one_that_goes_holds_nothing() {
    let mut stage = stage(WhenFull::Refuse);
    let (mut fast, mut slow) = (stage.channel.reader(Start::Now), stage.channel.reader(Start::Now));
    let mut watcher = stage.channel.watcher(Start::Now);
    stage.write(6);
    read(&mut fast, 5);
    read(&mut slow, 2);
    assert_eq!(stage.told().0, 2);
    assert!(stage.channel.has_readers());
    drop(slow);
    assert_eq!(stage.told().0, 5);
    drop(fast);
    assert!(!stage.channel.has_readers());
    assert_eq!(stage.told(), (5, 5 + 4), "the watcher is told of half a buffer");
    assert_eq!(stage.write(20), 1);
    let mut sink = Sink::default();
    sink.drain(&mut watcher, 0);
    assert_eq!(stage.told().0, 5, "but holds and frees nothing");
    assert_eq!(sink.lost.bytes, 5 * 64, "what others had read was written over before it came");
    drop(watcher);
    assert!(stage.quiet());
}

#[test]
fn a_late_reader_finds_what_was_consumed_but_is_still_whole() {
    let mut stage = stage(WhenFull::Refuse);
    let mut first = stage.channel.reader(Start::Now);
    stage.write(6);
    read(&mut first, 5);
    let (mut late, mut now) = (stage.channel.reader(Start::Oldest), stage.channel.reader(Start::Now));
    stage.source.writer.publish();
    let (mut old, mut new) = (Sink::default(), Sink::default());
    old.drain(&mut late, 0);
    new.drain(&mut now, 0);
    assert_eq!((old.writes, old.last), (6, Some(5)));
    assert_eq!((new.writes, new.lost), (1, Lost::default()), "what was not published when it came");
    assert_eq!(stage.told().0, 5, "never less than was told before");
}

#[test]
fn the_next_daemon_goes_on_where_this_one_was() {
    let mut stage = stage(WhenFull::Refuse);
    let mut reader = stage.channel.reader(Start::Now);
    stage.write(12);
    read(&mut reader, 3);
    stage.channel.close();
    let channel = mirror(stage.channel.geometry(), &stage.export);
    assert_eq!(channel.status()[0].consumed, 3);
    let mut sink = Sink::default();
    let mut reader = channel.reader(Start::Oldest);
    sink.drain(&mut reader, 0);
    assert_eq!(
        (sink.writes, sink.lost.writes, sink.gap.writes),
        (8, 4, 4),
        "all of it, and what was refused"
    );
}

#[test]
fn a_reader_that_was_overtaken_in_what_was_consumed_gets_all_that_was_not() {
    let mut stage = stage(WhenFull::Refuse);
    let mut reader = stage.channel.reader(Start::Now);
    stage.write(6);
    read(&mut reader, 5);
    assert_eq!(stage.told().0, 5);
    stage.channel.close();
    let channel = mirror(stage.channel.geometry(), &stage.export);
    let mut reader = channel.reader(Start::Oldest);
    assert!(matches!(reader.next(0), Next::Data(_)), "what was consumed and is still whole");
    // The guest writes over that, up to what nobody has consumed.
    stage.write(20);
    let mut sink = Sink { got: Some(Vec::new()), ..Sink::default() };
    sink.drain(&mut reader, 0);
    let got: Vec<u64> = sink.got.iter().flatten().map(|(number, _)| *number).collect();
    assert_eq!(got, (5..13).collect::<Vec<_>>());
    assert_eq!(sink.lost.sub_buffers, 5);
}

#[test]
fn what_the_page_says_is_consumed_is_not_believed() {
    let mut stage = stage(WhenFull::Overwrite);
    stage.write(20);
    // 19 are complete, 12 to 18 are whole.
    for (says, found) in [(15, 15), (19, 19), (20, 12), (11, 12), (0, 12), (0xffff_fff0, 12)] {
        stage.export.consumed(0).store(says << 32, Ordering::Relaxed);
        let status = mirror(stage.channel.geometry(), &stage.export).status()[0];
        assert_eq!((status.produced, status.consumed), (19, found), "it says {says}");
    }
}

#[test]
fn one_that_stands_still_is_left_behind_and_told_what_it_missed() {
    let mut stage = stage(WhenFull::Refuse);
    let (mut fast, mut stuck) = (stage.channel.reader(Start::Now), stage.channel.reader(Start::Now));
    let start = Instant::now();
    stage.write(4);
    read(&mut fast, 3);
    assert_eq!(stage.channel.tick(start), None, "nobody waits for it yet");
    stage.write(10);
    read(&mut fast, 5);
    assert_eq!(stage.channel.tick(start), Some(start + LAG));
    read(&mut stuck, 1);
    stage.write(4);
    assert_eq!(lost(&mut fast, 0).writes, 6);
    read(&mut fast, 1);
    let later = start + LAG;
    assert_eq!(stage.channel.tick(later), Some(later + LAG), "it has moved");
    assert_eq!(stage.channel.tick(later + LAG / 2), Some(later + LAG));
    assert_eq!(stage.told().0, 1);
    assert_eq!(stage.channel.tick(later + LAG), None);
    assert_eq!(stage.told().0, 9, "nobody but the other one counts");

    let mut ahead = Sink::default();
    for _ in 0..20 {
        stage.write(1);
        ahead.drain(&mut fast, 0);
    }
    stage.source.writer.finish();
    ahead.drain(&mut fast, 0);
    let mut behind = Sink::default();
    let missed = lost(&mut stuck, 0);
    assert!(missed.sub_buffers > 0);
    behind.drain(&mut stuck, 0);
    assert_eq!(64 + missed.bytes + behind.lost.bytes + behind.bytes, stage.source.bytes);
    assert_eq!(1 + missed.sub_buffers + behind.writes, stage.source.written);
    assert_eq!(
        1 + missed.sub_buffers + behind.writes + missed.writes + behind.lost.writes,
        stage.source.attempts
    );
}

#[test]
fn when_all_are_left_behind_the_newest_is_kept() {
    let mut stage = stage(WhenFull::Refuse);
    let mut stuck = stage.channel.reader(Start::Now);
    let start = Instant::now();
    stage.write(9);
    stage.channel.update();
    stage.channel.tick(start);
    assert_eq!(stage.channel.tick(start + LAG), None);
    assert_eq!(
        stage.told(),
        (8, 8 + 4),
        "all that is there may go, and half a buffer later the owner looks again"
    );
    assert_eq!(stage.write(5), 1);
    stage.channel.update();
    assert!(!stage.channel.arm());
    assert_eq!(stage.told().0, 12);
    let mut sink = Sink::default();
    stage.source.writer.publish();
    sink.drain(&mut stuck, 0);
    assert_eq!((sink.lost.sub_buffers, sink.lost.bytes, sink.writes), (5, 5 * 64, 8));
    assert_eq!(sink.lost.writes, 1);
    assert_eq!(stage.told(), (12, 13), "and it counts again");
}

struct Counter(AtomicU64);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whoever_waits_is_woken_once() {
    let mut stage = stage(WhenFull::Refuse);
    let mut reader = stage.channel.reader(Start::Now);
    let counter = Arc::new(Counter(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&counter));
    let woken = || counter.0.load(Ordering::Relaxed);
    stage.channel.update();
    let seen = stage.channel.generation();
    assert!(matches!(reader.next(0), Next::Nothing));
    stage.channel.wake_after(seen, &waker);
    stage.channel.wake_after(seen, &waker);
    assert!(!stage.channel.update().moved);
    assert_eq!(woken(), 0);
    let begun = Instant::now();
    assert_eq!(stage.channel.wait(seen, Duration::from_millis(20)), seen);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    stage.write(2);
    assert!(stage.channel.update().moved);
    assert_eq!(woken(), 1);
    assert_ne!(stage.channel.wait(seen, Duration::from_secs(60)), seen);
    stage.channel.wake_after(seen, &waker);
    assert_eq!(woken(), 2, "at once");
    stage.write(2);
    stage.channel.update();
    assert_eq!(woken(), 2, "and not again");
}

/// A reader in another thread that asks for a later kick than the one the owner waits for.
#[test]
fn a_kick_that_another_reader_asked_away_is_made_up_for() {
    let stage = stage(WhenFull::Refuse);
    let (mut ours, mut theirs) = (stage.channel.reader(Start::Now), stage.channel.reader(Start::Now));
    assert!(matches!(ours.next(0), Next::Nothing));
    stage.channel.update();
    let seen = stage.channel.generation();
    // The guest has stored its head, and has not yet read when to kick.
    stage.export.position(64).store(1 << 32 | 64, Ordering::Release);
    stage.export.position(0).store(1 << 32, Ordering::Release);
    read(&mut theirs, 1);
    assert!(matches!(theirs.next(0), Next::Nothing));
    assert_eq!(stage.told().1, 2, "the kick at 1 will not come");
    assert_ne!(stage.channel.wait(seen, Duration::from_secs(60)), seen);
    assert!(stage.channel.arm(), "nor does the owner sleep");
    assert!(stage.channel.update().moved);
    assert!(!stage.channel.arm());
    read(&mut ours, 1);
}
