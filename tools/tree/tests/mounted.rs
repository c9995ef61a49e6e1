// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree as programs see it, through the kernel's FUSE. Needs root and `/dev/fuse`; without them each test says so
//! and ends.
//!
//! Whoever waits in a read is a process of its own: a thread of this one could not be killed, because it would keep open
//! the descriptor on which its read is answered.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use vesper_relay_mirror::writer::{self, WhenFull, Writer};
use vesper_relay_mirror::{Channel, Geometry};
use vesper_tree::{Shown, Tree};

/// So much longer than a look at waiting reads that one which must end has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mounted tree with the channel `c` of guest 3, on the CPUs 0 and 5.
struct World {
    tree: Tree,
    dir: TempDir,
    channel: Arc<Channel>,
    writers: Vec<Writer>,
}

impl World {
    /// `None`: nobody may mount here.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let tree = mounted(dir.path())?;
        let geometry = Geometry::new(4096, 4, 2).unwrap();
        let memory = writer::Export::new(geometry, 0);
        let channel = Channel::new(geometry, memory.regions(), Duration::from_secs(10)).unwrap();
        let writers = (0..2).map(|buffer| memory.writer(buffer, WhenFull::Refuse, Arc::new(|| {}))).collect();
        let world = Self { tree, dir, channel, writers };
        world.tree.show(3, "c", world.shown("first"));
        Some(world)
    }

    fn shown(&self, info: &'static str) -> Shown {
        let info = Box::new(move || format!("{{\"is\":\"{info}\"}}"));
        Shown { channel: self.channel.clone(), cpus: vec![Some(0), Some(5)], info }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("3/c").join(name)
    }

    /// The guest writes this and shows it.
    fn write(&mut self, buffer: usize, text: &str) {
        self.writers[buffer].write(text.as_bytes()).unwrap();
        self.writers[buffer].publish();
        self.channel.update();
    }

    /// A program that reads a file of the channel as its standard input.
    fn reader(&self, file: &str, program: &[&str]) -> Child {
        let input = File::open(self.path(file)).unwrap();
        Command::new(program[0]).args(&program[1..]).stdin(input).stdout(Stdio::piped()).spawn().unwrap()
    }
}

fn mounted(dir: &Path) -> Option<Tree> {
    if !geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("not tested: this needs root and /dev/fuse");
        return None;
    }
    match Tree::mount(dir, 0) {
        Ok(tree) => Some(tree),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("not tested: root may not mount here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The end of a program that must come by itself.
fn ended(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        sleep(Duration::from_millis(20));
    }
}

fn said(child: &mut Child, bytes: usize) -> String {
    let mut text = vec![0; bytes];
    child.stdout.as_mut().unwrap().read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn rest(child: Child) -> String {
    let mut text = String::new();
    child.stdout.unwrap().read_to_string(&mut text).unwrap();
    text
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn cat_gives_what_is_there_and_what_comes_until_the_channel_ends() {
    let Some(mut world) = World::new() else { return };
    world.write(0, "before ");
    world.write(1, "of another CPU");
    let mut cat = world.reader("cpu0", &["cat"]);
    assert_eq!(said(&mut cat, 7), "before ");
    world.write(0, "after");
    assert_eq!(said(&mut cat, 5), "after");
    assert_eq!(cat.try_wait().unwrap(), None, "it waits for more");
    let mut other = world.reader("cpu5", &["cat"]);
    world.writers.iter_mut().for_each(Writer::finish);
    world.channel.update();
    assert!(ended(&mut cat).success() && ended(&mut other).success());
    assert_eq!((rest(cat), rest(other)), (String::new(), "of another CPU".into()));
    let again = fs::read_to_string(world.path("cpu0")).unwrap();
    assert_eq!(again, "before after", "another open file is another reader");
}

#[test]
fn a_read_that_nobody_interrupts_waits_for_as_long_as_the_guest_does() {
    let Some(mut world) = World::new() else { return };
    // One read(2), and what it came to.
    let one = "defined(sysread(STDIN, $got, 4096)) ? print $got : print \"$!\"";
    let reader = world.reader("cpu0", &["perl", "-e", one]);
    sleep(Duration::from_millis(3500));
    world.write(0, "at last");
    assert_eq!(rest(reader), "at last");
}

#[test]
fn a_reader_that_is_killed_or_interrupted_is_let_go() {
    let Some(world) = World::new() else { return };
    let mut killed = world.reader("cpu0", &["cat"]);
    let catching = "$SIG{USR1} = sub {}; $| = 1; print \"ready\"; \
                    defined(sysread(STDIN, $got, 4096)) ? print $got : print \"$!\"";
    let mut interrupted = world.reader("cpu5", &["perl", "-e", catching]);
    assert_eq!(said(&mut interrupted, 5), "ready");
    // Until both wait in their reads.
    sleep(Duration::from_millis(500));
    let signal = |child: &Child, signal| kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    signal(&killed, Signal::SIGTERM);
    signal(&interrupted, Signal::SIGUSR1);
    assert!(!ended(&mut killed).success());
    ended(&mut interrupted);
    assert_eq!(rest(interrupted), "Interrupted system call");
}

#[test]
fn who_does_not_want_to_wait_does_not_and_polls() {
    let Some(mut world) = World::new() else { return };
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(world.path("cpu5")).unwrap();
    let fd = file.try_clone().unwrap();
    let ready = |millis: u16| {
        poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(millis)).unwrap() == 1
    };
    let mut room = [0; 64];
    assert_eq!(file.read(&mut room).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!ready(100));
    // The poll is under way when the guest writes.
    scope(|scope| {
        let polled = scope.spawn(|| ready(10_000));
        sleep(Duration::from_millis(300));
        world.write(1, "now");
        let begun = Instant::now();
        assert!(polled.join().unwrap() && begun.elapsed() < Duration::from_secs(5));
    });
    assert_eq!(file.read(&mut room).unwrap(), 3);
    assert!(!ready(100));
    world.channel.close();
    assert!(ready(10_000), "an end is something to read");
    assert_eq!(file.read(&mut room).unwrap(), 0);
}

#[test]
fn info_is_of_the_moment_and_what_is_hidden_is_gone() {
    let Some(mut world) = World::new() else { return };
    world.write(0, "kept");
    let mut open = File::open(world.path("cpu0")).unwrap();
    assert_eq!(fs::read_to_string(world.path("info")).unwrap(), "{\"is\":\"first\"}");
    world.tree.show(3, "c", world.shown("second"));
    assert_eq!(fs::read_to_string(world.path("info")).unwrap(), "{\"is\":\"second\"}");
    assert_eq!(names(&world.path("")), ["cpu0", "cpu5", "info"]);
    assert_eq!(fs::write(world.path("info"), "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);

    world.tree.hide(3, "c");
    assert_eq!(names(world.dir.path()), ["channels"], "the guest's link is gone");
    assert_eq!(names(&world.dir.path().join("channels")), [""; 0]);
    // An open file is read to its end.
    let mut room = [0; 64];
    assert_eq!(open.read(&mut room).unwrap(), 4);
    world.channel.close();
    assert_eq!(open.read(&mut room).unwrap(), 0);
}

#[test]
fn what_a_killed_daemon_left_is_cleared_away_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = mounted(dir.path()) else { return };
    drop(tree);
    assert_eq!(names(dir.path()), [""; 0], "a tree leaves nothing behind");

    let point = dir.path().join("channels");
    fs::create_dir(&point).unwrap();
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    mount(Some("vesper"), &point, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
    drop(device);
    assert_eq!(fs::read_dir(&point).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    symlink("channels/7", dir.path().join("7")).unwrap();
    fs::write(dir.path().join("vesperd.sock"), "").unwrap();

    let tree = mounted(dir.path()).unwrap();
    assert_eq!(names(&point), [""; 0]);
    drop(tree);
    assert_eq!(names(dir.path()), ["vesperd.sock"]);
}
