// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows and streams over channels whose guest is played by the test.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;
use vesper_api::Since;
use vesper_relay_mirror::writer::{self, WhenFull, Writer};
use vesper_relay_mirror::{Channel, Geometry, Next, Start};
use vesper_stream::frame::{Data, EndReason, Export, GoneReason, Lost, Words};
use vesper_stream::{Entry, Parser, Records};

use super::*;

const SCHEMA: &str = "e n:u64";

/// A channel, and its guest's side.
pub(crate) struct Played {
    pub(crate) export: Export,
    pub(crate) channel: Arc<Channel>,
    pub(crate) writers: Vec<Writer>,
}

impl Played {
    pub(crate) fn new(number: u32, name: &str, cpus: u16, when_full: WhenFull) -> Self {
        Self::with(number, name, cpus, when_full, 4096, Some(SCHEMA))
    }

    fn with(
        number: u32,
        name: &str,
        cpus: u16,
        when_full: WhenFull,
        bytes: u32,
        schema: Option<&str>,
    ) -> Self {
        let geometry = Geometry::new(bytes, 4, cpus.into()).unwrap();
        let memory = writer::Export::new(geometry, 0);
        let channel = Channel::new(geometry, memory.regions(), Duration::from_secs(10)).unwrap();
        let writers =
            (0..cpus.into()).map(|buffer| memory.writer(buffer, when_full, Arc::new(|| {}))).collect();
        let export = Export {
            export: number,
            name: name.into(),
            subbuf_size: bytes,
            subbufs: 4,
            cpus: (0..cpus).map(Some).collect(),
            schema: schema.map(str::to_owned),
            ..Export::default()
        };
        Self { export, channel, writers }
    }

    pub(crate) fn record(&mut self, cpu: usize, time: u64) {
        // A full buffer counts it.
        let _ = self.writers[cpu].record(1, 0, time, &time.to_le_bytes());
        self.writers[cpu].publish();
        self.channel.update();
    }

    pub(crate) fn add_to(&self, flow: &mut Flow, start: Start) {
        let since = if start == Start::Now { Since::Now } else { Since::Boot };
        flow.add(Export { since, ..self.export.clone() }, self.channel.reader(start));
    }
}

pub(crate) fn guest() -> vesper_stream::frame::Guest {
    vesper_stream::frame::Guest {
        domid: 3,
        name: "web1".into(),
        uuid: "03030303-0303-0303-0303-030303030303".into(),
        boot_id: Some("6f1d4a0b2c9e4f7786aa05d1c3b2e4f1".into()),
        kernel: None,
    }
}

pub(crate) fn flow(follow: bool) -> Flow {
    Flow::new(Wanted { channel: None, follow }, guest())
}

fn gone(reason: GoneReason) -> Gone {
    Gone { reason, cause: None }
}

/// A client of a stream, which reads when it is told to.
struct Client {
    stream: Stream,
    socket: UnixStream,
    theirs: UnixStream,
    parser: Parser,
}

impl Client {
    fn new(flow: Flow) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        Self { stream: Stream::new(DomId(3), flow), socket, theirs, parser: Parser::new() }
    }

    fn serve(&mut self) -> Turn {
        self.stream.serve(self.socket.as_fd()).unwrap()
    }

    /// Reads what is there.
    fn read(&mut self) -> Vec<(Frame, Vec<u8>)> {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count @ 1..) = self.theirs.read(&mut bytes) {
            self.parser.push(&bytes[..count]);
        }
        let entries = std::iter::from_fn(|| self.parser.next_entry());
        entries
            .map(|entry| match entry {
                Entry::Frame(frame, payload) => (frame, payload),
                Entry::Unreadable(bytes) => panic!("{bytes} bytes are no frame"),
            })
            .collect()
    }

    /// Is served and reads until there is nothing more.
    fn all(&mut self) -> Vec<(Frame, Vec<u8>)> {
        let mut frames = Vec::new();
        for _ in 0..10_000 {
            let turn = self.serve();
            frames.extend(self.read());
            if turn != Turn::More {
                return frames;
            }
        }
        panic!("it goes on and on");
    }
}

/// The sequence numbers of what was told of a CPU.
fn seqs(frames: &[(Frame, Vec<u8>)], of: u16) -> Vec<u64> {
    let mut joined = Vec::new();
    for (frame, payload) in frames {
        if let Frame::Data(data) = frame
            && data.cpu == Some(of)
        {
            joined.extend_from_slice(payload);
        }
    }
    Records::of(&joined).map(|record| record.unwrap().header.seq).collect()
}

fn kinds(frames: &[(Frame, Vec<u8>)]) -> Vec<&'static str> {
    let kind = |(frame, _): &(Frame, Vec<u8>)| match frame {
        Frame::Guest(_) => "guest",
        Frame::Export(_) => "export",
        Frame::Clock(_) => "clock",
        Frame::Data(_) => "data",
        Frame::Lost(_) => "lost",
        Frame::Words(_) => "words",
        Frame::CaughtUp {} => "caught-up",
        Frame::End(_) => "end",
        Frame::Gone(_) => "gone",
        _ => "other",
    };
    frames.iter().map(kind).collect()
}

#[test]
fn what_is_there_is_told_then_what_comes_then_the_end() {
    let mut channel = Played::new(1, "c", 2, WhenFull::Refuse);
    (0..10).for_each(|time| channel.record(0, time));
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    flow.words("c", b"words");
    let mut client = Client::new(flow);
    let frames = client.all();
    assert_eq!(kinds(&frames), ["guest", "export", "words", "data", "caught-up"]);
    assert_eq!(seqs(&frames, 0), Vec::from_iter(0..10));
    assert!(client.all().is_empty());

    channel.record(1, 11);
    assert!(client.all().is_empty(), "nobody has said that there is something");
    client.stream.flow.moved();
    assert_eq!(seqs(&client.all(), 1), [0]);

    channel.record(1, 12);
    channel.channel.close();
    client.stream.flow.gone(gone(GoneReason::Crashed), EndReason::GuestGone);
    let frames = client.all();
    assert_eq!(kinds(&frames), ["data", "end", "gone"]);
    let Frame::End(end) = &frames[1].0 else { panic!("no end") };
    assert_eq!((end.reason, end.cpus[0].records, end.cpus[1].records), (EndReason::GuestGone, 10, 2));
    assert_eq!(client.serve(), Turn::Over);
}

/// Who does not follow gets what was there, also while the guest goes on recording.
#[test]
fn what_comes_later_is_not_waited_for() {
    let mut channel = Played::new(1, "c", 1, WhenFull::Overwrite);
    (0..10).for_each(|time| channel.record(0, time));
    let mut flow = flow(false);
    channel.add_to(&mut flow, Start::Oldest);
    // It fills the next sub-buffer, too.
    (10..200).for_each(|time| channel.record(0, time));
    let mut client = Client::new(flow);
    let frames = client.all();
    assert_eq!(kinds(&frames).last(), Some(&"caught-up"));
    let seqs = seqs(&frames, 0);
    assert!(seqs.len() >= 10 && seqs.len() < 200, "{} records", seqs.len());
    assert_eq!(client.serve(), Turn::Over);
}

#[test]
fn the_buffer_with_the_oldest_record_goes_first() {
    let mut few = Played::new(1, "few", 2, WhenFull::Refuse);
    let mut many = Played::new(2, "many", 1, WhenFull::Refuse);
    few.record(1, 500);
    few.record(0, 250);
    // 48 bytes each: several sub-buffers.
    (0..300).for_each(|at| many.record(0, at * 3));
    let mut flow = flow(true);
    many.add_to(&mut flow, Start::Oldest);
    few.add_to(&mut flow, Start::Oldest);
    let frames = Client::new(flow).all();
    let firsts: Vec<u64> = frames
        .iter()
        .filter(|(frame, _)| matches!(frame, Frame::Data(_)))
        .map(|(_, payload)| Records::of(payload).next().unwrap().unwrap().header.time)
        .collect();
    assert!(firsts.len() > 4 && firsts.is_sorted(), "{firsts:?}");
}

#[test]
fn a_client_that_does_not_read_keeps_one_frame_and_its_place() {
    let mut channel = Played::with(1, "c", 1, WhenFull::Refuse, 256 << 10, Some(SCHEMA));
    while channel.writers[0].record(1, 0, 1, &[7; 1000]).is_ok() {}
    channel.writers[0].publish();
    channel.channel.update();
    let refused = channel.channel.status()[0].dropped;
    assert_eq!(refused, 1);
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    let mut client = Client::new(flow);
    for _ in 0..100 {
        assert_eq!(client.serve(), Turn::More);
        assert!(
            client.stream.waiting.bytes() <= 200 << 10,
            "{} bytes are kept",
            client.stream.waiting.bytes()
        );
    }
    assert!(channel.channel.status()[0].consumed < 4, "the guest is not told that it has been read");
    // It reads on, and gets everything, none of which was copied in this process.
    let frames = client.all();
    assert_eq!(channel.channel.copied(), 0);
    assert_eq!(seqs(&frames, 0).len() as u64, channel.channel.status()[0].records - refused);
    assert!(
        frames.iter().any(|(frame, _)| matches!(frame, Frame::Data(data) if data.more)),
        "pieces are cut"
    );
    assert!(frames.iter().any(|(frame, _)| matches!(frame, Frame::Lost(Lost { writes: 1, .. }))));
}

/// A socket that does not take a whole frame, although it has room: the rest waits here.
#[test]
fn a_client_with_a_small_buffer_gets_everything() {
    let mut channel = Played::with(1, "c", 1, WhenFull::Refuse, 256 << 10, Some(SCHEMA));
    while channel.writers[0].record(1, 0, 1, &[7; 1000]).is_ok() {}
    channel.writers[0].publish();
    channel.channel.update();
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    let mut client = Client::new(flow);
    setsockopt(&client.socket, SndBuf, &4096).unwrap();
    let frames = client.all();
    let status = channel.channel.status()[0];
    assert_eq!(seqs(&frames, 0).len() as u64, status.records - status.dropped);
    assert!(channel.channel.copied() > 0, "the rest of a frame is copied");
}

#[test]
fn a_guest_that_writes_over_what_is_read_costs_its_own_records() {
    let mut channel = Played::new(1, "c", 1, WhenFull::Overwrite);
    (0..100).for_each(|time| channel.record(0, time));
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    let mut client = Client::new(flow);
    let mut frames = client.all();
    (100..10_000).for_each(|time| channel.record(0, time));
    client.stream.flow.moved();
    frames.extend(client.all());
    let told = seqs(&frames, 0);
    assert!(told.is_sorted() && told.first() == Some(&0) && told.last() == Some(&9999));
    let lost: u64 = frames
        .iter()
        .map(|(frame, _)| if let Frame::Lost(lost) = frame { lost.sub_buffers } else { 0 })
        .sum();
    assert!(lost > 10, "{lost} sub-buffers lost");
}

/// Also when that happens between the header of its frame and its last byte.
#[test]
fn a_piece_that_is_written_over_while_it_is_sent_counts_for_nothing() {
    // Into an empty socket, and behind what the client has not taken.
    for waits in [false, true] {
        let mut channel = Played::new(1, "c", 1, WhenFull::Overwrite);
        (0..10).for_each(|time| channel.record(0, time));
        let mut reader = channel.channel.reader(Start::Oldest);
        let Next::Data(piece) = reader.next(0) else { panic!("nothing to read") };
        (10..2000).for_each(|time| channel.record(0, time));

        let mut client = Client::new(flow(true));
        let mut sink = Sink::new(client.socket.as_fd(), &mut client.stream.waiting).unwrap();
        let words = Frame::Words(Words { export: None, name: "w".into(), bytes: 1 << 20 });
        if waits {
            sink.say(&words, &[0; 1 << 20]).unwrap();
        }
        let data = Data { export: 1, cpu: Some(0), bytes: 0, more: false, unsure: false };
        assert!(!sink.send(data, &piece).unwrap(), "it is found out");
        let frames = client.all();
        let wanted = if waits { &["words", "guest", "caught-up"][..] } else { &["guest", "caught-up"] };
        assert_eq!(kinds(&frames), wanted);
    }
}

#[test]
fn foreign_channels_take_turns() {
    let channels: Vec<_> = (1..4)
        .map(|number| {
            let mut channel = Played::with(number, "f", 1, WhenFull::Refuse, 4096, None);
            while channel.writers[0].write(&[number as u8; 500]).is_ok() {}
            channel.writers[0].publish();
            channel.channel.update();
            channel
        })
        .collect();
    let mut flow = flow(true);
    channels.iter().for_each(|channel| channel.add_to(&mut flow, Start::Oldest));
    let frames = Client::new(flow).all();
    let of: Vec<_> = frames
        .iter()
        .filter_map(|(frame, _)| if let Frame::Data(data) = frame { Some(data.export) } else { None })
        .collect();
    assert_eq!(of[..6], [1, 2, 3, 1, 2, 3]);
}

#[test]
fn channels_that_end_unread_are_given_up_beyond_a_bound() {
    let mut flow = flow(true);
    let mut channels = Vec::new();
    let mut first = Vec::new();
    for number in 1..=20 {
        let mut channel = Played::new(number, &format!("c{number}"), 1, WhenFull::Refuse);
        channel.record(0, number.into());
        channel.add_to(&mut flow, Start::Oldest);
        channel.channel.close();
        if flow.ended(number, EndReason::Stopped) {
            first.push(number);
        }
        channels.push(channel);
    }
    assert_eq!(first, [9], "that there are too many is told once");
    assert_eq!(channels.iter().filter(|channel| channel.channel.has_readers()).count(), 8);
    assert!(!flow.is_hopeless());
    let frames = Client::new(flow).all();
    let schema = |frame: &Frame| matches!(frame, Frame::Export(export) if export.schema.is_some());
    assert_eq!(frames.iter().filter(|(frame, _)| schema(frame)).count(), 8, "no text is kept for nothing");
    let ends: Vec<_> =
        frames
            .iter()
            .filter_map(|(frame, _)| {
                if let Frame::End(end) = frame { Some((end.export, end.cpus[0].records)) } else { None }
            })
            .collect();
    assert_eq!(ends.len(), 20);
    assert!(ends.iter().all(|(_, records)| *records == 1), "what was lost is told: {ends:?}");
    assert_eq!(kinds(&frames).iter().filter(|kind| **kind == "data").count(), 8);
}

#[test]
fn large_channels_that_end_unread_are_given_up_sooner() {
    let mut flow = flow(true);
    let mut channels = Vec::new();
    for number in 1..=6 {
        let mut channel =
            Played::with(number, &format!("c{number}"), 1, WhenFull::Refuse, 2 << 20, Some(SCHEMA));
        channel.record(0, number.into());
        channel.add_to(&mut flow, Start::Oldest);
        channel.channel.close();
        assert_eq!(flow.ended(number, EndReason::Stopped), number == 5, "8 MiB each: {number}");
        channels.push(channel);
    }
    assert_eq!(channels.iter().filter(|channel| channel.channel.has_readers()).count(), 4);
}

/// A guest may share and end channels all day.
#[test]
fn a_client_that_never_reads_is_given_up_itself() {
    let mut flow = flow(true);
    let hopeless = (1..10_000).find(|&number| {
        let channel = Played::new(number, &format!("c{number}"), 1, WhenFull::Refuse);
        channel.add_to(&mut flow, Start::Oldest);
        channel.channel.close();
        flow.ended(number, EndReason::Stopped);
        flow.is_hopeless()
    });
    assert_eq!(hopeless, Some(8 + 256 + 1));
    let mut client = Client::new(flow);
    client.all();
    assert!(!client.stream.flow.is_hopeless(), "one that reads gets rid of them");
}

#[test]
fn the_number_of_a_new_boot_is_told_after_the_end_of_the_old_one() {
    let mut old = Played::new(1, "c", 1, WhenFull::Refuse);
    old.record(0, 5);
    let mut flow = flow(true);
    old.add_to(&mut flow, Start::Oldest);
    let mut client = Client::new(flow);
    client.all();
    old.record(0, 6);
    old.channel.close();
    let flow = &mut client.stream.flow;
    flow.ended(1, EndReason::Lost);
    flow.booted(vesper_stream::frame::Guest { boot_id: None, ..guest() });
    let mut new = Played::new(1, "c", 1, WhenFull::Refuse);
    new.record(0, 1);
    new.add_to(flow, Start::Oldest);
    assert_eq!(kinds(&client.all()), ["data", "end", "guest", "export", "data"]);
}

#[test]
fn one_channel_may_be_all_that_is_wanted() {
    let wanted = Wanted { channel: Some("a".into()), follow: true };
    let mut flow = Flow::new(wanted, guest());
    assert!(flow.means("a") && flow.wants("a") && !flow.wants("b"));
    flow.words("b", b"other");
    flow.words("a", b"mine");
    let frames = Client::new(flow).all();
    assert_eq!(kinds(&frames), ["guest", "words", "caught-up"]);
    assert_eq!(frames[1].1, b"mine");
    let flow = Flow::new(Wanted { channel: None, follow: false }, guest());
    assert!(!flow.wants("a") && flow.means("a"));
}

/// A client that goes away, at any moment, is an error of its own stream.
#[test]
fn a_client_that_goes_away_ends_its_stream() {
    let mut channel = Played::new(1, "c", 1, WhenFull::Refuse);
    (0..100).for_each(|time| channel.record(0, time));
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    let mut client = Client::new(flow);
    client.theirs.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(client.stream.serve(client.socket.as_fd()).is_err());
    drop(client);
    assert!(!channel.channel.has_readers());
}
