// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real daemon with many loopback guests, each of which fills one sub-buffer of 4 KiB a second and has a client that
//! reads its stream: what the daemon's thread costs.
//!
//! `bench-guests SECONDS COUNT…` (ascending) prints for each count
//! `@guests COUNT CPU_NANOSECONDS NANOSECONDS HEAP_BYTES RECEIVED_BYTES REFUSED`: CPU time of the daemon's thread in that time,
//! what it has on its heap beyond what it had without guests, the bytes that all clients received, and the sub-buffers that
//! found no room because it came too late.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vesper_api::{Done, Request, Since};
use vesper_grant::DomId;
use vesper_grant::loopback::Machine;
use vesper_xenfront::loopback::{ChannelSpec, FakeKernel, LoopFrontend, RelayChannel};
use vesper_xenstore::{MemoryStore, Perm, Store, Tx};
use vesperd::Config;

const SUBBUF: u32 = 4096;
const SUBBUFS: u32 = 8;
/// How long so many guests may take to be there.
const PATIENCE: Duration = Duration::from_secs(300);

/// The system's allocator; counts what the daemon's thread takes and gives back.
struct Counting;

thread_local! {
    static IS_DAEMON: Cell<bool> = const { Cell::new(false) };
}
static HEAP: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    if IS_DAEMON.try_with(Cell::get).unwrap_or(false) {
        HEAP.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let seconds: u64 = words.next().context("bench-guests SECONDS COUNT…")?.parse()?;
    let counts = words.map(|word| word.parse()).collect::<Result<Vec<u16>, _>>()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;

    let dir = tempfile::tempdir()?;
    let world = World::start(dir.path())?;
    // The clients' end: reads everything and forgets it.
    let received = Arc::new(AtomicU64::new(0));
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
    let (drain, total) = (Arc::clone(&epoll), Arc::clone(&received));
    std::thread::spawn(move || read_all(&drain, &total));

    let mut guests = Vec::new();
    std::thread::sleep(Duration::from_secs(1));
    let empty = HEAP.load(Ordering::Relaxed);
    for count in counts {
        while guests.len() < usize::from(count) {
            let domid = guests.len() as u16 + 1;
            guests.push(world.add_guest(domid, &epoll).with_context(|| format!("guest {domid}"))?);
        }
        switch(&guests, Duration::from_secs(2));
        let before = (world.cpu_time()?, Instant::now(), received.load(Ordering::Relaxed));
        let refused = switch(&guests, Duration::from_secs(seconds));
        let (cpu, took) = (world.cpu_time()? - before.0, before.1.elapsed().as_nanos());
        let heap = HEAP.load(Ordering::Relaxed) - empty;
        let bytes = received.load(Ordering::Relaxed) - before.2;
        println!("@guests {count} {cpu} {took} {heap} {bytes} {refused}");
    }
    // The guests' threads end with the process.
    std::process::exit(0);
}

/// Each guest fills one sub-buffer a second, one after another. Returns how many found no room.
fn switch(guests: &[Guest], time: Duration) -> u64 {
    let bytes = vec![0x5a; SUBBUF as usize];
    let begun = Instant::now();
    let mut refused = 0;
    for turn in 0.. {
        let due = Duration::from_secs(1) * turn / guests.len() as u32;
        if due >= time {
            break;
        }
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        refused += u64::from(guests[turn as usize % guests.len()].channel.write(0, &bytes).is_err());
    }
    refused
}

struct Guest {
    _frontend: LoopFrontend,
    channel: RelayChannel,
}

struct World {
    machine: Machine,
    store: Arc<MemoryStore>,
    config: Config,
    /// The daemon's thread.
    thread: i32,
}

impl World {
    fn start(dir: &Path) -> Result<Self> {
        let mut config = Config { socket: dir.join("vesperd.sock"), ..Config::default() };
        config.connections = usize::from(u16::MAX);
        config.attach.all = true;
        config.listener.tree = None;
        config.listener.save_dir = dir.join("saved");
        let (machine, store) = (Machine::new(), Arc::new(MemoryStore::new()?));
        let (ready, is_ready) = mpsc::channel();
        let (host, its_store, its_config) = (machine.clone(), Arc::clone(&store), config.clone());
        std::thread::spawn(move || {
            IS_DAEMON.set(true);
            let again = Arc::clone(&its_store);
            let reconnect: vesperd::Reconnect = Box::new(move || Ok(again.clone()));
            // Held open: it is never told to stop.
            let (_stop, stopped) = UnixStream::pair().expect("a socket");
            let told = || ready.send(nix::unistd::gettid().as_raw()).expect("somebody waits");
            let (_, asked) = UnixStream::pair().expect("a socket");
            let reload = vesperd::Reload { asked, read: Box::new(|| Ok(Config::default())) };
            let ended =
                vesperd::run(Arc::new(host), its_store, reconnect, &its_config, stopped, reload, told);
            eprintln!("the daemon ended: {ended:?}");
        });
        let thread = is_ready.recv().context("the daemon does not start")?;
        Ok(Self { machine, store, config, thread })
    }

    /// A guest that is attached, with a channel and a client that reads it.
    fn add_guest(&self, domid: u16, epoll: &Epoll) -> Result<Guest> {
        let mut uuid = [0x5a; 16];
        uuid[..2].copy_from_slice(&domid.to_be_bytes());
        let guest = self.machine.add_guest(DomId(domid), uuid);
        let home = format!("/local/domain/{domid}");
        self.store.mkdir(Tx::NONE, &home)?;
        self.store.set_perms(Tx::NONE, &home, &[Perm::none(0), Perm::read(domid)])?;
        self.store.write(Tx::NONE, &format!("{home}/name"), format!("guest{domid}").as_bytes())?;
        self.store.introduce(domid);
        let frontend = LoopFrontend::start(guest, self.store.as_domain(domid)?, FakeKernel::new());
        let spec = ChannelSpec::new("probe").sizes(SUBBUF, SUBBUFS).cpus(&[0]);
        let channel = frontend.relay().export(&spec).map_err(|errno| anyhow::anyhow!("export: {errno:?}"))?;
        let request = Request::Stream {
            dom: domid.to_string(),
            channel: Some("probe".into()),
            since: Since::Now,
            follow: true,
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let client = UnixStream::connect(&self.config.socket)?;
            match vesper_client::exchange(&client, &request, None, None).0.into_result() {
                Ok(Done::Streaming(_)) => {
                    client.set_nonblocking(true)?;
                    let mut clients = CLIENTS.lock().expect("nobody panics");
                    epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, clients.len() as u64))?;
                    clients.push(client);
                    return Ok(Guest { _frontend: frontend, channel });
                }
                Ok(other) => bail!("no stream but {other:?}"),
                Err(failure) => ensure!(Instant::now() < end, "{failure:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Nanoseconds that the daemon's thread has run.
    fn cpu_time(&self) -> Result<u64> {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok(text.split(' ').next().context("empty")?.parse()?)
    }
}

/// The clients' ends of the streams, read until the process ends.
static CLIENTS: std::sync::Mutex<Vec<UnixStream>> = std::sync::Mutex::new(Vec::new());

/// Takes whatever comes for any client.
fn read_all(epoll: &Epoll, received: &AtomicU64) {
    use std::io::Read;
    let mut room = vec![0; 64 << 10];
    loop {
        let mut events = [EpollEvent::empty(); 64];
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0); // EINTR
        let clients = CLIENTS.lock().expect("nobody panics");
        for event in &events[..ready] {
            let mut client = &clients[event.data() as usize];
            while let Ok(count @ 1..) = client.read(&mut room) {
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }
}
