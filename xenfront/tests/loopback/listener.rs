// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's connection: nodes, exports that come, go and are announced anew, a host that is slow or wrong.

use std::thread;
use std::time::{Duration, Instant};

use vesper_ring::wire::listener::{Answer, WORDS};
use vesper_xenfront::loopback::{ChannelSpec, FakeKernel, LoopFrontend};
use vesper_xenstore::{Store, Tx, read_opt};

use crate::bench::{Bench, FRONT, guest_store, until};
use crate::host::{Ear, read};

/// Grants of a connection without an export: the loader's ring, the listener's, heartbeat and last words.
const QUIET: usize = 2 + 1 + WORDS;

fn close(bench: &Bench, ear: Ear) {
    bench.set_state(5);
    bench.wait_front(6);
    drop(ear);
    bench.set_state(6);
}

fn wait_grants(bench: &Bench, count: usize) {
    until(&format!("{count} grants"), || (bench.guest.active_grants() == count).then_some(()));
}

#[test]
fn a_backend_without_a_listener_is_not_told_of_one() {
    let (bench, front) = Bench::new();
    let node = |name: &str| read_opt(&bench.store, Tx::NONE, &format!("{FRONT}/{name}")).unwrap();
    bench.make_nodes();
    bench.set_state(2);
    bench.wait_front(3);
    assert!(node("loader-ring-ref0").is_some());
    assert!(node("listener-ring-ref0").is_none() && node("listener-words-ref7").is_none());
    assert_eq!(bench.guest.active_grants(), 1);
    // Channels wait for one that has.
    let channel = front.relay().export(&ChannelSpec::new("waits")).unwrap();
    bench.set_state(5);
    bench.wait_front(6);
    bench.set_state(6);
    let mut ear = bench.listen();
    let (export, _mirror) = ear.take();
    assert_eq!(export.export, channel.number());

    // The nodes do not outlive it.
    close(&bench, ear);
    bench.feature("feature-listener", 0);
    bench.set_state(2);
    bench.wait_front(3);
    let names = ["ring-ref0", "event-channel", "heartbeat-ref", "words-ref0", "words-ref7"];
    assert!(names.iter().all(|name| node(&format!("listener-{name}")).is_none()));
}

#[test]
fn the_first_words_are_of_time_on_the_guests_clock() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    front.relay().set_clock_offset(-5_000_000);
    let before = front.relay().clock();
    let mut ear = bench.listen();
    ear.hear_time();
    let now = front.relay().clock();
    assert_eq!((ear.times[0].1, ear.times[0].2), (0, 0));
    for pair in ear.times.windows(2) {
        let ((sent, ..), (next, prev_sent, prev_got)) = (pair[0], pair[1]);
        assert!(before <= sent && sent == prev_sent && sent <= prev_got && prev_got <= next && next <= now);
    }
}

#[test]
fn a_stop_waits_until_the_host_has_taken_what_is_unread() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    let mut reader = mirror.reader();
    channel.write(0, b"last").unwrap();
    thread::scope(|scope| {
        let stopped = scope.spawn(|| channel.stop());
        assert_eq!(ear.leave(), channel.number());
        assert_eq!(channel.write(0, b"too late").unwrap_err().status(), -2);
        assert!(mirror.channel.update().ended, "positions are final");
        mirror.channel.close();
        assert!(!stopped.is_finished());
        ear.done(0);
        assert!(stopped.join().unwrap());
    });
    assert_eq!(bench.guest.active_grants(), QUIET);
    assert_eq!(read(&mut reader, 0).0, b"last");
    assert!(channel.stop(), "once more changes nothing");

    // The name is free again, the number is not.
    let (again, _mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    assert_ne!(again.number(), channel.number());
}

#[test]
fn a_host_that_does_not_answer_holds_the_guest_up_for_a_second_at_most() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (first, mirror) = ear.open(&front, &ChannelSpec::new("first"));
    let took = |act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        start.elapsed()
    };
    let second = Duration::from_millis(900)..Duration::from_secs(4);
    let time = took(&mut || assert!(!first.stop()));
    assert!(second.contains(&time), "{time:?}");
    let mut late = None;
    let time = took(&mut || late = Some(front.relay().export(&ChannelSpec::new("second")).unwrap()));
    assert!(second.contains(&time), "{time:?}");
    assert!(bench.guest.active_grants() > QUIET, "the host still has the first");

    // When it does answer, all is well; what it still maps then ends when it lets go.
    assert_eq!(ear.leave(), first.number());
    ear.done(0);
    let (export, other) = ear.take();
    assert_eq!(export.export, late.unwrap().number());
    drop(other);
    assert!(bench.guest.active_grants() > QUIET);
    drop(mirror);
    assert_eq!(front.relay().exports(), ["second"]);
    close(&bench, ear);
    wait_grants(&bench, 0);
}

#[test]
fn what_the_host_refuses_fails_and_leaves_nothing() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    for status in [-17, -28, -22] {
        thread::scope(|scope| {
            let refused = scope.spawn(|| front.relay().export(&ChannelSpec::new("probe")));
            ear.offer();
            ear.done(status);
            assert_eq!(refused.join().unwrap().unwrap_err().status(), status);
        });
        wait_grants(&bench, QUIET);
        assert!(front.relay().exports().is_empty());
    }
}

#[test]
fn what_the_host_does_not_take_is_not_offered() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    bench.feature("listener-max-pages", 40);
    bench.feature("listener-max-exports", 2);
    let mut ear = bench.listen();
    let errno = |spec: &ChannelSpec| front.relay().export(spec).unwrap_err().status();
    assert_eq!(errno(&ChannelSpec::new("big").sizes(4096, 21)), -28);
    let (_one, mirror) = ear.open(&front, &ChannelSpec::new("one"));
    assert_eq!(mirror.info.geometry().data_pages(), 16);
    assert_eq!(errno(&ChannelSpec::new("one")), -17);
    let (two, _mirror) = ear.open(&front, &ChannelSpec::new("two").cpus(&[0]));
    assert_eq!(errno(&ChannelSpec::new("three").sizes(16, 1)), -28, "two exports");
    assert_eq!((two.add_cpu(1), two.add_cpu(2)), (Ok(()), Ok(())));
    assert_eq!(two.add_cpu(3).unwrap_err().status(), -28, "40 pages");
    for bad in [
        ChannelSpec::new("a/b"),
        ChannelSpec::new("x").sizes(0, 4),
        ChannelSpec::new("x").sizes(33 << 20, 1),
        ChannelSpec::new("x").cpus(&[1, 0]),
        ChannelSpec::new("x").schema(&"x".repeat(16385)),
    ] {
        assert_eq!(errno(&bad), -22, "{bad:?}");
    }
}

#[test]
fn a_new_connection_is_given_every_channel_again_and_reads_on() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("probe").sizes(16, 4).cpus(&[0]));
    let mut reader = mirror.reader();
    for n in 0..3 {
        channel.write(0, &[n; 16]).unwrap();
    }
    mirror.channel.update();
    assert_eq!(read(&mut reader, 0).0.len(), 32);
    mirror.channel.arm();
    let after_two = channel.consumed(0).consumed;
    assert_eq!(after_two, 2);
    drop((reader, mirror));
    for how in ["closed", "migrated"] {
        if how == "closed" {
            close(&bench, ear);
        } else {
            drop(ear);
            bench.store.remove(Tx::NONE, crate::bench::BACK).unwrap();
            bench.make_nodes();
            front.resume();
        }
        ear = bench.listen();
        let (export, mirror) = ear.take();
        assert_eq!((export.export, channel.consumed(0).consumed), (channel.number(), 2), "{how}");
        channel.urgent(0);
        mirror.channel.update();
        assert!(read(&mut mirror.reader(), 0).0.ends_with(&[2; 16]), "{how}");
    }
}

#[test]
fn a_channel_that_a_later_host_refuses_is_offered_to_the_next() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    drop(mirror);
    close(&bench, ear);
    let mut ear = bench.listen();
    ear.offer();
    assert!(bench.guest.active_grants() > QUIET);
    ear.done(-28);
    wait_grants(&bench, QUIET);
    channel.write(0, b"all the same").unwrap();
    close(&bench, ear);
    let (export, mirror) = bench.listen().take();
    assert_eq!(export.export, channel.number());
    channel.urgent(0);
    mirror.channel.update();
    assert_eq!(read(&mut mirror.reader(), 0).0, b"all the same");
}

#[test]
fn a_stop_while_nobody_is_connected_is_at_once() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let channel = front.relay().export(&ChannelSpec::new("early")).unwrap();
    assert!(channel.stop());
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    drop(mirror);
    close(&bench, ear);
    let start = Instant::now();
    assert!(channel.stop() && start.elapsed() < Duration::from_millis(900));
    assert!(front.relay().exports().is_empty());
}

#[test]
fn the_end_of_the_connection_ends_a_stop_that_waits() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, _mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    thread::scope(|scope| {
        let stopped = scope.spawn(|| channel.stop());
        ear.leave();
        bench.set_state(5);
        assert!(stopped.join().unwrap());
    });
}

#[test]
fn a_broken_protocol_on_the_listeners_ring_closes_the_device() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    ear.any();
    ear.answer(&Answer::Done { status: 0 }); // to a TIME
    bench.wait_front(5);
    let channel = front.relay().export(&ChannelSpec::new("meanwhile")).unwrap();
    close(&bench, ear);
    let (export, _mirror) = bench.listen().take();
    assert_eq!(export.export, channel.number());
}

#[test]
fn a_deaf_guest_says_nothing_and_its_probes_go_on() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (channel, mirror) = ear.open(&front, &ChannelSpec::new("probe"));
    let mut reader = mirror.reader();
    ear.hear_time();
    front.kernel().set_deaf(true);
    let other = ChannelSpec::new("other");
    thread::scope(|scope| {
        let late = scope.spawn(|| front.relay().export(&other));
        channel.write(0, b"said").unwrap();
        channel.urgent(0);
        mirror.channel.update();
        assert_eq!(read(&mut reader, 0).0, b"said");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(ear.try_asked(), None);
        front.kernel().set_deaf(false);
        let (export, _mirror) = ear.take();
        assert_eq!(export.export, late.join().unwrap().unwrap().number());
    });
}

#[test]
fn unloading_the_frontend_gives_every_page_back() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut ear = bench.listen();
    let (_channel, mirror) = ear.open(&front, &ChannelSpec::new("left"));
    front.unload();
    assert_eq!(bench.front_state(), 6);
    assert!(bench.guest.active_grants() > 0, "the host still maps them");
    drop((ear, mirror));
    wait_grants(&bench, 0);
    bench.set_state(6);
    let front = LoopFrontend::start(bench.guest.clone(), guest_store(&bench.store), FakeKernel::new());
    bench.wait_front(1);
    let mut ear = bench.listen();
    assert!(front.relay().exports().is_empty());
    ear.open(&front, &ChannelSpec::new("left"));
}
