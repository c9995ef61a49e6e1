// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real command against the real daemon's loop over loopback guests: statuses, words, and JSON.

#[path = "../../vesperd/tests/support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{VERMAGIC, World, eventually, module};
use vesper_api::{Done, ErrorKind, Reply};
use vesper_xenfront::loopback::{Reaction, Work};
use vesperd::config::Rights;

/// What a run of the command showed.
struct Run {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("it exits"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vesper"));
    command.env("VESPER_SOCKET", socket).args(args).stdin(Stdio::null());
    command
}

fn vesper(world: &World, args: &[&str]) -> Run {
    command(world.socket(), args).current_dir(world.dir.path()).output().unwrap().into()
}

#[test]
fn a_module_goes_in_and_out() {
    let world = World::new();
    let guest = world.add_guest_as(3, "web1", 3);
    let run = vesper(&world, &["attach", "web1"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.starts_with("web1 (3) is attached, kernel 6.1.0-loopback ("), "{}", run.out);
    assert_eq!(vesper(&world, &["attach", "3"]).out, "web1 (3) is attached already, kernel 6.1.0-loopback\n");

    guest.kernel().next(Reaction::works().logging("vesper_answer: loaded, answer=42\n"));
    world.module("vesper_answer");
    let run = vesper(&world, &["insmod", "3", "vesper_answer.ko", "answer=42", "text=two words"]);
    assert_eq!(run.status, 0, "{}", run.err);
    let mut lines = run.out.lines();
    assert!(lines.next().unwrap().starts_with("vesper_answer loaded into web1 (3): 2"), "{}", run.out);
    assert_eq!(lines.next(), Some("  kernel log of the guest:"));
    assert_eq!(lines.next(), Some("    vesper_answer: loaded, answer=42"));
    let Work::Load { args, .. } = &guest.kernel().work()[0] else { panic!("not a load") };
    assert_eq!(args, b"answer=42 text=\"two words\"");

    let list = vesper(&world, &["list"]).out;
    let rows: Vec<Vec<_>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "NAME", "UUID", "STATE", "VESPER", "KERNEL", "MODULES", "QUEUE"]);
    let uuid = "03030303-0303-0303-0303-030303030303";
    assert_eq!(rows[1], ["3", "web1", uuid, "idle", "connected", "6.1.0-loopback", "vesper_answer", "0"]);

    let status = vesper(&world, &["status", uuid]).out;
    for row in [
        "guest        web1 (3)\n",
        "device       connected\n",
        "rings        mapped, protocol 1\n",
        "modules      vesper_answer\n",
        "commands     1 (1 done, 0 failed, 0 late results)\n",
        "in use       11 grants, 2 ports\n",
    ] {
        assert!(status.contains(row), "{row:?} is not in\n{status}");
    }

    let run = vesper(&world, &["rmmod", "web1", "vesper-answer"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.starts_with("vesper_answer unloaded from web1 (3): "), "{}", run.out);
    assert!(guest.kernel().modules().is_empty());
    assert_eq!(vesper(&world, &["detach", "web1"]).status, 0);
}

#[test]
fn what_is_refused_says_why_with_its_status() {
    let world = World::new();
    let guest = world.add_attached(1);
    let _other = world.add_guest(2);
    let whole = module("answer", VERMAGIC, 600);
    world.file("answer.ko", &whole);
    world.file("text.ko", b"this is a text\n");
    world.file("empty.ko", b"");
    world.file("short.ko", &whole[..1000]);
    world.file("other.ko", &module("answer", "6.12.1-amd64 SMP preempt mod_unload modversions ", 600));
    world.file("front.ko", &module("vesper_front", VERMAGIC, 600));
    world.file("slash.ko", &module("a/b", VERMAGIC, 600));
    fs::create_dir(world.dir.path().join("dir.ko")).unwrap();
    let long = "x".repeat(56);

    let table: &[(i32, &[&str], &[&str])] = &[
        (2, &["insmod", "1", "text.ko"], &["text.ko is refused, nothing was sent", "not an ELF file"]),
        (2, &["insmod", "1", "empty.ko"], &["the file is empty"]),
        (2, &["insmod", "1", "short.ko"], &["cut off or damaged"]),
        (2, &["insmod", "1", "dir.ko"], &["a directory, not a regular file"]),
        (2, &["insmod", "1", "nowhere.ko"], &["nowhere.ko: No such file or directory"]),
        (2, &["insmod", "1", "slash.ko"], &["\"a/b\" holds a character"]),
        (2, &["insmod", "1", "front.ko"], &["vesper_front cannot be loaded through itself"]),
        (
            2,
            &["insmod", "1", "other.ko"],
            &["module's vermagic: 6.12.1-amd64 SMP", "\n  guest's vermagic:  6.1.0-loopback SMP"],
        ),
        (2, &["insmod", "1", "answer.ko", "=42"], &["parameters: \"=42\" is not of the form PARAM=VALUE"]),
        (2, &["rmmod", "1", "a/b"], &["holds a character"]),
        (2, &["rmmod", "1", &long], &["at most 55 bytes, this one has 56"]),
        (2, &["rmmod", "0", "x"], &["domain 0 is where vesperd runs"]),
        (3, &["insmod", "99", "answer.ko"], &["there is no guest 99", "vesper list"]),
        (3, &["status", "nobody"], &["there is no guest nobody"]),
        (3, &["insmod", "2", "answer.ko"], &["guest2 (2) is not attached", "vesper attach 2"]),
        (3, &["rmmod", "2", "answer"], &["guest2 (2) is not attached"]),
        (3, &["detach", "2"], &["guest2 (2) is not attached"]),
        (1, &["rmmod", "1", "nosuch"], &["ENOENT (2): no module of this name is loaded"]),
    ];
    for (status, args, wanted) in table {
        let run = vesper(&world, args);
        assert_eq!(run.status, *status, "{args:?}: {}", run.err);
        assert_eq!(run.out, "", "{args:?}: errors go to standard error");
        assert!(run.err.starts_with(&format!("vesper {}: ", args[0])), "{args:?}: {}", run.err);
        for text in *wanted {
            assert!(run.err.contains(text), "{args:?}: {text:?} is not in\n{}", run.err);
        }
    }
    assert!(guest.kernel().work().is_empty(), "nothing of this reached the guest's loader");
    assert_eq!(vesper(&world, &["insmod", "1", "answer.ko"]).status, 0, "and the next load works");
}

#[test]
fn what_the_kernel_refuses_comes_with_its_own_words() {
    let world = World::new();
    let guest = world.add_attached(1);
    world.module("probe");
    let log = "probe: Unknown symbol no_such_function (err -2)\n\u{1b}]0;gotcha\u{7}\n";
    guest.kernel().next(Reaction::refuses(2).logging(log));
    let run = vesper(&world, &["insmod", "1", "probe.ko"]);
    assert_eq!(run.status, 1);
    assert_eq!(
        run.err,
        "vesper insmod: the kernel of guest1 (1) refused to load probe: ENOENT\n  \
         ENOENT (2): a symbol that the module needs, or a parameter that was given, is unknown to it\n  \
         kernel log of the guest:\n    \
         probe: Unknown symbol no_such_function (err -2)\n    \
         \\x1b]0;gotcha\\x07\n"
    );
    assert!(guest.kernel().modules().is_empty());
    guest.kernel().next(Reaction::refuses(8).logging("last line\n").truncated());
    let run = vesper(&world, &["insmod", "1", "probe.ko"]);
    assert!(
        run.err.contains("ENOEXEC (8)") && run.err.contains("(its last lines):\n    last line"),
        "{}",
        run.err
    );
}

#[test]
fn json_is_one_document_whatever_happens() {
    let world = World::new();
    let _guest = world.add_guest(1);
    world.module("probe");
    let table: &[(i32, &[&str])] = &[
        (0, &["list", "--json"]),
        (0, &["--json", "attach", "1"]),
        (0, &["insmod", "1", "probe.ko", "--json"]),
        (1, &["insmod", "1", "probe.ko", "--json"]),
        (0, &["status", "1", "--json"]),
        (2, &["detach", "1", "--json"]),
        (0, &["rmmod", "1", "probe", "--json"]),
        (0, &["detach", "1", "--json"]),
        (3, &["status", "2", "--json"]),
        (2, &["insmod", "1", "nowhere.ko", "--json"]),
        (4, &["list", "--json", "--socket", "/nonexistent/socket"]),
    ];
    for (status, args) in table {
        let run = vesper(&world, args);
        assert_eq!(run.status, *status, "{args:?}: {}{}", run.out, run.err);
        assert_eq!(run.err, "", "{args:?}");
        assert_eq!(run.out.matches('\n').count(), 1, "{args:?}: {}", run.out);
        let reply: Reply = vesper_api::from_line(run.out.as_bytes()).unwrap();
        assert_eq!(i32::from(reply.status()), *status, "{args:?}");
        assert!(run.out.starts_with(&format!("{{\"status\":{status},")), "{args:?}: {}", run.out);
    }
    let list: Reply = vesper_api::from_line(vesper(&world, &["list", "--json"]).out.as_bytes()).unwrap();
    let Ok(Done::Guests(guests)) = list.into_result() else { panic!("not a list") };
    assert_eq!(guests.guests.len(), 1);
}

#[test]
fn a_time_limit_is_status_5() {
    let world = World::new();
    let guest = world.add_attached(1);
    world.add_bare_guest(2, "bare", 2);
    let run = vesper(&world, &["attach", "bare", "--timeout", "0.05"]);
    assert_eq!(run.status, 5);
    for text in
        ["no frontend answered in bare (2) within 0.05 s", "install vesper-front", "modprobe vesper_front"]
    {
        assert!(run.err.contains(text), "{text:?} is not in {}", run.err);
    }
    world.module("slow");
    guest.kernel().next(Reaction::works().held());
    let run = vesper(&world, &["insmod", "1", "slow.ko", "--timeout", "0.5"]);
    assert_eq!(run.status, 5);
    assert!(run.err.contains("may still do it") && run.err.contains("vesper status 1"), "{}", run.err);
    guest.kernel().let_go();
    eventually("the late result is taken in", || vesper(&world, &["list"]).out.contains("slow"));
}

#[test]
fn a_daemon_that_is_not_there_or_goes_away_is_status_4() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let run: Run = command(&socket, &["list"]).output().unwrap().into();
    assert_eq!(run.status, 4);
    assert!(run.err.contains("vesperd cannot be reached at "), "{}", run.err);
    assert!(run.err.contains("systemctl start vesperd"), "{}", run.err);

    // Killed midway, as far as a client can tell: it reads the request, says less than a line, and is gone.
    let listener = UnixListener::bind(&socket).unwrap();
    for (said, args, wanted) in [
        ("", &["rmmod", "1", "x"][..], "it closed the connection; outcome unknown"),
        ("{\"status\":0,\"result\":", &["rmmod", "1", "x"], "it closed the connection; outcome unknown"),
        ("{\"status\":0}\n", &["list"], "holds neither result nor error"),
        ("garbage\n", &["attach", "1"], "outcome unknown"),
        ("", &["list"], "vesperd went away before it answered"),
    ] {
        let child = command(&socket, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        drop(stream);
        let run: Run = child.wait_with_output().unwrap().into();
        assert_eq!(run.status, 4, "{said:?}: {}", run.err);
        assert!(run.err.contains(wanted), "{said:?}: {}", run.err);
    }
}

/// Another user, who is in no group of the socket's. Only root can become one.
#[test]
fn a_user_who_may_not_is_status_6() {
    let world = World::new();
    let failure = if nix::unistd::getuid().is_root() {
        // Where that user can run it.
        let program = world.dir.path().join("vesper");
        // By another process: one that a test beside this forks now would have the file open for writing (ETXTBSY).
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_vesper")).arg(&program).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(world.dir.path(), Permissions::from_mode(0o755)).unwrap();
        let as_nobody = || -> Run {
            let mut command = Command::new(&program);
            command.args(["list", "--socket"]).arg(world.socket()).current_dir("/");
            command.uid(65534).gid(65534).output().unwrap().into()
        };
        let run = as_nobody();
        assert_eq!(run.status, 6, "{}", run.err);
        assert!(run.err.contains("you are not permitted to use"), "{}", run.err);
        // Even if the file's mode let them: the daemon asks the kernel who they are.
        fs::set_permissions(world.socket(), Permissions::from_mode(0o666)).unwrap();
        let run = as_nobody();
        assert_eq!(run.status, 6, "{}", run.err);
        run.err
    } else {
        // The other way round: a daemon with no group but root's own.
        let other = World::with(|config| config.rights = Rights::of("no-such-group"));
        let run = vesper(&other, &["list"]);
        assert_eq!(run.status, 6, "{}", run.err);
        run.err
    };
    assert!(failure.contains("group") && failure.contains("adduser"), "{failure}");
    assert_eq!(ErrorKind::NotPermitted.exit_status(), 6);
}

/// A user with the right to read and no other, over a socket that is open to all. Only root can become one.
#[test]
fn a_user_may_what_his_group_may() {
    if !nix::unistd::getuid().is_root() {
        return println!("not tried: only root can become another user");
    }
    // By what the machine calls the group 65534.
    let groups = fs::read_to_string("/etc/group").unwrap();
    let nobodies =
        groups.lines().find(|line| line.split(':').nth(2) == Some("65534")).expect("nobody's group");
    let nobodies = nobodies.split(':').next().unwrap();
    let world = World::with(|config| {
        let text = format!("group = \"root\"\n[rights]\nread = \"{nobodies}\"");
        config.rights = vesperd::Config::parse("f", &text).unwrap().rights;
    });
    let guest = world.add_attached(1);
    world.module("answer");
    let program = world.dir.path().join("vesper");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_vesper")).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(world.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let run = |uid: u32, gid: u32, args: &[&str]| -> Run {
        let mut command = Command::new(&program);
        command.args(args).arg("--socket").arg(world.socket()).current_dir(world.dir.path());
        command.uid(uid).gid(gid).output().unwrap().into()
    };
    for args in [&["list"][..], &["status", "1"], &["channels", "1"], &["tail", "1"], &["alive", "1"]] {
        let run = run(65534, 65534, args);
        assert_eq!(run.status, 0, "{args:?}: {}", run.err);
    }
    for (args, right) in [
        (&["insmod", "1", "answer.ko"][..], "inject"),
        (&["rmmod", "1", "answer"], "inject"),
        (&["attach", "1"], "configure"),
        (&["detach", "1"], "configure"),
        (&["events"], "events"),
    ] {
        let run = run(65534, 65534, args);
        assert_eq!(run.status, 6, "{args:?}: {}", run.err);
        for text in [
            format!("{} needs the right {right}; user 65534 is neither root", args[0]),
            "adduser USER root".into(),
        ] {
            assert!(run.err.contains(&text), "{text} is not in {}", run.err);
        }
    }
    // Neither the one nor the other group.
    let stranger = run(65533, 65533, &["list"]);
    assert_eq!(stranger.status, 6, "{}", stranger.err);
    let wanted = format!("user 65533 is neither root nor in one of the groups {}", {
        let mut both = [nobodies, "root"];
        both.sort_unstable();
        both.join(", ")
    });
    assert!(stranger.err.contains(&wanted), "{}", stranger.err);
    assert!(guest.kernel().work().is_empty());
}

#[test]
fn wrong_usage_is_status_2_and_help_teaches() {
    let nowhere = Path::new("/nonexistent/socket");
    for args in [
        &[][..],
        &["frobnicate"],
        &["attach"],
        &["insmod", "1"],
        &["rmmod", "1"],
        &["list", "extra"],
        &["attach", "1", "--timeout", "soon"],
        &["attach", "1", "--timeout", "0"],
    ] {
        let run: Run = command(nowhere, args).output().unwrap().into();
        assert_eq!(run.status, 2, "{args:?}: {}", run.err);
        assert!(run.err.contains("Usage:") || run.err.contains("--help"), "{args:?}: {}", run.err);
    }
    let help: Run = command(nowhere, &["--help"]).output().unwrap().into();
    assert_eq!(help.status, 0);
    for text in ["Examples:", "vesper insmod web1 answer.ko answer=42", "Exit status", "DOM is a domid when"]
    {
        assert!(help.out.contains(text), "{text:?} is not in\n{}", help.out);
    }
}

#[test]
fn a_configuration_is_checked_with_place_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, args: &[&str]| -> Run {
        fs::write(dir.path().join("v.toml"), text).unwrap();
        let mut command = command(Path::new("/nonexistent"), args);
        command.current_dir(dir.path()).output().unwrap().into()
    };
    let good = "group = \"vesper\"\n[[rule]]\nguests = [\"*\"]\nprobes = [\"panic\"]\n";
    let run = check(good, &["check-config", "v.toml"]);
    assert_eq!((run.status, run.out.as_str()), (0, "v.toml is in order: 1 rule\n"), "{}", run.err);
    let run = check("\n  gruop = 3", &["check-config", "v.toml"]);
    assert_eq!((run.status, run.out.as_str()), (2, ""));
    assert!(
        run.err.starts_with("vesper check-config: v.toml:2:3: unknown field `gruop`, expected"),
        "{}",
        run.err
    );
    assert!(run.err.ends_with("\n  write it as one of these, or take it out\n"), "{}", run.err);
    let run = check("[limits]\nqueue_length = 0", &["check-config", "--json", "v.toml"]);
    assert_eq!(run.status, 2, "{}", run.err);
    assert_eq!(
        run.out,
        "{\"status\":2,\"error\":{\"kind\":\"bad-request\",\"message\":\"v.toml:2:16: limits.queue_length: 0 is not \
         between 1 and 1024\",\"remedy\":\"write a number in that range, or leave the key out\",\
         \"place\":{\"file\":\"v.toml\",\"line\":2,\"column\":16}}}\n"
    );
    let run = check("", &["check-config", "nowhere.toml"]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("nowhere.toml: No such file") && run.err.contains("name a file"), "{}", run.err);
}

#[test]
fn manual_pages_and_completions_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let run: Run =
        command(Path::new("/nonexistent"), &["pages", dir.path().to_str().unwrap()]).output().unwrap().into();
    assert_eq!(run.status, 0, "{}", run.err);
    for file in ["vesper.1", "vesper-insmod.1", "vesper.bash", "_vesper", "vesper.fish"] {
        let text = fs::read_to_string(dir.path().join(file)).expect(file);
        assert!(text.contains("insmod"), "{file}");
    }
    assert!(!dir.path().join("vesper-pages.1").exists(), "a command that is hidden has no page");
    assert_eq!(command(Path::new("/x"), &["pages", "/nonexistent"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn an_error_that_cannot_be_written_still_has_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = command(&dir.path().join("nobody"), &["list"]).stderr(full).status().unwrap();
    assert_eq!(run.code(), Some(4));
}
