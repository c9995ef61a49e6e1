// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guests record, through the real daemon's loop and the real frontend core, to clients.

mod support;

use std::time::{Duration, Instant};

use support::streaming::{Streamed, follow};
use support::{Client, World, eventually};
use vesper_api::{Alive, Because, Done, ErrorKind, Request, Since};
use vesper_grant::DomId;
use vesper_stream::Frame;
use vesper_stream::frame::{EndReason, GoneReason};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};

const SCHEMA: &str = "panic! n:u64\nevent n:u64 s:str";
/// Tells of no fault, so that the daemon itself does not read it.
const NO_FAULTS: &str = "entry n:u64\nevent n:u64 s:str";
const URGENT: u16 = 1;
const FATAL: u16 = 2;

fn channel(world: &World, guest: &LoopFrontend, name: &str) -> RelayChannel {
    share(world, guest, &ChannelSpec::new(name).schema(SCHEMA))
}

/// Exports a channel, and waits until dom0 has it.
fn share(world: &World, guest: &LoopFrontend, spec: &ChannelSpec) -> RelayChannel {
    let channel = guest.relay().export(spec).unwrap();
    eventually("dom0 has the channel", || {
        let Done::Channels(channels) = world.ask(&Request::Channels { dom: None }).unwrap() else { panic!() };
        channels
            .guests
            .iter()
            .flat_map(|guest| &guest.channels)
            .any(|there| there.name == channel.name().as_str())
    });
    channel
}

/// Records so many on CPU 0; a full buffer refuses some.
fn write(channel: &RelayChannel, records: u64) -> u64 {
    (0..records).filter(|at| channel.record(0, 2, 0, &at.to_le_bytes()).is_err()).count() as u64
}

fn event(channel: &RelayChannel, cpu: u16, flags: u16) {
    channel.record(cpu, 2, flags, &[7; 8]).unwrap();
}

fn begin(world: &World, request: &Request) -> Streamed {
    Streamed::begin(world.socket(), request).unwrap()
}

fn caught_up(stream: &Streamed) -> bool {
    stream.has(|frame| matches!(frame, Frame::CaughtUp {}))
}

#[test]
fn what_a_guest_records_reaches_every_client_in_order() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = channel(&world, &guest, "probe");
    (0..3).for_each(|_| event(&probe, 0, 0));
    probe.urgent(0);
    let mut one = begin(&world, &follow("1"));
    assert_eq!(one.reply.channels, ["probe"]);
    let mut other = begin(&world, &follow("guest1"));
    assert!(one.until(caught_up) && other.until(caught_up));

    // Before its sub-buffer is full, and before the timer shows what is there.
    let sent = Instant::now();
    event(&probe, 1, URGENT);
    assert!(one.until(|stream| !stream.seqs(probe.number(), 1).is_empty()));
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    (0..2).for_each(|_| event(&probe, 0, 0));
    for stream in [&mut one, &mut other] {
        assert!(
            stream.until(|stream| stream.seqs(probe.number(), 0).len() == 5),
            "what is not urgent is shown, too"
        );
        assert_eq!(stream.seqs(probe.number(), 0), [0, 1, 2, 3, 4]);
        assert!(
            matches!(&stream.frames[0].0, Frame::Guest(guest) if guest.name == "guest1" && guest.domid == 1)
        );
        assert!(matches!(&stream.frames[1].0, Frame::Export(export)
            if export.name == "probe" && export.owner == "probe" && export.schema.as_deref() == Some(SCHEMA)));
    }
    // A channel that comes later is told, and one that goes is read to its end.
    let second = guest.relay().export(&ChannelSpec::new("second").schema(SCHEMA)).unwrap();
    event(&second, 0, 0);
    assert!(second.stop(), "dom0 lets go although two clients read");
    for stream in [&mut one, &mut other] {
        assert!(stream.until(|stream| matches!(stream.last(), Frame::End(_))));
        let Frame::End(end) = stream.last() else { unreachable!() };
        assert_eq!((end.export, end.reason, end.cpus[0].records), (second.number(), EndReason::Stopped, 1));
        assert_eq!(stream.seqs(second.number(), 0), [0]);
    }
}

/// What the client asked for that wants no more than what is there.
#[test]
fn a_stream_that_does_not_follow_ends_by_itself() {
    let world = World::new();
    let guest = world.add_attached(1);
    let (probe, other) = (channel(&world, &guest, "probe"), channel(&world, &guest, "other"));
    (0..3).for_each(|_| event(&probe, 0, 0));
    event(&other, 0, 0);
    probe.urgent(0);
    let request = |channel: Option<&str>, since| Request::Stream {
        dom: "1".into(),
        channel: channel.map(str::to_owned),
        since,
        follow: false,
    };
    let mut stream = begin(&world, &request(Some("probe"), Since::Boot));
    stream.read_to_end();
    assert_eq!(stream.seqs(probe.number(), 0), [0, 1, 2]);
    assert!(!stream.has(|frame| matches!(frame, Frame::Export(export) if export.name == "other")));
    assert!(matches!(stream.last(), Frame::CaughtUp {}));
    let mut stream = begin(&world, &request(None, Since::Now));
    stream.read_to_end();
    assert!(stream.seqs(probe.number(), 0).is_empty());

    let refused = |request: &Request| Streamed::begin(world.socket(), request).err().expect("refused");
    let failure = refused(&request(Some("nosuch"), Since::Boot));
    assert_eq!(failure.kind, ErrorKind::NoSuchChannel);
    assert!(failure.message.contains("it shares: probe, other"), "{}", failure.message);
    assert_eq!(refused(&follow("2")).kind, ErrorKind::NoSuchGuest);
    let _bare = world.add_bare_guest(3, "bare", 3);
    eventually("the guest is seen", || world.guest(3).is_some());
    assert_eq!(refused(&follow("bare")).kind, ErrorKind::NotAttached);
}

/// The one that does not read loses records, is told how many, and nobody else notices.
#[test]
fn a_client_that_does_not_read_holds_up_neither_daemon_nor_others() {
    let world = World::with(|config| config.listener.lag_limit = Duration::from_secs(1));
    let guest = world.add_attached(1);
    let _second = world.add_attached(2);
    let spec = ChannelSpec::new("probe").schema(SCHEMA).sizes(32 << 10, 4).overwriting();
    let probe = share(&world, &guest, &spec);
    let mut slow = begin(&world, &follow("1"));
    let mut quick = begin(&world, &follow("1"));
    let mut written = 0;
    for _ in 0..50 {
        written += 200;
        assert_eq!(write(&probe, 200), 0, "it overwrites");
        probe.urgent(0);
        assert!(quick.until(|stream| stream.seqs(probe.number(), 0).last() == Some(&(written - 1))));
        let asked = Instant::now();
        assert!(world.guest(2).is_some());
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(quick.seqs(probe.number(), 0).len() as u64, written, "it has lost nothing");
    // Now it reads; what it did not get is what is missing in the numbers.
    assert!(slow.until(|stream| stream.seqs(probe.number(), 0).last() == Some(&(written - 1))));
    let got = slow.seqs(probe.number(), 0);
    assert!(got.is_sorted() && got.first() == Some(&0));
    if (got.len() as u64) < written {
        assert!(slow.has(|frame| matches!(frame, Frame::Lost(lost) if lost.sub_buffers > 0)));
    }
}

/// What is kept for it is bounded, although the guest shares and ends channels all day.
#[test]
fn a_client_that_never_reads_is_given_up() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(NO_FAULTS).sizes(64 << 10, 16));
    let mut stuck = begin(&world, &follow("1"));
    // More than its socket takes.
    while write(&probe, 100) == 0 {}
    probe.urgent(0);
    for _ in 0..400 {
        assert!(guest.relay().export(&ChannelSpec::new("short").schema(SCHEMA)).unwrap().stop());
    }
    stuck.read_to_end();
    assert!(!stuck.has(|frame| matches!(frame, Frame::Gone(_))), "nothing has ended but its stream");
    let mut another = begin(&world, &follow("1"));
    assert!(another.until(caught_up));
}

/// A channel that does not overwrite waits for a reader, so a client that reads slowly gets everything; without one, the guest
/// goes on and counts.
#[test]
fn every_record_is_there_or_counted() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(NO_FAULTS).sizes(8192, 4));
    let refused = write(&probe, 2000);
    assert!(refused > 100);
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(caught_up));
    let refused = refused + write(&probe, 100);
    assert!(probe.stop());
    assert!(stream.until(|stream| matches!(stream.last(), Frame::End(_))));
    let Frame::End(end) = stream.last() else { unreachable!() };
    assert_eq!((end.cpus[0].records, end.cpus[0].dropped), (2100, refused));
    assert_eq!(stream.seqs(probe.number(), 0).len() as u64, 2100 - refused);
    let told: u64 = stream
        .frames
        .iter()
        .map(|(frame, _)| if let Frame::Lost(lost) = frame { lost.writes } else { 0 })
        .sum();
    assert_eq!(told, refused);
}

#[test]
fn the_last_records_of_a_guest_reach_its_readers_and_are_saved() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = channel(&world, &guest, "probe");
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(caught_up));
    (0..5).for_each(|_| event(&probe, 0, 0));
    probe.record(1, 1, URGENT | FATAL, &42u64.to_le_bytes()).unwrap();
    guest.relay().last_words(Some(&probe), 1, &43u64.to_le_bytes()).unwrap();
    assert!(stream.until(|stream| stream.has(|frame| matches!(frame, Frame::Words(_)))));
    // What nobody has been told of yet.
    (0..5).for_each(|_| event(&probe, 0, 0));
    probe.urgent(0);
    world.destroy(1, Some(guest));
    stream.read_to_end();
    assert_eq!(stream.seqs(probe.number(), 0).len(), 10);
    let Frame::Gone(gone) = stream.last() else { panic!("{:?}", stream.last()) };
    assert_eq!((gone.reason, gone.cause.as_deref()), (GoneReason::Destroyed, Some("panic n=42")));

    // By name and UUID, also while it is being saved.
    for dom in ["guest1", "01010101-0101-0101-0101-010101010101"] {
        let saved = world.ask(&follow(dom)).unwrap();
        let Done::Saved(saved) = saved else { panic!("{saved:?}") };
        assert_eq!((saved.guest.domid, saved.guest.name.as_str()), (1, "guest1"));
        let text = std::fs::read(saved.dir.join("stream.vsp")).unwrap();
        assert!(text.windows(17).any(|bytes| bytes == b"{\"frame\":\"words\","));
        assert!(text.starts_with(b"{\"frame\":\"guest\",") && text.ends_with(b"\"cause\":\"panic n=42\"}\n"));
    }
    assert_eq!(world.ask(&follow("1")).unwrap_err().kind, ErrorKind::NoSuchGuest, "a number is used again");
    // The same name again, alive: what it says now counts.
    let again = world.add_guest_as(7, "guest1", 1);
    world.ask(&Request::Attach { dom: "7".into(), timeout_ms: None }).unwrap();
    let mut stream = begin(&world, &follow("guest1"));
    assert!(stream.until(caught_up));
    drop(again);
}

/// `on_crash="preserve"`: the domain is there, and dead.
#[test]
fn a_guest_that_crashed_and_is_kept_is_read_to_its_end() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = channel(&world, &guest, "probe");
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(caught_up));
    event(&probe, 0, 0);
    probe.urgent(0);
    drop(guest);
    world.machine.crash(DomId(1));
    world.store.shut_down();
    stream.read_to_end();
    assert!(matches!(stream.last(), Frame::Gone(gone) if gone.reason == GoneReason::Crashed));
    for dom in ["1", "guest1"] {
        assert!(matches!(world.ask(&follow(dom)), Ok(Done::Saved(_))), "{dom}");
    }
    let alive =
        world.ask(&Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: false }).unwrap();
    assert!(matches!(alive, Done::Alive(alive) if !alive.alive && alive.because == Because::Crashed));
}

#[test]
fn a_daemon_that_stops_says_so_and_the_next_one_goes_on() {
    let mut world = World::new();
    let guest = world.add_attached(1);
    let probe = channel(&world, &guest, "probe");
    (0..5).for_each(|_| event(&probe, 0, 0));
    probe.urgent(0);
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(|stream| stream.seqs(probe.number(), 0).len() == 5));
    world.stop();
    stream.read_to_end();
    assert!(matches!(stream.last(), Frame::Gone(gone) if gone.reason == GoneReason::DaemonStopped));
    (0..5).for_each(|_| event(&probe, 0, 0));
    world.start().unwrap();
    eventually("the channel is there again", || {
        let Done::Channels(channels) = world.ask(&Request::Channels { dom: None }).unwrap() else { panic!() };
        channels.guests.iter().any(|guest| guest.channels.iter().any(|channel| channel.name == "probe"))
    });
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(|stream| stream.seqs(probe.number(), 0).last() == Some(&9)));
}

#[test]
fn a_guest_that_is_detached_ends_its_streams() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = channel(&world, &guest, "probe");
    event(&probe, 0, 0);
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(caught_up));
    world.ask(&Request::Detach { dom: "1".into(), force: true, timeout_ms: None }).unwrap();
    stream.read_to_end();
    assert!(stream.has(|frame| matches!(frame, Frame::End(end) if end.reason == EndReason::Detached)));
    assert!(matches!(stream.last(), Frame::Gone(gone) if gone.reason == GoneReason::Detached));
    // And attached again, its channel is there again.
    world.ask(&Request::Attach { dom: "1".into(), timeout_ms: None }).unwrap();
    event(&probe, 0, 0);
    let mut stream = begin(&world, &follow("1"));
    assert!(stream.until(|stream| !stream.seqs(probe.number(), 0).is_empty()));
}

#[test]
fn channels_are_listed_with_what_was_lost() {
    let world = World::new();
    let guest = world.add_attached(1);
    let _other = world.add_attached(2);
    let probe = channel(&world, &guest, "probe");
    let refused = write(&probe, 3000);
    share(&world, &guest, &ChannelSpec::new("foreign").global().owner(None));
    let ask = |dom: Option<&str>| {
        let asked = world.ask(&Request::Channels { dom: dom.map(str::to_owned) });
        asked.map(|done| if let Done::Channels(channels) = done { channels } else { panic!("{done:?}") })
    };
    // The frontend's timer shows what is there.
    eventually("the counts arrive", || {
        let channels = ask(None).unwrap();
        let [guest] = &channels.guests[..] else { panic!("guests that share nothing are not listed") };
        guest.channels[0].buffers[0].records == 3000
    });
    let guests = ask(Some("guest1")).unwrap().guests;
    let [probe, foreign] = &guests[0].channels[..] else { panic!("{guests:?}") };
    assert_eq!(
        (probe.name.as_str(), &probe.events[..]),
        ("probe", &["panic".to_owned(), "event".into()][..])
    );
    assert_eq!((probe.buffers[0].cpu, probe.buffers[0].dropped, probe.read), (Some(0), refused, true));
    assert_eq!((foreign.owner.as_str(), foreign.buffers.len(), foreign.buffers[0].cpu), ("", 1, None));
    assert!(ask(Some("2")).unwrap().guests[0].channels.is_empty());
    assert_eq!(ask(Some("9")).unwrap_err().kind, ErrorKind::NoSuchGuest);
    // The other one is read by the daemon itself, for its events.
    assert!(!foreign.read);
    let stream = begin(&world, &follow("1"));
    assert!(ask(Some("1")).unwrap().guests[0].channels[1].read);
    drop(stream);
    eventually("the reader is gone", || !ask(Some("1")).unwrap().guests[0].channels[1].read);
}

#[test]
fn a_guest_is_alive_until_it_is_not() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.relay().set_heartbeat(Duration::from_millis(20));
    let probe = channel(&world, &guest, "vesper_probe");
    let alive = |module: Option<&str>| -> Alive {
        let module = module.map(str::to_owned);
        match world.ask(&Request::Alive { dom: "1".into(), module, timeout_ms: None, now: false }) {
            Ok(Done::Alive(alive)) => alive,
            other => panic!("{other:?}"),
        }
    };
    // The beat that is due is still the first period's.
    eventually("it beats", || alive(None).because == Because::Beating);
    assert!(alive(None).alive);
    let module = alive(Some("probe"));
    assert_eq!((module.alive, module.module.as_ref().unwrap().channels.len()), (true, 1));
    assert_eq!((alive(Some("nosuch")).alive, alive(Some("nosuch")).because), (false, Because::NoModule));
    probe.record(0, 1, URGENT | FATAL, &1u64.to_le_bytes()).unwrap();
    eventually("the fatal record is seen", || alive(Some("vesper_probe")).because == Because::Fatal);
    let module = alive(Some("probe"));
    assert!(!module.alive);
    let request =
        Request::Alive { dom: "1".into(), module: Some("probe".into()), timeout_ms: None, now: false };
    assert_eq!(Client::connect(world.socket()).ask(&request, None).status(), 1);
    // A guest without a frontend is as alive as Xen says.
    world.add_bare_guest(2, "bare", 2);
    eventually("the guest is seen", || world.guest(2).is_some());
    let bare =
        world.ask(&Request::Alive { dom: "2".into(), module: None, timeout_ms: None, now: false }).unwrap();
    assert!(matches!(bare, Done::Alive(alive) if alive.alive && alive.because == Because::NotConnected));
}
