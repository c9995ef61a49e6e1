// SPDX-License-Identifier: MIT OR Apache-2.0
//! How mapping begins and ends, under readers that stay.

mod common;

use std::thread;
use std::time::Duration;

use common::{Sink, Source, geometry, mirror, piece};
use vesper_relay_mirror::writer::{Export, WhenFull};
use vesper_relay_mirror::{Lost, Next, Overwritten, Start};

#[test]
fn closing_unmaps_at_once_and_keeps_what_was_not_read() {
    let geometry = geometry(128, 8, 2);
    let export = Export::new(geometry, 3);
    let channel = mirror(geometry, &export);
    let mut sources = [0, 1].map(|buffer| Source::new(&export, buffer, WhenFull::Refuse));
    let (mut half, mut none) = (channel.reader(Start::Now), channel.watcher(Start::Now));
    for source in &mut sources {
        (0..20).for_each(|write| source.write_some(1, write * 2));
        source.writer.publish();
    }
    let mut halves = [Sink::default(), Sink::default()];
    for (buffer, sink) in halves.iter_mut().enumerate() {
        assert!(sink.turn(&mut half, buffer));
    }
    // A piece that was handed out before is served from the copy.
    let before = piece(&mut half, 1);
    let copied = channel.copied();
    channel.close();
    assert_eq!(export.mapped(), 0);
    assert!(channel.copied() - copied >= 2 * sources[0].bytes / 2);
    assert!(channel.copied() - copied <= 2 * 128 * 8, "no more than the buffers");
    // What happens in the pages now is nobody's business here.
    (0..1024).for_each(|at| export.scribble(at, 0xee));

    let mut bytes = vec![0; before.len()];
    assert_eq!(before.copy_to(&mut bytes), Ok(bytes.len()));
    halves[1].take(&bytes);
    half.advance(&before, bytes.len());
    for buffer in 0..2 {
        halves[buffer].drain(&mut half, buffer);
        let mut all = Sink::default();
        all.drain(&mut none, buffer);
        assert!(all.ended && halves[buffer].ended);
        assert_eq!((all.writes, all.lost.writes), (sources[buffer].written, 20 - sources[buffer].written));
        assert_eq!(halves[buffer].writes, all.writes);
    }
    let mut late = channel.reader(Start::Oldest);
    assert!(matches!(late.next(0), Next::End));
    assert!(matches!(late.next(7), Next::End));
    channel.close();
    drop((half, none, late));
}

#[test]
fn a_suspended_channel_goes_on_after_its_private_copy() {
    let geometry = geometry(128, 4, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, WhenFull::Overwrite);
    let (mut reader, mut sink) = (channel.reader(Start::Now), Sink::default());
    sink.got = Some(Vec::new());
    source.write_some(5, 20);
    source.writer.publish();
    channel.suspend();
    assert_eq!(export.mapped(), 0);
    // The guest goes on, over all that was there.
    source.write_some(40, 20);
    source.writer.publish();
    assert!(sink.turn(&mut reader, 0));
    channel.resume(0, export.regions()).expect("the same memory");
    assert_eq!(export.mapped(), 3);
    sink.drain(&mut reader, 0);
    let got = sink.got.take().expect("it is noted");
    let first: Vec<_> = got.iter().map(|(number, _)| *number).take(5).collect();
    assert_eq!(first, [0, 1, 2, 3, 4], "from the copy, before and after");
    assert!(sink.lost.sub_buffers > 0, "{sink:?}");
    assert_eq!(sink.bytes + sink.lost.bytes, source.bytes);
    // Nothing of the copy is left over to be read twice, and leaving again is as before.
    channel.suspend();
    assert!(matches!(reader.next(0), Next::Nothing));
    channel.close();
    assert!(matches!(reader.next(0), Next::End));
    channel.resume(0, export.regions()).expect("given back");
    assert_eq!(export.mapped(), 0);
}

#[test]
fn buffers_of_a_later_part_are_read_by_readers_that_are_there() {
    let (first, second) = (geometry(128, 4, 2), geometry(128, 4, 1));
    let (one, two) = (Export::new(first, 0), Export::new(second, 0));
    let channel = mirror(first, &one);
    let (mut all, mut only) =
        (channel.reader(Start::Now), channel.reader_of(1, Start::Now).expect("buffer 1"));
    assert!(channel.reader_of(2, Start::Now).is_none());
    assert!(matches!(all.next(2), Next::Nothing), "may come");
    let mut source = Source::new(&two, 0, WhenFull::Refuse);
    source.write(10).expect("room");
    source.writer.publish();
    let seen = channel.generation();
    assert_eq!(channel.add_part(second, two.regions()), Ok(2));
    assert_ne!(channel.generation(), seen);
    assert_eq!(channel.buffers(), 3);
    let mut sink = Sink::default();
    sink.drain(&mut all, 2);
    assert_eq!((sink.writes, sink.lost), (1, Lost::default()));
    assert!(matches!(only.next(2), Next::End) && matches!(only.next(0), Next::End));
    assert!(matches!(only.next(1), Next::Nothing));
    // Its words are in the consumed page of its own part.
    assert_ne!(two.consumed(0).load(std::sync::atomic::Ordering::Relaxed), 0);
    channel.suspend();
    assert_eq!((one.mapped(), two.mapped()), (0, 0));
    source.write(10).expect("room");
    source.writer.publish();
    channel.resume(1, two.regions()).expect("the second part, before the first");
    sink.drain(&mut all, 2);
    assert_eq!(sink.writes, 2);
    assert_eq!((one.mapped(), two.mapped()), (0, 3));
}

#[test]
fn the_end_is_told_after_all_is_read() {
    let geometry = geometry(128, 4, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, WhenFull::Refuse);
    let (mut reader, mut sink) = (channel.reader(Start::Now), Sink::default());
    source.write(10).expect("room");
    assert!(matches!(reader.next(0), Next::Nothing), "not published");
    source.writer.finish();
    assert!(sink.turn(&mut reader, 0));
    assert!(!sink.turn(&mut reader, 0) && sink.ended);
    assert_eq!(sink.writes, 1);
    let update = channel.update();
    assert!(update.moved && update.ended);
    let mut late = channel.watcher(Start::Oldest);
    channel.suspend();
    let mut all = Sink::default();
    all.drain(&mut late, 0);
    assert!(all.ended && all.writes == 1, "also when it was unmapped meanwhile");
    assert!(!channel.update().moved && !channel.arm());
}

#[test]
fn a_piece_that_was_written_over_is_never_good() {
    let geometry = geometry(64, 4, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, WhenFull::Overwrite);
    let mut reader = channel.reader(Start::Now);
    source.write(48).expect("room");
    source.writer.publish();
    let old = piece(&mut reader, 0);
    let mut bytes = [0; 64];
    for _ in 0..3 {
        source.write(48).expect("it overwrites");
        assert_eq!(old.copy_to(&mut bytes), Ok(64), "still whole");
        assert_eq!(old.inspect(|raw| raw.bytes_at::<4>(0)), Ok(Some([48, 0, 0, 0])));
    }
    let inspected = old.inspect(|_| source.write(48).expect("it overwrites"));
    assert_eq!(inspected, Err(Overwritten), "while it was looked at");
    assert_eq!(old.copy_to(&mut bytes), Err(Overwritten));
    reader.advance(&old, 1000);
    let Next::Lost(lost) = reader.next(0) else { panic!("it had not read it") };
    assert_eq!((lost.sub_buffers, lost.bytes), (1, 0), "it said that it had");
    let next = piece(&mut reader, 0);
    reader.advance(&old, 64);
    assert_eq!(piece(&mut reader, 0).place(), next.place(), "a piece of before moves nothing");
    assert_eq!(channel.copied(), 3 * 64);
}

#[test]
fn what_is_looked_at_is_not_unmapped() {
    let geometry = geometry(64, 4, 1);
    let export = Export::new(geometry, 0);
    let channel = mirror(geometry, &export);
    let mut source = Source::new(&export, 0, WhenFull::Refuse);
    let mut reader = channel.reader(Start::Now);
    source.write(10).expect("room");
    source.writer.publish();
    let piece = piece(&mut reader, 0);
    thread::scope(|scope| {
        let looked = piece.inspect(|raw| {
            scope.spawn(|| channel.close());
            thread::sleep(Duration::from_millis(50));
            (export.mapped(), raw.bytes_at::<4>(0))
        });
        assert_eq!(looked, Ok((3, Some([10, 0, 0, 0]))));
    });
    assert_eq!(export.mapped(), 0);
}
