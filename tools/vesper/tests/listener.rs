// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real command over what guests record: probe, channels, tail, record, replay, alive.

#[path = "../../vesperd/tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{VERMAGIC, World, eventually, module_with};
use vesper_api::{Done, Reply, Request};
use vesper_xenfront::loopback::{ChannelSpec, LoopFrontend, RelayChannel, Work};

const SCHEMA: &str = "panic! cpu:u32 message:str stack:str\nsignal pid:u32 comm:str by:s32 at:x64\n";

struct Run {
    status: i32,
    out: String,
    err: String,
}

fn command(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vesper"));
    command
        .env("VESPER_SOCKET", world.socket())
        .current_dir(world.dir.path())
        .args(args)
        .stdin(Stdio::null());
    command
}

fn vesper(world: &World, args: &[&str]) -> Run {
    let output = command(world, args).output().unwrap();
    Run {
        status: output.status.code().expect("it exits"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that goes on, killed with the test.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut child = command(world, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for a line with this in it.
    fn line(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended before {wanted:?} came");
            if line.contains(wanted) {
                return line;
            }
        }
    }

    fn stop(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
    }

    /// What it has written since, and its status.
    fn end(mut self) -> Run {
        let (mut out, mut err) = (String::new(), String::new());
        self.lines.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Run { status: self.child.wait().unwrap().code().expect("it exits"), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails when it has ended.
        let _ = self.child.kill();
    }
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

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn signal(channel: &RelayChannel, cpu: u16, pid: u32, flags: u16) {
    let payload =
        [&pid.to_le_bytes()[..], &text("nginx\u{1b}[2J"), &(-9i32).to_le_bytes(), &[0xab; 8]].concat();
    channel.record(cpu, 2, flags, &payload).unwrap();
}

fn panics(channel: &RelayChannel) {
    let payload =
        [&0u32.to_le_bytes()[..], &text("Attempted to kill init!"), &text("panic+0x1\ndo_exit+0x2\n")];
    channel.record(0, 1, 3, &payload.concat()).unwrap();
}

#[test]
fn tail_shows_what_was_recorded_and_what_comes() {
    let world = World::new();
    let guest = world.add_attached(3);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    signal(&probe, 0, 10, 0);
    signal(&probe, 1, 11, 0);
    signal(&probe, 0, 12, 1);
    probe.urgent(1);
    let run = vesper(&world, &["tail", "guest3"]);
    assert_eq!((run.status, run.err.as_str()), (0, ""), "{}", run.out);
    let lines: Vec<_> = run.out.lines().collect();
    assert_eq!(lines[0], "- guest3 probe -- channel of probe, 2 buffers");
    let fields = "by=-9 at=0xabababababababab";
    for (line, record) in lines[1..].iter().zip([
        format!(" guest3 probe cpu0 signal pid=10 comm=\"nginx\\x1b[2J\" {fields}"),
        format!(" guest3 probe cpu1 signal pid=11 comm=\"nginx\\x1b[2J\" {fields}"),
        format!(" guest3 probe cpu0 signal pid=12 comm=\"nginx\\x1b[2J\" {fields}"),
    ]) {
        assert!(line.ends_with(&record), "{line}\n{record}");
    }

    let mut tail = Running::start(&world, &["tail", "3/probe", "-f", "--since", "now"]);
    tail.line("channel of probe");
    panics(&probe);
    tail.line(" guest3 probe cpu0 panic! cpu=0 message=\"Attempted to kill init!\"");
    assert_eq!(tail.line("stack:"), "    stack:\n");
    assert_eq!(tail.line("panic"), "      panic+0x1\n");
    // Neither urgent nor old.
    tail.line("do_exit");
    signal(&probe, 0, 13, 0);
    probe.urgent(0);
    tail.line("pid=13");
    tail.stop();
    let run = tail.end();
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn tail_says_what_is_wrong_with_what_it_was_asked() {
    let world = World::new();
    let guest = world.add_attached(1);
    share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    world.add_bare_guest(2, "bare", 2);
    eventually("the guest is seen", || world.guest(2).is_some());
    let table: &[(i32, &[&str], &str)] = &[
        (3, &["tail", "9"], "there is no guest 9"),
        (3, &["tail", "bare"], "bare (2) is not attached"),
        (3, &["tail", "1/nosuch"], "shares no channel nosuch; it shares: probe"),
        (2, &["tail", "1", "--format", "raw"], "1/NAME"),
        (2, &["tail"], "Usage"),
        (2, &["tail", "1", "--since", "tomorrow"], "boot"),
        (2, &["replay", "nowhere"], "nowhere: No such file"),
        (2, &["replay", "."], "has no recording in it"),
        (2, &["record", "1"], "--output"),
        (2, &["record", "1", "-o", "x", "--size-limit", "1M"], "16777216"),
        (3, &["record", "9", "-o", "x"], "there is no guest 9"),
        (3, &["channels", "9"], "there is no guest 9"),
        (3, &["alive", "9"], "there is no guest 9"),
        (2, &["alive", "1", "a/b"], "holds a character"),
        (2, &["probe", "1", "../x"], "is no name"),
        (2, &["probe", "1"], "Usage"),
        (2, &["probes", "--dir", "nowhere"], "nowhere: No such file"),
        (2, &["unprobe", "1", "panic"], "no probes panic are in guest1; loaded through VESPER: none"),
    ];
    for (status, args, wanted) in table {
        let run = vesper(&world, args);
        assert_eq!(run.status, *status, "{args:?}: {}{}", run.out, run.err);
        assert!(run.err.contains(wanted), "{args:?}: {wanted:?} is not in\n{}", run.err);
        if args[0] != "replay" && run.status == 3 {
            let json = vesper(&world, &[args, &["--json"][..]].concat());
            let reply: Reply = vesper_api::from_line(json.out.as_bytes()).unwrap();
            assert_eq!(i32::from(reply.status()), *status, "{args:?}");
        }
    }
}

#[test]
fn json_is_one_object_a_line() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    panics(&probe);
    for args in [&["tail", "1", "--json"][..], &["tail", "1", "--format", "json"]] {
        let run = vesper(&world, args);
        assert_eq!(run.status, 0, "{}", run.err);
        let lines: Vec<serde_json::Value> =
            run.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines[0]["item"], "started");
        let record = &lines[1];
        assert_eq!(
            (&record["item"], &record["event"], &record["fatal"]),
            (&"record".into(), &"panic".into(), &true.into())
        );
        assert_eq!(record["fields"]["stack"], "panic+0x1\ndo_exit+0x2\n");
        assert_eq!(
            (&record["domid"], &record["guest"], &record["cpu"]),
            (&1.into(), &"guest1".into(), &0.into())
        );
        assert_eq!(record["uuid"], "01010101-0101-0101-0101-010101010101");
        assert_eq!(record["boot_id"].as_str().map(str::len), Some(32));
    }
}

#[test]
fn raw_is_what_the_module_wrote() {
    let world = World::new();
    let guest = world.add_attached(1);
    let foreign = share(&world, &guest, &ChannelSpec::new("theirs").cpus(&[0]));
    foreign.write(0, b"one\n").unwrap();
    foreign.write(0, b"\0two\xff").unwrap();
    foreign.urgent(0);
    let output = command(&world, &["tail", "1/theirs", "--format", "raw"]).output().unwrap();
    assert_eq!(output.stdout, b"one\n\0two\xff");
    let run = vesper(&world, &["tail", "1/theirs"]);
    assert!(run.out.contains(" theirs cpu0 9 bytes\n    000000 6f 6e 65 0a 00 74 77 6f ff\n"), "{}", run.out);
}

#[test]
fn what_was_recorded_can_be_replayed() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    (0..5).for_each(|pid| signal(&probe, 0, pid, 1));
    let mut record = Running::start(&world, &["record", "1", "-o", "rec/one"]);
    let file = world.dir.path().join("rec/one/stream.vsp");
    let has = |bytes: &[u8]| {
        fs::read(&file).is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes))
    };
    eventually("what was there is recorded", || has(b"caught-up"));
    (5..8).for_each(|pid| signal(&probe, 1, pid, 1));
    eventually("what came is recorded", || {
        has(&[&7u32.to_le_bytes()[..], &text("nginx\u{1b}[2J")[..2]].concat())
    });
    record.stop();
    let run = record.end();
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.starts_with("recorded guest1 (1) into rec/one: "), "{}", run.out);
    assert!(run.err.contains("end it with ^C"), "{}", run.err);

    let replay = vesper(&world, &["replay", "rec/one"]);
    assert_eq!((replay.status, replay.err.as_str()), (0, ""));
    let pids: Vec<_> = replay.out.split("pid=").skip(1).map(|rest| rest.split(' ').next().unwrap()).collect();
    assert_eq!(pids, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let tail = vesper(&world, &["tail", "1"]);
    let without_time = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    };
    assert_eq!(without_time(&replay.out), without_time(&tail.out), "the same lines as from the daemon");

    let again = vesper(&world, &["record", "1", "-o", "rec/one"]);
    assert_eq!(again.status, 2);
    assert!(again.err.contains("has a recording in it already"), "{}", again.err);
    fs::write(world.dir.path().join("file"), "").unwrap();
    let run = vesper(&world, &["record", "1", "-o", "file/x", "--json"]);
    assert_eq!(run.status, 2, "{}", run.out);
    assert!(run.out.contains("file/x: Not a directory"), "{}", run.out);
}

#[test]
fn the_end_of_a_guest_is_told_and_what_was_saved_is_found() {
    let world = World::new();
    let guest = world.add_attached(1);
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    let mut tail = Running::start(&world, &["tail", "guest1", "-f"]);
    tail.line("channel of probe");
    panics(&probe);
    tail.line("panic! cpu=0");
    guest.relay().last_words(Some(&probe), 1, &[0; 8]).unwrap();
    tail.line("panic! cpu=0 message=\"\" stack=\"\" (last words)");
    signal(&probe, 0, 77, 0);
    probe.urgent(0);
    world.destroy(1, Some(guest));
    tail.line("pid=77");
    let run = tail.end();
    assert_eq!(run.status, 0, "{}", run.err);
    let end = "- guest1 -- the guest was destroyed: panic cpu=0 message=\\\"Attempted to kill init!\\\"";
    assert!(run.out.contains(&end.replace("\\\"", "\"")), "{}", run.out);

    let run = vesper(&world, &["tail", "guest1"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.err.starts_with("guest1 is gone; this was saved of it in "), "{}", run.err);
    let dir = run.err.trim_end().rsplit(' ').next().unwrap();
    for wanted in ["pid=77", "(last words)", "the guest was destroyed"] {
        assert!(run.out.contains(wanted), "{wanted:?} is not in\n{}", run.out);
    }
    assert_eq!(vesper(&world, &["replay", dir]).out, run.out);
    let record = vesper(&world, &["record", "guest1", "-o", "rec"]);
    assert_eq!(record.status, 3);
    assert!(record.err.contains(&format!("vesper replay {dir}")), "{}", record.err);
}

#[test]
fn a_daemon_that_stops_is_status_4() {
    let mut world = World::new();
    let guest = world.add_attached(1);
    share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    let mut tail = Running::start(&world, &["tail", "1", "-f"]);
    tail.line("channel of probe");
    world.stop();
    let run = tail.end();
    assert_eq!(run.status, 4);
    assert!(run.out.contains("vesperd was stopped; the guest goes on"), "{}", run.out);
    assert!(run.err.contains("vesperd went away before the stream ended"), "{}", run.err);
}

/// The probes of the loopback guests' kernel and of another one.
fn probes(world: &World) {
    let more = "description=panics and oopses\0parm=events:events to record\0";
    for (kernel, vermagic) in [("6.1.0-loopback", VERMAGIC), ("6.12.1-amd64", "6.12.1-amd64 SMP preempt ")] {
        let dir = world.dir.path().join("probes").join(kernel);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("panic.ko"), module_with("vesper_panic", vermagic, more, 600)).unwrap();
        fs::write(dir.join("text.ko"), "no module").unwrap();
    }
    let dir = world.dir.path().join("probes/6.1.0-loopback");
    fs::write(dir.join("signal.ko"), module_with("vesper_signal", VERMAGIC, "", 600)).unwrap();
    fs::write(
        world.dir.path().join("probes/6.12.1-amd64/block.ko"),
        module_with("vesper_block", "6.12.1-amd64 SMP ", "", 600),
    )
    .unwrap();
}

#[test]
fn probes_go_in_and_out() {
    let world = World::new();
    let guest = world.add_attached(1);
    probes(&world);
    let run = vesper(&world, &["probes", "--dir", "probes"]);
    assert_eq!(
        run.out,
        "6.1.0-loopback\n  panic   panics and oopses\n            events: events to record\n  signal\n\
         6.12.1-amd64\n  block\n  panic   panics and oopses\n            events: events to record\n"
    );
    let run =
        vesper(&world, &["probe", "1", "panic", "signal:exit,signal", "--dir", "probes", "--", "names=a b"]);
    assert_eq!(run.status, 0, "{}", run.err);
    let loaded: Vec<_> = run.out.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(loaded, ["vesper_panic loaded into guest1 (1)", "vesper_signal loaded into guest1 (1)"]);
    let args: Vec<_> = guest
        .kernel()
        .work()
        .iter()
        .filter_map(|work| {
            if let Work::Load { args, .. } = work {
                Some(String::from_utf8(args.clone()).unwrap())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(args, ["names=\"a b\"", "events=exit,signal names=\"a b\""]);

    // A directory of one kernel will do, too.
    let run = vesper(&world, &["unprobe", "1", "panic"]);
    assert!(run.out.starts_with("vesper_panic unloaded from guest1 (1)"), "{}{}", run.out, run.err);
    let run = vesper(&world, &["probe", "1", "panic", "--dir", "probes/6.1.0-loopback", "--json"]);
    let reply: Reply = vesper_api::from_line(run.out.as_bytes()).unwrap();
    assert!(
        matches!(reply.into_result(), Ok(Done::Probed(probed)) if probed.loaded[0].module == "vesper_panic")
    );
    let run = vesper(&world, &["unprobe", "1", "nosuch"]);
    assert!(run.err.contains("vesper_signal") && run.err.contains("vesper_panic"), "{}", run.err);

    // Not for this kernel: nothing of the command is done, and it says how to get them.
    let run = vesper(&world, &["probe", "1", "signal", "block", "--dir", "probes"]);
    assert_eq!(run.status, 2);
    for wanted in [
        "there are no probes block for the kernel 6.1.0-loopback in probes, ",
        "they are there for: 6.12.1-amd64",
        "cargo xtask kmod --kernel 6.1.0-loopback",
        "target/kmod/6.1.0-loopback/probes",
        "--dir",
    ] {
        assert!(run.err.contains(wanted), "{wanted:?} is not in\n{}", run.err);
    }
    // One of two is in already.
    vesper(&world, &["unprobe", "1", "panic"]);
    let run = vesper(&world, &["probe", "1", "panic", "signal", "--dir", "probes"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("loaded before, and still in: vesper_panic"), "{}", run.err);
    world.add_bare_guest(2, "bare", 2);
    eventually("the guest is seen", || world.guest(2).is_some());
    let run = vesper(&world, &["probe", "bare", "panic", "--dir", "probes"]);
    assert_eq!(run.status, 3);
    assert!(run.err.contains("vesper attach 2"), "{}", run.err);
}

#[test]
fn channels_and_life_as_text() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.relay().set_heartbeat(Duration::from_millis(20));
    let probe = share(&world, &guest, &ChannelSpec::new("probe").schema(SCHEMA));
    share(&world, &guest, &ChannelSpec::new("theirs").global().owner(None));
    signal(&probe, 0, 1, 1);
    let channels = vesper(&world, &["channels"]).out;
    let rows: Vec<Vec<_>> = channels
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "NAME", "CHANNEL", "MODULE", "BUFFERS", "RECORDS", "DROPPED", "READ", "EVENTS"]
    );
    assert_eq!(rows[1], ["1", "guest1", "probe", "probe", "2 x 8 x 4 KiB", "1", "0", "yes", "panic,signal"]);
    assert_eq!(rows[2], ["1", "guest1", "theirs", "-", "1 x 8 x 4 KiB", "-", "0", "no", "-"]);
    eventually("it beats", || vesper(&world, &["alive", "1"]).out == "guest1 (1) is alive: its vCPUs beat\n");
    let run = vesper(&world, &["alive", "1", "probe"]);
    assert_eq!(
        (run.status, run.out.as_str()),
        (0, "guest1 (1) is alive: its vCPUs beat; probe is in (channels: probe)\n")
    );
    let run = vesper(&world, &["alive", "1", "nosuch"]);
    assert_eq!((run.status, run.out.as_str()), (1, "guest1 (1) is alive, but nosuch is not in it\n"));
    guest.relay().set_hung(0, true);
    eventually("it is seen", || vesper(&world, &["alive", "1"]).status == 1);
    let run = vesper(&world, &["alive", "1"]);
    assert_eq!(run.out, "guest1 (1) is not alive: hung, vCPU 0 had the time to beat and did not\n");
    let json = vesper(&world, &["alive", "1", "--json"]);
    assert_eq!(json.status, 1);
    assert!(json.out.starts_with("{\"status\":1,\"result\":{\"done\":\"alive\",\"guest\":{"), "{}", json.out);
}

/// Where the daemon itself is not needed.
#[test]
fn without_a_daemon_only_what_needs_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vesper"));
        command.env("VESPER_SOCKET", dir.path().join("none")).args(args);
        command.output().unwrap().status.code()
    };
    let empty = Path::new("empty");
    fs::create_dir(dir.path().join(empty)).unwrap();
    assert_eq!(run(&["probes", "--dir", dir.path().to_str().unwrap()]), Some(0));
    for args in [
        &["tail", "1"][..],
        &["channels"],
        &["alive", "1"],
        &["events"],
        &["probe", "1", "panic"],
        &["record", "1", "-o", "/nonexistent/x"],
    ] {
        assert_eq!(run(args), Some(4), "{args:?}");
    }
}
