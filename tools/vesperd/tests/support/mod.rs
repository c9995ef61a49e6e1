// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real daemon over loopback guests with the real frontend core, for the tests of the daemon and of the command.

#![allow(dead_code, reason = "each test program uses its own part of it")]

pub mod events;
pub mod own_dir;
pub mod streaming;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use object::write::{Object, StandardSegment, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use tempfile::TempDir;
use vesper_api::{Done, Failure, Guest, Reply, Request};
use vesper_grant::DomId;
use vesper_grant::loopback::{LoopGuest, Machine};
use vesper_xenfront::loopback::{FakeKernel, LoopFrontend};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx};
use vesperd::Config;
use vesperd::config::Rights;

/// vermagic of the loopback guests' kernel.
pub const VERMAGIC: &str = "6.1.0-loopback SMP preempt mod_unload modversions ";

/// What a daemon reads anew, beside its socket.
const RULES: &str = "rules.toml";

/// A machine with a daemon.
pub struct World {
    pub machine: Machine,
    pub store: Arc<MemoryStore>,
    pub dir: TempDir,
    pub config: Config,
    daemon: Option<Daemon>,
}

struct Daemon {
    stop: UnixStream,
    reload: UnixStream,
    reloads: Arc<AtomicU32>,
    thread: JoinHandle<Result<(), vesperd::server::Error>>,
}

impl World {
    /// A machine with no guests, and a daemon with the default configuration.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same, configured.
    pub fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/vesperd.sock");
        let mut config = Config { socket, rights: Rights::of(&own_group()), ..Config::default() };
        config.listener.save_dir = dir.path().join("saved");
        config.listener.tree = None;
        config.events.journal_dir = dir.path().join("saved/events");
        config.events.hooks_dir = dir.path().join("hooks.d");
        configure(&mut config);
        let store = Arc::new(MemoryStore::new().unwrap());
        let mut world = Self { machine: Machine::new(), store, dir, config, daemon: None };
        world.start().unwrap();
        world
    }

    /// Starts the daemon, and waits until it is ready.
    pub fn start(&mut self) -> Result<(), vesperd::server::Error> {
        let (stop, theirs) = UnixStream::pair().unwrap();
        let (reload, asked) = UnixStream::pair().unwrap();
        let reloads = Arc::<AtomicU32>::default();
        let count = reloads.clone();
        let (ready, is_ready) = mpsc::channel();
        let (machine, store, config) = (self.machine.clone(), self.store.clone(), self.config.clone());
        let thread = std::thread::Builder::new().name("vesperd".into()).spawn(move || {
            let again = store.clone();
            let reconnect: vesperd::Reconnect = Box::new(move || Ok(again.clone()));
            let base = config.clone();
            let read = Box::new(move || {
                let read = Config::load(&base.socket.with_file_name(RULES));
                count.fetch_add(1, SeqCst);
                read.map(|read| {
                    let Config { rules, attach, probes, inject, .. } = read;
                    Config { rules, attach, probes, inject, ..base.clone() }
                })
            });
            let reload = vesperd::Reload { asked, read };
            vesperd::run(Arc::new(machine), store, reconnect, &config, theirs, reload, || {
                ready.send(()).unwrap()
            })
        });
        let thread = thread.unwrap();
        if is_ready.recv().is_err() {
            return thread.join().unwrap();
        }
        self.daemon = Some(Daemon { stop, reload, reloads, thread });
        Ok(())
    }

    /// Stops it, as SIGTERM does.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop.write_all(b"x").unwrap();
            daemon.thread.join().unwrap().unwrap();
        }
    }

    /// Has it read another configuration, as SIGHUP does, and waits until it has: of this text `[[rule]]`, `[attach]` and
    /// `directories.probes` count.
    pub fn reload(&mut self, text: &str) {
        fs::write(self.config.socket.with_file_name(RULES), text).unwrap();
        let daemon = self.daemon.as_mut().unwrap();
        let before = daemon.reloads.load(SeqCst);
        daemon.reload.write_all(b"x").unwrap();
        let reloads = daemon.reloads.clone();
        eventually("it reads its configuration", || reloads.load(SeqCst) > before);
        // Its one thread is past that when it answers.
        self.ask(&Request::List {}).unwrap();
    }

    pub fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// A guest that runs, made as the toolstack makes it, with no frontend in it.
    pub fn add_bare_guest(&self, domid: u16, name: &str, uuid: u8) -> LoopGuest {
        let guest = self.machine.add_guest(DomId(domid), [uuid; 16]);
        let home = format!("/local/domain/{domid}");
        self.store.mkdir(Tx::NONE, &home).unwrap();
        self.store.set_perms(Tx::NONE, &home, &[Perm::none(0), Perm::read(domid)]).unwrap();
        self.store.write(Tx::NONE, &format!("{home}/name"), name.as_bytes()).unwrap();
        self.store.introduce(domid);
        guest
    }

    /// A guest with the frontend module loaded. Its UUID's bytes are all its domid.
    pub fn add_guest(&self, domid: u16) -> LoopFrontend {
        self.add_guest_as(domid, &format!("guest{domid}"), domid as u8)
    }

    /// The same, with a name and a UUID.
    pub fn add_guest_as(&self, domid: u16, name: &str, uuid: u8) -> LoopFrontend {
        let guest = self.add_bare_guest(domid, name, uuid);
        LoopFrontend::start(guest, self.store.as_domain(domid).unwrap(), FakeKernel::new())
    }

    /// A guest with the frontend module loaded, attached.
    pub fn add_attached(&self, domid: u16) -> LoopFrontend {
        let guest = self.add_guest(domid);
        self.ask(&Request::Attach { dom: domid.to_string(), timeout_ms: None }).unwrap();
        guest
    }

    /// `xl destroy`: the guest's own code, if there is any, stops where it is.
    pub fn destroy(&self, domid: u16, frontend: Option<LoopFrontend>) {
        drop(frontend);
        self.machine.destroy(DomId(domid));
        self.store.remove(Tx::NONE, &format!("/local/domain/{domid}")).unwrap();
        self.store.release(domid);
    }

    /// One request over a connection of its own.
    pub fn ask(&self, request: &Request) -> Result<Done, Failure> {
        Client::connect(self.socket()).ask(request, None).into_result()
    }

    /// One load over a connection of its own.
    pub fn insmod(&self, dom: &str, file: &Path) -> Result<Done, Failure> {
        Client::connect(self.socket()).ask(&insmod(dom), Some(&File::open(file).unwrap())).into_result()
    }

    /// One line of `vesper list`.
    pub fn guest(&self, domid: u16) -> Option<Guest> {
        let Done::Guests(list) = self.ask(&Request::List {}).unwrap() else { panic!("not a list") };
        list.guests.into_iter().find(|guest| guest.guest.domid == domid)
    }

    /// A module's file.
    pub fn module(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.ko"), &module(name, VERMAGIC, 600))
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// For a daemon that never reads its configuration anew.
pub fn no_reload() -> vesperd::Reload {
    let (_, asked) = UnixStream::pair().unwrap();
    vesperd::Reload { asked, read: Box::new(|| Ok(Config::default())) }
}

/// A load without parameters.
pub fn insmod(dom: &str) -> Request {
    Request::Insmod { dom: dom.into(), file: "test.ko".into(), args: vec![], timeout_ms: None }
}

/// A connection that says what it is told to.
pub struct Client {
    pub stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        // So that a lost reply is a failed test and not one that hangs.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    pub fn ask(&mut self, request: &Request, file: Option<&File>) -> Reply {
        let descriptors: Vec<_> = file.iter().map(|file| file.as_raw_fd()).collect();
        self.send(&vesper_api::to_line(request), &descriptors);
        self.reply()
    }

    pub fn send(&self, bytes: &[u8], descriptors: &[RawFd]) {
        let beside = [ControlMessage::ScmRights(descriptors)];
        let beside = if descriptors.is_empty() { &[][..] } else { &beside[..] };
        let parts = [IoSlice::new(bytes)];
        let sent =
            sendmsg::<()>(self.stream.as_raw_fd(), &parts, beside, MsgFlags::MSG_NOSIGNAL, None).unwrap();
        (&self.stream).write_all(&bytes[sent..]).unwrap();
    }

    /// What has come and was not taken yet.
    pub fn lines(&mut self) -> &mut BufReader<UnixStream> {
        &mut self.lines
    }

    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("the daemon closed the connection")
    }

    /// `None` when the daemon has closed the connection.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut line = Vec::new();
        let count = self.lines.read_until(b'\n', &mut line).unwrap();
        (count > 0).then(|| vesper_api::from_line(&line).unwrap())
    }
}

/// A relocatable object with the sections of a kernel module and `bytes` bytes of text.
pub fn module(name: &str, vermagic: &str, bytes: usize) -> Vec<u8> {
    module_with(name, vermagic, "", bytes)
}

/// The same, with more in its `.modinfo`: `KEY=VALUE`, a zero byte behind each.
pub fn module_with(name: &str, vermagic: &str, more: &str, bytes: usize) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let data = object.segment_name(StandardSegment::Data).to_vec();
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let value = object.append_section_data(text, &vec![0xc3; bytes], 16);
    object.add_symbol(Symbol {
        name: b"init_module".to_vec(),
        value,
        size: bytes as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    let modinfo = object.add_section(data.clone(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    let tags = format!("license=GPL\0{more}name={name}\0vermagic={vermagic}\0");
    object.append_section_data(modinfo, tags.as_bytes(), 1);
    let this = object.add_section(data, b".gnu.linkonce.this_module".to_vec(), SectionKind::Data);
    object.append_section_data(this, &[0; 896], 64);
    object.write().unwrap()
}

/// Waits for something that happens in another thread. The limit is only there so that a test ends that fails.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: it did not happen");
}

/// The name of this process's group, so that these tests need not be run by root.
fn own_group() -> String {
    let gid = nix::unistd::getgid().to_string();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let own = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&&*gid));
    own.unwrap_or_else(|| panic!("group {gid} has no name in /etc/group"))[0].to_owned()
}
