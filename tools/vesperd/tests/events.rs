// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to guests, through the real daemon's loop and the real frontend core, as events.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::events::{Fed, events, of_kind};
use support::{Client, World, eventually};
use vesper_api::{Because, Done, ErrorKind, Request};
use vesper_events::{End, Kept, Kind, Severity};
use vesper_grant::loopback::LoopGuest;
use vesper_grant::{DomId, ShutdownReason};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel};

const SCHEMA: &str = "panic! cpu:u32 message:str stack:str\n\
                      exit event=process-killed subject=pid pid:u32\n\
                      signal explains=process-killed subject=pid pid:u32 by:str\n\
                      plain n:u64\n\
                      oops event=guest-oops n:u32";
const URGENT: u16 = 1;
const FATAL: u16 = 2;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn panic() -> Vec<u8> {
    [&1u32.to_le_bytes()[..], &text("no\u{1b}[2J init"), &text("a+0x1\nb+0x2\n")].concat()
}

/// A guest with a probe in it.
fn probed(world: &World, domid: u16) -> (LoopFrontend, RelayChannel) {
    let guest = world.add_attached(domid);
    let channel = guest.relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    eventually("its clock is known", || {
        let asked = world.ask(&Request::Channels { dom: Some(domid.to_string()) });
        matches!(asked, Ok(Done::Channels(channels)) if channels.guests[0].clock_error_ns.is_some())
    });
    (guest, channel)
}

/// Two of these are never one.
fn oops(channel: &RelayChannel, number: u32) {
    channel.record(0, 5, URGENT, &number.to_le_bytes()).unwrap();
}

fn exits(channel: &RelayChannel, pid: u32) {
    channel.record(0, 2, URGENT, &pid.to_le_bytes()).unwrap();
}

#[test]
fn a_panic_is_one_event_with_all_that_is_known() {
    let world = World::new();
    let (guest, probe) = probed(&world, 1);
    let mut fed = Fed::follow(&world, 0);
    guest.relay().last_words(Some(&probe), 1, &panic()).unwrap();
    let first = fed.until(Kind::GuestPanic);
    assert_eq!(
        (first.severity, first.guest.name.as_str(), first.guest.domid),
        (Severity::Fatal, "guest1", 1)
    );
    assert_eq!(first.cause, "panic cpu=1 message=\"no\\x1b[2J init\"");
    assert_eq!(first.stack, ["a+0x1", "b+0x2"]);
    assert_eq!(first.boot_id.as_ref().map(String::len), Some(32));
    let source = first.source.as_ref().unwrap();
    assert!(source.last_words && source.channel == "probe" && first.error_ns.is_some());

    probe.record(1, 1, URGENT | FATAL, &panic()).unwrap();
    world.machine.crash(DomId(1));
    world.store.shut_down();
    // Whoever is slow hears only of the newest.
    let saved = std::iter::from_fn(|| fed.next()).find(|event| event.saved.is_some()).unwrap();
    assert_eq!((saved.fault, saved.end), (first.fault, Some(End::Crashed)));
    assert!(saved.saved.as_ref().unwrap().join("stream.vsp").exists());
    // Whoever asks now is told once.
    let all = events(&world);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0], saved);
    // Destroyed at last: nothing new.
    world.destroy(1, Some(guest));
    eventually("it is gone", || world.guest(1).is_none());
    assert_eq!(events(&world).len(), 1);
}

#[test]
fn how_a_domain_ends_is_an_event() {
    let world = World::new();
    let table = [
        (1, "crash", Kind::GuestCrashed, End::Crashed, Severity::Fatal),
        (2, "shutdown", Kind::GuestGone, End::PoweredOff, Severity::Info),
        (3, "destroy", Kind::GuestGone, End::Destroyed, Severity::Fatal),
    ];
    let mut fed = Fed::follow(&world, 0);
    for (domid, what, kind, how, severity) in table {
        let _guest: LoopGuest = world.add_bare_guest(domid, what, domid as u8);
        eventually("the guest is seen", || world.guest(domid).is_some());
        match how {
            End::Crashed => world.machine.crash(DomId(domid)),
            End::Destroyed => world.destroy(domid, None),
            _ => world.machine.shut_down(DomId(domid), ShutdownReason::Poweroff),
        }
        world.store.shut_down();
        let event = fed.until(kind);
        assert_eq!((event.end, event.severity), (Some(how), severity), "{what}");
        assert_eq!(event.guest.name, what);
    }
}

#[test]
fn a_killed_process_is_told_with_its_killer() {
    let world = World::new();
    let (_guest, probe) = probed(&world, 1);
    let mut fed = Fed::follow(&world, 0);
    let signal = [&7u32.to_le_bytes()[..], &text("bash")].concat();
    probe.record(0, 3, 0, &signal).unwrap();
    probe.record(0, 4, 0, &[0; 8]).unwrap();
    exits(&probe, 7);
    let event = fed.until(Kind::ProcessKilled);
    assert_eq!(event.cause, "exit pid=7; signal pid=7 by=\"bash\"");
    assert_eq!((event.subject.as_deref(), event.source.unwrap().seq), (Some("pid=7"), 2));
}

#[test]
fn events_are_asked_for_by_guest_and_serial() {
    let world = World::new();
    let (one, two) = (probed(&world, 1), probed(&world, 2));
    exits(&one.1, 1);
    eventually("it is told", || events(&world).len() == 1);
    exits(&two.1, 2);
    eventually("it is told", || events(&world).len() == 2);
    let ask = |dom: Option<&str>, since| {
        let request = Request::Events { dom: dom.map(str::to_owned), since, follow: false };
        Fed::begin(&world, &request).map(|fed| fed.rest().iter().map(|event| event.guest.domid).collect())
    };
    assert_eq!(ask(None, 0), Ok(vec![1, 2]));
    assert_eq!(ask(None, 1), Ok(vec![2]));
    assert_eq!(ask(None, 2), Ok(vec![]));
    assert_eq!(ask(Some("guest2"), 0), Ok(vec![2]));
    assert_eq!(ask(Some("1"), 0), Ok(vec![1]));
    assert_eq!(ask(Some("guest9"), 0).unwrap_err().kind, ErrorKind::NoSuchGuest);
    // Also of one that is gone, by name and UUID.
    world.destroy(2, Some(two.0));
    eventually("it is gone", || of_kind(&world, Kind::GuestGone).len() == 1);
    assert_eq!(ask(Some("guest2"), 0), Ok(vec![2, 2]));
    assert_eq!(ask(Some("02020202-0202-0202-0202-020202020202"), 0), Ok(vec![2, 2]));
    assert_eq!(ask(Some("2"), 0).unwrap_err().kind, ErrorKind::NoSuchGuest, "a number is another's some day");
    // One that follows is told at once.
    let mut fed = Fed::follow(&world, 2);
    assert_eq!(fed.next().unwrap().event, Kind::GuestGone);
    exits(&one.1, 3);
    assert_eq!(fed.until(Kind::ProcessKilled).guest.domid, 1);
}

#[test]
fn a_restarted_daemon_remembers_and_tells_nothing_twice() {
    let mut world = World::new();
    let (guest, probe) = probed(&world, 1);
    (0..3).for_each(|number| oops(&probe, number));
    eventually("they are told", || events(&world).len() == 3);
    let before = events(&world);
    world.stop();
    // While nobody is there.
    oops(&probe, 3);
    world.start().unwrap();
    let mut fed = Fed::follow(&world, before[2].serial);
    assert_eq!(fed.until(Kind::GuestOops).cause, "oops n=3");
    oops(&probe, 4);
    assert_eq!(fed.until(Kind::GuestOops).cause, "oops n=4");
    let after = events(&world);
    assert_eq!((&after[..3], after.len()), (&before[..], 5));
    drop(guest);
}

#[test]
fn a_guest_that_hangs_and_one_that_is_paused() {
    let mut world = World::with(|config| config.events.watch = Some(Duration::from_millis(50)));
    let (guest, _probe) = probed(&world, 1);
    // Nobody wanted to hear of this one's faults, so it wakes nobody.
    let other = world.add_attached(2);
    let mut fed = Fed::follow(&world, 0);
    for guest in [&guest, &other] {
        guest.relay().set_heartbeat(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    other.relay().set_hung(0, true);
    guest.relay().set_hung(0, true);
    let hung = fed.until(Kind::GuestHung);
    assert_eq!(hung.cause, "vCPU 0 has the time to beat and has not beaten");
    guest.relay().set_hung(0, false);
    let again = fed.until(Kind::GuestHung);
    assert!(again.recovered && again.fault == hung.fault);
    world.machine.set_paused(DomId(1), true);
    let paused = fed.until(Kind::GuestPaused);
    assert_eq!(paused.severity, Severity::Info);
    world.machine.set_paused(DomId(1), false);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(events(&world).len(), 2);
    // The next daemon looks, too.
    world.stop();
    world.start().unwrap();
    let mut fed = Fed::follow(&world, paused.serial);
    std::thread::sleep(Duration::from_millis(500));
    guest.relay().set_hung(0, true);
    assert_ne!(fed.until(Kind::GuestHung).fault, hung.fault);
}

/// Whoever takes the guest over does not know what was told of it, but the journal does.
#[test]
fn a_hang_that_ends_while_nobody_looks_is_over() {
    let mut world = World::with(|config| config.events.watch = Some(Duration::from_millis(50)));
    let (guest, _probe) = probed(&world, 1);
    guest.relay().set_heartbeat(Duration::from_millis(50));
    let mut fed = Fed::follow(&world, 0);
    let mut hang = || {
        guest.relay().set_hung(0, true);
        std::iter::from_fn(|| fed.next()).find(|event| event.event == Kind::GuestHung && !event.recovered)
    };
    let hung = hang().unwrap();
    let request = Request::Detach { dom: "1".into(), force: true, timeout_ms: None };
    world.ask(&request).unwrap();
    guest.relay().set_hung(0, false);
    world.ask(&Request::Attach { dom: "1".into(), timeout_ms: None }).unwrap();
    let request = Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: true };
    let is_well = |world: &World| match world.ask(&request) {
        Ok(Done::Alive(answer)) => answer.alive && answer.because == Because::Beating,
        other => panic!("{other:?}"),
    };
    eventually("it beats again when it is attached again", || is_well(&world));
    let again = hang().unwrap();
    assert_ne!(again.fault, hung.fault);
    world.stop();
    guest.relay().set_hung(0, false);
    world.start().unwrap();
    eventually("it beats again when there is a daemon again", || is_well(&world));
    let last = of_kind(&world, Kind::GuestHung).pop().unwrap();
    assert!(last.recovered && last.fault == again.fault, "{last:?}");
}

#[test]
fn a_probe_that_is_lost_is_told_unless_somebody_asked_for_it() {
    let world = World::new();
    let (guest, probe) = probed(&world, 1);
    let other = guest.relay().export(&ChannelSpec::new("plain").schema("plain n:u64")).unwrap();
    let mut fed = Fed::follow(&world, 0);
    // It tells of nothing, so nothing is lost with it.
    assert!(other.stop());
    exits(&probe, 1);
    assert!(probe.stop());
    assert_eq!(fed.until(Kind::ProcessKilled).guest.domid, 1, "what it recorded last is told first");
    let lost = fed.until(Kind::ProbeLost);
    assert_eq!((lost.subject.as_deref(), lost.severity), (Some("channel=probe"), Severity::Warning));
    assert_eq!(of_kind(&world, Kind::ProbeLost).len(), 1);

    let _other = guest.relay().export(&ChannelSpec::new("second").schema(SCHEMA)).unwrap();
    world.ask(&Request::Detach { dom: "1".into(), force: true, timeout_ms: None }).unwrap();
    world.ask(&Request::Attach { dom: "1".into(), timeout_ms: None }).unwrap();
    assert_eq!(of_kind(&world, Kind::ProbeLost).len(), 1, "it was detached by hand");
}

/// A guest that makes as many events as it can: others are told of at once, and what is not told is counted.
#[test]
fn a_storm_holds_nobody_up() {
    let world = World::new();
    let (storm, quiet) = (probed(&world, 1), probed(&world, 2));
    let mut fed = Fed::follow(&world, 0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut made = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                made += u64::from(storm.1.record(0, 2, 0, &(made as u32).to_le_bytes()).is_ok());
            }
            storm.1.urgent(0);
            made
        });
        for pid in 0..5 {
            std::thread::sleep(Duration::from_millis(200));
            exits(&quiet.1, pid);
            let sent = Instant::now();
            while fed.until(Kind::ProcessKilled).guest.domid != 2 {}
            assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        flood.join().unwrap()
    });
    world.destroy(1, Some(storm.0));
    eventually("all is counted", || {
        let of_it = events(&world).into_iter().filter(|event| event.guest.domid == 1);
        of_it.map(|event| 1 + event.suppressed).sum::<u64>() > made
    });
    let told = events(&world).len();
    assert!(told < 100, "{told} events");
}

/// Without a place to write, events go out all the same; once there is one, they are written down.
#[test]
fn a_journal_that_cannot_be_written_costs_only_what_it_is_for() {
    let mut file = PathBuf::new();
    let world = World::with(|config| {
        file = config.socket.with_file_name("in-the-way");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        config.events.journal_dir = file.join("events");
    });
    let (_guest, probe) = probed(&world, 1);
    exits(&probe, 1);
    eventually("it is told", || events(&world).len() == 1);
    fs::remove_file(&file).unwrap();
    exits(&probe, 2);
    let kept = || Kept::read(&file.join("events"));
    eventually("the next one is written", || kept().events.iter().map(|event| event.serial).eq([2]));
    assert_eq!(kept().places.len(), 1, "and what was looked at before");
}

#[test]
fn a_client_that_does_not_read_or_goes_away_costs_nobody_else() {
    let world = World::new();
    let mut client = Client::connect(world.socket());
    let request = Request::Events { dom: None, since: 0, follow: true };
    assert_eq!(client.ask(&request, None).status(), 0);
    let (_guest, probe) = probed(&world, 1);
    exits(&probe, 1);
    eventually("others are served", || events(&world).len() == 1);
    drop(client);
    exits(&probe, 2);
    eventually("and go on to be", || events(&world).len() == 2);
}

#[test]
fn who_asks_for_an_answer_at_once_gets_one_with_the_faults() {
    let world = World::new();
    let (guest, probe) = probed(&world, 1);
    let now = || {
        let asked = Instant::now();
        let request = Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: true };
        let Ok(Done::Alive(answer)) = world.ask(&request) else { panic!("no answer") };
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        (answer.alive, answer.because, answer.faults)
    };
    let module = Some("probe".to_owned());
    let both = world.ask(&Request::Alive { dom: "1".into(), module, timeout_ms: None, now: true });
    assert_eq!(both.unwrap_err().kind, ErrorKind::BadRequest);
    // The heartbeat is of half a second; nobody waits for it.
    let first = now();
    assert!(first.0 && first.2.is_empty(), "{first:?}");
    oops(&probe, 3);
    exits(&probe, 9);
    eventually("the oops counts", || !now().2.is_empty());
    let (alive, _, faults) = now();
    assert!(alive && faults.len() == 1, "{faults:?}");
    assert_eq!((faults[0].event.as_str(), faults[0].severity.as_str()), ("guest-oops", "error"));
    // The guest's kernel goes on for a while, as with panic=10.
    guest.relay().last_words(Some(&probe), 1, &panic()).unwrap();
    eventually("the end counts", || !now().0);
    let (_, because, faults) = now();
    assert_eq!((because, faults.last().unwrap().event.as_str()), (Because::Fatal, "guest-panic"));
    world.machine.crash(DomId(1));
    world.store.shut_down();
    eventually("Xen says so", || now().1 == Because::Crashed);
    assert!(!now().0);
}

#[test]
fn a_guest_without_a_probe_that_is_asked_about_is_looked_at() {
    let world = World::with(|config| config.events.watch = Some(Duration::from_millis(50)));
    let guest = world.add_attached(1);
    guest.relay().set_heartbeat(Duration::from_millis(20));
    let request = Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: true };
    let now = || match world.ask(&request) {
        Ok(Done::Alive(answer)) => answer,
        other => panic!("{other:?}"),
    };
    eventually("it beats", || now().because == Because::Beating);
    guest.relay().set_hung(0, true);
    eventually("it hangs", || !now().alive);
    assert_eq!((now().because, now().faults[0].event.as_str()), (Because::Hung, "guest-hung"));
    guest.relay().set_hung(0, false);
    eventually("it goes on", || now().alive && now().faults.is_empty());
}
