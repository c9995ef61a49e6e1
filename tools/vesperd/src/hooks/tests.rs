// SPDX-License-Identifier: MIT OR Apache-2.0
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use tempfile::TempDir;
use vesper_events::journal::Acted;
use vesper_events::{Book, Report, Who};
use vesper_stream::Moment;

use super::*;

struct World {
    dir: TempDir,
    hooks: Hooks,
    ran: Receiver<Ran>,
}

fn world(limit: Duration, at_once: usize, kept: &Kept) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (sender, ran) = channel();
    let rules = Rules { dir: dir.path().join("hooks.d"), limit, at_once };
    let hooks = Hooks::new(rules, kept, move |done| sender.send(done).unwrap()).unwrap();
    World { dir, hooks, ran }
}

impl World {
    fn hook(&self, name: &str, script: &str) {
        let file = self.dir.path().join("hooks.d").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\ncd {}\n{script}\n", self.dir.path().display())).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    /// What is told until all hooks for a fault have run: names and outcomes.
    fn until_all(&self, wanted: u64) -> Vec<(String, String)> {
        let mut told = Vec::new();
        loop {
            match self.ran.recv_timeout(Duration::from_secs(60)).expect("the hooks end") {
                Ran::Hook { hook, outcome, .. } => told.push((hook, outcome)),
                Ran::All { fault, .. } if fault == wanted => return told,
                Ran::All { .. } => {}
            }
        }
    }
}

fn event(domid: u16, fault: u64, kind: Kind) -> Arc<Event> {
    let guest = GuestRef { domid, name: "web\n1".into(), uuid: format!("u{domid}") };
    let mut book = Book::new(&Kept { next: fault, ..Kept::nothing() }, 0);
    book.report(
        &Who::new(guest, Some("a".repeat(32))),
        Report::seen(kind, "why; $(reboot)", Moment { nanos: 1 }),
        0,
    );
    Arc::new(book.told().remove(0).event)
}

fn large(event: Arc<Event>) -> Arc<Event> {
    Arc::new(Event { stack: vec!["x".repeat(1000); 500], ..(*event).clone() })
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn hooks_run_in_order_with_the_event() {
    let world = world(LONG, 4, &Kept::nothing());
    assert!(!world.hooks.act(event(1, 1, Kind::GuestPanic), false), "there is none");
    world.hook("guest-panic.d/20-second", "echo two >> order; echo said; exit 3");
    world.hook(
        "guest-panic.d/10-first",
        "echo one >> order; cat > event; env | grep ^VESPER_ | sort > variables",
    );
    world.hook("guest-panic.d/30-third", "echo three >> order; kill -9 $$");
    world.hook("guest-panic.d/.hidden", "echo hidden >> order");
    world.hook("guest-panic.d/10-first~", "echo backup >> order");
    world.hook("guest-hung.d/10-other", "echo other >> order");
    let panic = event(1, 5, Kind::GuestPanic);
    assert!(world.hooks.act(panic.clone(), true));
    let told = world.until_all(5);
    assert!(told[0].1.starts_with("done in "), "{told:?}");
    assert_eq!(
        told[1..],
        [
            ("20-second".to_owned(), "failed: exit status 3".to_owned()),
            ("30-third".into(), "failed: killed by signal 9".into()),
        ]
    );
    assert_eq!(world.read("order"), "one\ntwo\nthree\n");
    assert_eq!(world.read("event").into_bytes(), vesper_api::to_line(&*panic));
    let uuid = "a".repeat(32);
    assert_eq!(
        world.read("variables"),
        format!(
            "VESPER_AGAIN=1\nVESPER_BOOT_ID={uuid}\nVESPER_DOMID=1\n\
             VESPER_EVENT=guest-panic\nVESPER_FAILED=\nVESPER_FAULT=5\nVESPER_NAME=web\\n1\nVESPER_SERIAL=5\n\
             VESPER_SERVICE=\nVESPER_SEVERITY=fatal\nVESPER_UUID=u1\n"
        ),
        "and nothing of what the guest says"
    );
}

#[test]
fn a_hook_runs_once_for_a_fault() {
    // The second had been done for more: since then dom0 was booted, and nothing has failed any more.
    let done = ["10-done", "15-done (guest failed)"].map(str::to_owned);
    let acted = Acted { hooks: BTreeSet::from(done), ..Acted::default() };
    let kept = Kept { acted: BTreeMap::from([(7, acted)]), ..Kept::nothing() };
    let world = world(LONG, 4, &kept);
    for kind in ["guest-crashed", "guest-panic"] {
        world.hook(&format!("{kind}.d/10-done"), "echo done >> order");
        world.hook(&format!("{kind}.d/15-done"), "echo done >> order");
        world.hook(&format!("{kind}.d/20-same"), &format!("echo {kind} >> order"));
    }
    world.hook("guest-panic.d/30-more", "echo more >> order");
    let crashed = event(1, 7, Kind::GuestCrashed);
    let panic = Arc::new(Event { event: Kind::GuestPanic, serial: 8, ..(*crashed).clone() });
    assert!(world.hooks.act(crashed, true));
    world.until_all(7);
    assert!(world.hooks.act(panic, false));
    assert_eq!(world.until_all(7).len(), 1);
    assert_eq!(world.read("order"), "guest-crashed\nmore\n");
}

/// What fails is acted on first, and once more if it turns out to be worse.
#[test]
fn hooks_for_what_failed_run_once_for_each_that_did() {
    let world = world(LONG, 4, &Kept::nothing());
    let script = "echo $VESPER_EVENT $VESPER_FAILED $VESPER_SERVICE >> order";
    world.hook("failed.d/50-push", script);
    world.hook("guest-oops.d/10-note", "echo note >> order");
    let oops = event(1, 7, Kind::GuestOops);
    assert!(world.hooks.act(oops.clone(), false));
    world.until_all(7);
    assert_eq!(world.read("order"), "note\n", "nothing failed");
    let (failed, service) = (Some(Failed::Service), Some("nginx".to_owned()));
    let worse = Event { failed, service, serial: 8, ..(*oops).clone() };
    let panic =
        Event { event: Kind::GuestPanic, failed: Some(Failed::Guest), service: None, ..worse.clone() };
    for event in [worse.clone(), panic.clone(), panic, worse] {
        assert!(world.hooks.act(Arc::new(event), false));
        world.until_all(7);
    }
    assert_eq!(world.read("order"), "note\nguest-oops service nginx\nnote\nguest-panic guest\n");
}

/// One that never ends, with a child of its own, is killed with it; those behind it run.
#[test]
fn a_hook_that_hangs_is_killed() {
    let world = world(Duration::from_millis(300), 4, &Kept::nothing());
    world.hook("guest-hung.d/10-hangs", "trap '' TERM; sleep 1000 & echo $! > child; wait; sleep 1000");
    world.hook("guest-hung.d/20-next", "echo next > order");
    // More than a pipe holds, and nobody reads it.
    assert!(world.hooks.act(large(event(1, 1, Kind::GuestHung)), false));
    let told = world.until_all(1);
    assert_eq!(told[0], ("10-hangs".to_owned(), "killed: it took longer than 0.3 s".to_owned()));
    assert_eq!(world.read("order"), "next\n");
    let child = world.read("child").trim().to_owned();
    let state = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state().is_empty() || state().contains(") Z "), "{}", state());
}

/// What it leaves behind that bears SIGTERM is killed, too, and does not run beside the next one.
#[test]
fn a_hook_that_ends_in_time_takes_its_children_along() {
    let world = world(Duration::from_secs(1), 4, &Kept::nothing());
    let hangs = "trap '' TERM; sleep 1000 & echo $! > child; trap - TERM; wait";
    world.hook("guest-hung.d/10-hangs", hangs);
    assert!(world.hooks.act(event(1, 1, Kind::GuestHung), false));
    let told = world.until_all(1);
    assert_eq!(told, [("10-hangs".to_owned(), "killed: it took longer than 1 s".to_owned())]);
    let child = world.read("child").trim().to_owned();
    let is_there = || {
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    // A signal is sent at once, and taken a moment later.
    let until = Instant::now() + LONG;
    while is_there() {
        assert!(Instant::now() < until, "process {child} goes on");
        thread::sleep(Duration::from_millis(10));
    }
}

/// One that neither reads nor stops writing.
#[test]
fn input_and_output_hold_nobody_up() {
    let world = world(LONG, 4, &Kept::nothing());
    world.hook(
        "guest-oom.d/10-loud",
        "exec 0<&-; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done",
    );
    world.hook("guest-oom.d/20-leaves", "sleep 1000 & echo $! > child");
    assert!(world.hooks.act(large(event(1, 1, Kind::GuestOom)), false));
    let told = world.until_all(1);
    assert!(told.iter().all(|(_, outcome)| outcome.starts_with("done in ")), "{told:?}");
    let child: i32 = world.read("child").trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn one_guest_at_a_time_and_several_guests_at_once() {
    let world = world(LONG, 2, &Kept::nothing());
    let script = "echo $VESPER_DOMID >> log; if ! mkdir busy$VESPER_DOMID; then echo concurrent > wrong; fi; \
                  echo x > running$VESPER_DOMID; [ $(ls | grep -c running) -lt 2 ] || echo both > both; \
                  [ $(ls | grep -c running) -lt 3 ] || echo three > wrong; sleep 0.3; \
                  rm running$VESPER_DOMID; rmdir busy$VESPER_DOMID";
    world.hook("block-error.d/10", script);
    for fault in 1..=6_u64 {
        assert!(world.hooks.act(event(fault.div_ceil(2) as u16, fault, Kind::BlockError), false));
    }
    let mut all = 0;
    while all < 6 {
        all += u32::from(matches!(world.ran.recv_timeout(LONG).unwrap(), Ran::All { .. }));
    }
    assert_eq!((world.read("wrong"), world.read("both")), (String::new(), "both\n".into()));
    assert_eq!(world.read("log").lines().count(), 6);
}

#[test]
fn what_failed_does_not_wait_for_what_did_not() {
    let world = world(LONG, 1, &Kept::nothing());
    let note = "echo $VESPER_FAULT $VESPER_EVENT >> log";
    world.hook("block-error.d/10", &format!("{note}; until [ -e go ]; do sleep 0.01; done"));
    for hook in ["failed.d/10", "guest-panic.d/20"] {
        world.hook(hook, note);
    }
    let failed = |event: Arc<Event>, failed, service: Option<&str>| {
        Arc::new(Event { failed: Some(failed), service: service.map(str::to_owned), ..(*event).clone() })
    };
    assert!(world.hooks.act(event(1, 1, Kind::BlockError), false));
    while world.read("log").is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    let waiting_max = WAITING_MAX as u64;
    for fault in 2..2 + waiting_max {
        assert!(world.hooks.act(event(1, fault, Kind::BlockError), false), "{fault}");
    }
    // One more like them is left out; what failed is not, and takes the place of the last of them.
    assert!(!world.hooks.act(event(1, 900, Kind::BlockError), false));
    assert!(world.hooks.act(failed(event(1, 901, Kind::ProcessKilled), Failed::Service, Some("web")), false));
    assert!(world.hooks.act(failed(event(1, 902, Kind::GuestPanic), Failed::Guest, None), false));
    let left_out: Vec<_> = world.ran.try_iter().collect();
    let all = |fault| Ran::All { fault, kind: Kind::BlockError, serial: fault };
    assert_eq!(left_out, [all(1 + waiting_max), all(waiting_max)], "and that is told, for the journal");
    fs::write(world.dir.path().join("go"), "").unwrap();
    world.until_all(waiting_max - 1);
    let log = world.read("log");
    let first: Vec<_> = log.lines().take(5).collect();
    let wanted =
        ["1 block-error", "902 guest-panic", "902 guest-panic", "901 process-killed", "2 block-error"];
    assert_eq!((first, log.lines().count()), (wanted.to_vec(), 4 + WAITING_MAX - 2));
}

#[test]
fn what_others_may_change_is_refused() {
    let world = world(LONG, 2, &Kept::nothing());
    let modes = [("10-group", 0o775), ("20-others", 0o757), ("30-not", 0o644), ("40-good", 0o700)];
    for (name, mode) in modes {
        world.hook(&format!("guest-gone.d/{name}"), "echo $VESPER_FAULT >> order");
        let file = world.dir.path().join("hooks.d/guest-gone.d").join(name);
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    }
    let dir = world.dir.path().join("hooks.d/guest-gone.d");
    fs::create_dir(dir.join("50-directory")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", dir.join("60-nowhere")).unwrap();
    fs::write(dir.join("70-nothing"), "#!/nonexistent/sh\n").unwrap();
    fs::set_permissions(dir.join("70-nothing"), Permissions::from_mode(0o755)).unwrap();
    assert!(world.hooks.act(event(1, 1, Kind::GuestGone), false));
    let told: Vec<_> = world.until_all(1).into_iter().map(|(_, outcome)| outcome).collect();
    let wanted = [
        "refused: it is writable by its group or by others: chmod go-w",
        "refused: it is writable by its group or by others: chmod go-w",
        "refused: it is not executable: chmod +x",
        "done in ",
        "refused: it is no regular file",
        "refused: No such file",
        "it cannot be started: No such file",
    ];
    for (told, wanted) in told.iter().zip(wanted) {
        assert!(told.starts_with(wanted), "{told}, {wanted} was wanted");
    }
    assert_eq!((told.len(), world.read("order").as_str()), (7, "1\n"));
    fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    assert!(world.hooks.act(event(1, 2, Kind::GuestGone), false));
    assert!(world.until_all(2).iter().all(|(_, outcome)| outcome.starts_with("refused: its directory is")));
}

/// A daemon that stops gives them a moment, and leaves what they had not done to the next one.
#[test]
fn what_runs_when_the_daemon_stops_is_left_to_the_next_one() {
    let world = world(LONG, 2, &Kept::nothing());
    world.hook("guest-gone.d/10-short", "sleep 0.5; echo short >> order");
    world.hook("guest-gone.d/20-never", "echo never >> order");
    assert!(world.hooks.act(event(1, 1, Kind::GuestGone), false));
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    world.hooks.stop();
    assert!(begun.elapsed() < LAST, "{:?}", begun.elapsed());
    let told: Vec<_> = world.ran.try_iter().collect();
    assert!(matches!(&told[..], [Ran::Hook { hook, .. }] if hook == "10-short"), "{told:?}");
    assert_eq!(world.read("order"), "short\n");
    assert!(Path::new(&world.dir.path().join("order")).exists());
}
