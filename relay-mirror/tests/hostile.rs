// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that writes what it likes where it likes, while the mirror looks: no panic, nothing outside the memory (it lies
//! between pages that nobody may touch), no call that does not end. And private memory is never confused with shared.

mod common;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{LAG, SetAtEnd, geometry, mirror};
use proptest::prelude::*;
use vesper_relay_mirror::writer::{Export, WhenFull};
use vesper_relay_mirror::{
    BadRegions, Channel, Geometry, Next, Outlet, Overwritten, Reader, Start, WriteError,
};

/// All that can be done with what comes next.
fn use_up(reader: &mut Reader, buffer: usize, room: &mut [u8], outlet: &Outlet<'_>) -> u64 {
    match reader.next(buffer) {
        Next::Data(piece) => {
            let geometry = reader.channel().geometry();
            assert!((1..=geometry.subbuf_size() as usize).contains(&piece.len()));
            assert!(piece.place().1 as usize + piece.len() <= geometry.subbuf_size() as usize);
            let copied = piece.copy_to(room);
            assert!(copied.is_err() || copied == Ok(room.len().min(piece.len())));
            let mut all = vec![1, 2, 3];
            match piece.append_to(&mut all) {
                Ok(()) => assert_eq!(all.len(), 3 + piece.len()),
                Err(Overwritten) => assert_eq!(all, [1, 2, 3]),
            }
            let sum = piece.inspect(|raw| {
                let last = raw.bytes_at::<1>(raw.len() - 1).expect("the last byte");
                assert_eq!(raw.bytes_at::<8>(raw.len() - 1 + usize::from(raw.len() < 8)), None);
                (0..raw.len())
                    .step_by(8)
                    .filter_map(|at| raw.bytes_at::<8>(at))
                    .flatten()
                    .fold(last[0], u8::wrapping_add)
            });
            std::hint::black_box(sum.ok());
            match piece.write_to(outlet) {
                Ok(written) | Err(WriteError::Overwritten { written }) => assert!(written <= piece.len()),
                Err(WriteError::Io(error)) => panic!("{error}"),
            }
            // More than there is, too.
            reader.advance(&piece, room.len() + 1);
            1
        }
        Next::Lost(lost) => {
            assert!(lost.sub_buffers > 0 || lost.bytes > 0 || lost.writes > 0);
            1
        }
        Next::Nothing | Next::End => 0,
    }
}

fn any_geometry() -> impl Strategy<Value = Geometry> {
    let sizes = prop_oneof![(1..70_u32, 1..40_u32), (4000..9000_u32, 1..4_u32), (1..3_u32, 1000..5000_u32)];
    (sizes, 1..4_u32).prop_map(|((size, subbufs), buffers)| geometry(size, subbufs, buffers))
}

/// Words that hurt: small ones, large ones, near the last good one, and random.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..9_u64,
        (0..9_u64).prop_map(|n| u64::MAX - n),
        (0..300_u64, 0..300_u64).prop_map(|(high, low)| high << 32 | low),
        (any::<u32>(), 0..100_u64).prop_map(|(high, low)| u64::from(high) << 32 | low),
        any::<u64>(),
    ]
}

fn null() -> File {
    File::options().write(true).open("/dev/null").expect("/dev/null")
}

/// `/dev/null` is neither a file nor non-blocking; a file that is thrown away.
fn sink() -> File {
    let (process, thread) = (std::process::id(), thread::current().id());
    let path = std::env::temp_dir().join(format!("vesper-mirror-{process}-{thread:?}"));
    let file = File::create(&path).expect("a file");
    std::fs::remove_file(&path).expect("the file");
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Any words in any order of calls, one thread.
    #[test]
    fn any_words(
        geometry in any_geometry(),
        words in prop::collection::vec((any::<prop::sample::Index>(), word(), 0..12_u8), 1..300),
    ) {
        let export = Export::new(geometry, 0);
        let words_of_positions = geometry.positions_pages() as usize * 512;
        let channel = mirror(geometry, &export);
        let (mut room, file, mut now) = ([0; 100], sink(), Instant::now());
        let outlet = Outlet::new(file.as_fd()).expect("a file");
        let mut readers = vec![channel.reader(Start::Oldest), channel.watcher(Start::Now)];
        for (place, word, act) in words {
            let buffer = place.index(geometry.buffers() as usize);
            // Mostly the words that say the most.
            let stride = geometry.positions(1.min(geometry.buffers() - 1)).expect("a buffer").max(8) / 8;
            let at = if word % 3 == 0 { place.index(words_of_positions) } else { (buffer * stride + place.index(12)) % words_of_positions };
            export.position(at * 8).store(word, Ordering::Relaxed);
            export.consumed(buffer as u32).store(word.rotate_left(7), Ordering::Relaxed);
            match act {
                0 => { channel.update(); }
                1 => { channel.arm(); }
                2 => { now += Duration::from_secs(6); channel.tick(now); }
                3 => { channel.status(); }
                4 => readers.push(channel.reader(if word % 2 == 0 { Start::Oldest } else { Start::Now })),
                5 if readers.len() > 1 => { readers.remove(place.index(readers.len())); }
                6 if word % 4 == 0 => {
                    channel.suspend();
                    use_up(&mut readers[0], buffer, &mut room, &outlet);
                    channel.resume(0, export.regions()).expect("the same memory");
                }
                _ => for reader in &mut readers {
                    for _ in 0..4 {
                        use_up(reader, buffer, &mut room, &outlet);
                    }
                },
            }
        }
        channel.close();
        for reader in &mut readers {
            for buffer in 0..channel.buffers() {
                let most = u64::from(geometry.subbufs()) * u64::from(geometry.subbuf_size() / 100 + 3) + 200;
                let mut turns = 0;
                while use_up(reader, buffer, &mut room, &outlet) > 0 {
                    turns += 1;
                    prop_assert!(turns < most, "a reader of private memory goes on for ever");
                }
            }
        }
        prop_assert_eq!(export.mapped(), 0);
    }
}

/// Words and data change at any moment, all the time.
#[test]
fn a_thread_that_scribbles() {
    for (round, (size, subbufs)) in [(40, 5), (1, 64), (4096, 2), (100, 1), (5, 3000)].into_iter().enumerate()
    {
        let geometry = geometry(size, subbufs, 2);
        let export = Export::new(geometry, 0);
        let channel = mirror(geometry, &export);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = SetAtEnd(&stop);
            scope.spawn(|| {
                let mut state = 0x9e37_79b9_7f4a_7c15 + round as u64;
                let words = geometry.positions_pages() as usize * 512;
                let stride = geometry.positions(1).expect("a second buffer") / 8;
                let mut produced = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let buffer = (state >> 60) as usize % 2;
                    let at = if state.is_multiple_of(4) {
                        (state >> 8) as usize % words
                    } else {
                        buffer * stride + (state >> 8) as usize % 12
                    };
                    produced = (produced + state % 3) & 0xffff_ffff;
                    // Often one that could be; and one that could not be goes on from there.
                    let word = match state >> 5 & 31 {
                        0 => state,
                        1..16 => produced << 32 | state >> 40,
                        _ => produced << 32 | (state % u64::from(size)),
                    };
                    if at == buffer * stride {
                        produced = word >> 32;
                    }
                    // A closed buffer would end the fun.
                    let word = if at == buffer * stride + 3 { word & !1 } else { word };
                    export.position(at * 8).store(word, Ordering::Release);
                    export.consumed(buffer as u32).store(state.rotate_left(9), Ordering::Relaxed);
                    export.scribble(state as usize % (geometry.buffer_bytes() as usize), state as u8);
                }
            });
            let begun = Instant::now();
            let (mut room, file, mut turns) = ([0; 64], sink(), 0_u64);
            let outlet = Outlet::new(file.as_fd()).expect("a file");
            let mut readers = [channel.reader(Start::Oldest), channel.watcher(Start::Oldest)];
            while begun.elapsed() < Duration::from_millis(500) || turns < 200 {
                assert!(begun.elapsed() < Duration::from_secs(60), "only {turns} turns");
                channel.update();
                channel.arm();
                for reader in &mut readers {
                    for buffer in 0..2 {
                        turns += use_up(reader, buffer, &mut room, &outlet);
                    }
                }
                if turns.is_multiple_of(512) {
                    channel.suspend();
                    channel.resume(0, export.regions()).expect("the same memory");
                    readers[1] = channel.watcher(Start::Oldest);
                }
            }
        });
        assert!(channel.status().iter().map(|status| status.nonsense).sum::<u64>() > 0);
        channel.close();
    }
}

#[test]
fn a_position_that_goes_back_or_too_far_is_counted_and_ignored() {
    let geometry = geometry(64, 4, 1);
    let export = Export::new(geometry, 10);
    let channel = mirror(geometry, &export);
    let head = export.position(0);
    let produced = |channel: &Channel| {
        channel.update();
        channel.status()[0]
    };
    head.store(9 << 32 | 5, Ordering::Release);
    assert_eq!(produced(&channel).produced, 10);
    head.store(10 << 32 | 65, Ordering::Release);
    let status = produced(&channel);
    assert_eq!((status.produced, status.offset), (10, 64), "clamped");
    head.store(10 << 32 | 20, Ordering::Release);
    assert_eq!(produced(&channel).offset, 64, "does not shrink");
    head.store(10 << 32 | 0xffff_ffff, Ordering::Release);
    assert_eq!(produced(&channel).offset, 64, "has begun");
    head.store((10 + (1 << 31)) << 32, Ordering::Release);
    assert_eq!(produced(&channel).produced, 10, "half of 32 bits is as good as going back");
    export.position(8).store(5, Ordering::Release);
    channel.update();
    export.position(8).store(4, Ordering::Release);
    let status = produced(&channel);
    assert_eq!(status.dropped, 5);
    assert!(status.nonsense >= 6, "{status:?}");
    head.store(12 << 32 | 3, Ordering::Release);
    let status = produced(&channel);
    assert_eq!((status.produced, status.offset), (12, 3), "what can be again is believed again");
}

#[test]
fn a_sub_buffer_without_its_length_is_lost_as_a_whole() {
    let geometry = geometry(64, 4, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut writer = export.writer(0, WhenFull::Refuse, common::no_kick());
    let mut reader = channel.reader(Start::Now);
    for byte in 0..3 {
        writer.write(&[byte; 40]).expect("room");
    }
    writer.publish();
    // Longer than it can be, and of another number.
    export.position(64).store(1 << 32 | 65, Ordering::Release);
    export.position(72).store(7 << 32 | 3, Ordering::Release);
    assert_eq!(common::lost(&mut reader, 0).bytes, 64);
    assert_eq!(common::lost(&mut reader, 0).sub_buffers, 1);
    let mut bytes = Vec::new();
    common::piece(&mut reader, 0).append_to(&mut bytes).expect("whole");
    assert_eq!(bytes, [2; 40]);
    assert!(channel.status()[0].nonsense >= 2);
}

#[test]
fn memory_that_is_too_small_is_refused() {
    let (small, large) = (geometry(4096, 2, 1), geometry(4096, 3, 2));
    let export = Export::new(small, 0);
    let refused = Channel::new(large, export.regions(), LAG).err().expect("it is too small");
    assert_eq!(refused, BadRegions::TooSmall { what: "data", bytes: 8192, needed: 24576 });
    assert_eq!(export.mapped(), 0, "and given back");
    let channel = mirror(small, &export);
    let other = Export::new(large, 0);
    let refused = channel.add_part(large, other.regions()).expect_err("other sub-buffers");
    assert_eq!(refused, BadRegions::Unlike { subbuf_size: 4096, subbufs: 3 });
    assert_eq!(channel.buffers(), 1);
}

#[test]
fn nothing_is_written_to_what_may_block() {
    let blocking = Outlet::new(null().as_fd()).expect_err("it may block").kind();
    assert_eq!(blocking, ErrorKind::InvalidInput);
    let (ours, _theirs) = UnixStream::pair().expect("sockets");
    let ours: OwnedFd = ours.into();
    assert!(Outlet::new(ours.as_fd()).is_err());
    UnixStream::from(ours.try_clone().expect("a descriptor")).set_nonblocking(true).expect("set");
    let outlet = Outlet::new(ours.as_fd()).expect("it does not block");

    let geometry = geometry(4096, 64, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut writer = export.writer(0, WhenFull::Overwrite, common::no_kick());
    let mut reader = channel.reader(Start::Now);
    let full = loop {
        writer.write(&[3; 4096]).expect("it overwrites");
        writer.publish();
        let piece = common::piece(&mut reader, 0);
        match piece.write_to(&outlet) {
            Ok(written) => reader.advance(&piece, written),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, WriteError::Io(error) if error.kind() == ErrorKind::WouldBlock));
    assert_eq!(channel.copied(), 0, "nothing was copied in this process");
    let piece = common::piece(&mut reader, 0);
    (0..70).for_each(|_| writer.write(&[4; 4096]).expect("it overwrites"));
    let file = sink();
    let outlet = Outlet::new(file.as_fd()).expect("a file");
    assert!(matches!(piece.write_to(&outlet), Err(WriteError::Overwritten { written: 1.. })));
}
