// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real command over events.

#[path = "../../vesperd/tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::events::of_kind;
use support::{World, eventually};
use vesper_events::{Event, Kind};
use vesper_xenfront::loopback::{ChannelSpec, RelayChannel};

const SCHEMA: &str = "panic! cpu:u32 message:str stack:str\nexit event=process-killed subject=pid pid:u32\n";

fn command(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vesper"));
    command.env("VESPER_SOCKET", world.socket()).args(args).stdin(Stdio::null());
    command
}

fn vesper(world: &World, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(world, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

fn panics(channel: &RelayChannel) {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    let payload = [&0u32.to_le_bytes()[..], &text("gone \u{1b}[2J"), &text("panic+0x1\ndo_exit+0x2\n")];
    channel.record(0, 1, 3, &payload.concat()).unwrap();
}

#[test]
fn events_are_shown_and_followed() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = guest.relay().export(&ChannelSpec::new("probe").schema(SCHEMA)).unwrap();
    panics(&probe);
    eventually("it is told", || of_kind(&world, Kind::GuestPanic).len() == 1);
    let (status, out, err) = vesper(&world, &["events"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let (time, line) = out.split_once(' ').unwrap();
    assert!(time.ends_with('Z'), "{out}");
    assert_eq!(
        line,
        "#1 guest1 (1) guest-panic (fatal): panic cpu=0 message=\"gone \\x1b[2J\"\n    stack:\n      panic+0x1\n      \
         do_exit+0x2\n"
    );
    let mut follow = command(&world, &["events", "guest1", "-f", "--json", "--since", "1"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    world.machine.crash(vesper_grant::DomId(1));
    world.store.shut_down();
    let mut next = || {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it goes on");
        vesper_api::from_line::<Event>(line.as_bytes()).expect(&line)
    };
    // Whoever is slow hears only of the newest.
    let saved = loop {
        let event = next();
        assert_eq!((event.fault, event.event), (1, Kind::GuestPanic));
        if let Some(dir) = event.saved {
            break dir;
        }
    };
    kill(Pid::from_raw(follow.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(follow.wait().unwrap().code(), Some(0));
    let (_, out, _) = vesper(&world, &["events"]);
    let notes = format!(
        "    more about #1\n    the domain crashed\n    what it recorded last: vesper replay {}\n",
        saved.display()
    );
    assert!(out.contains(&notes), "{out}");
    let (status, _, err) = vesper(&world, &["events", "nosuch"]);
    assert!(status == 3 && err.contains("there is no guest nosuch"), "{status} {err}");
}

#[test]
fn a_daemon_that_stops_ends_what_follows_with_an_error() {
    let mut world = World::new();
    let mut follow = command(&world, &["events", "--follow"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is connected", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", follow.id())).unwrap().flatten();
        // Signals, too: it has its reply.
        open.filter(|fd| fd.path().read_link().is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
            .count()
            >= 3
    });
    world.stop();
    let Output { status, stderr, .. } = follow.wait_with_output().unwrap();
    let err = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(4) && err.contains("systemctl start vesperd"), "{status} {err}");
}
