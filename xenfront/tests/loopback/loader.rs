// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loader.

use std::thread::sleep;
use std::time::Duration;

use vesper_grant::{Access, Devices, DomId, GrantRef, Host, Mapping, Port};
use vesper_ring::BackRing;
use vesper_ring::wire::loader::{Directory, Loaded, Request, Response};
use vesper_ring::wire::{Answer, Asked, CommandId, Name, PAGE_SIZE};
use vesper_xenfront::loopback::{FakeKernel, LoopFrontend, Reaction, Work};
use vesper_xenstore::{Store, Tx, read_string};

use crate::bench::{BACK, Bench, FRONT, guest_store, until};

struct Connection {
    devices: Box<dyn Devices>,
    _ring_page: Mapping,
    ring: BackRing<Request, Response>,
    port: Port,
    open_id: u32,
}

impl Bench {
    fn connect(&self) -> Connection {
        self.set_state(2);
        self.wait_front(3);
        let devices = self.machine.open(DomId(5)).unwrap();
        let page = devices.map(&[GrantRef(self.number("loader-ring-ref0"))], Access::ReadWrite).unwrap();
        let port = devices.bind(Port(self.number("loader-event-channel"))).unwrap();
        // SAFETY: the mapping is kept beside the ring.
        let ring = unsafe { BackRing::attach(page.as_ptr(), PAGE_SIZE) }.unwrap();
        self.set_state(4);
        self.wait_front(4);
        Connection { devices, _ring_page: page, ring, port, open_id: 0 }
    }
}

impl Connection {
    fn asked(&mut self) -> Asked {
        let request = until("a question", || {
            self.ring.take().unwrap().or_else(|| {
                self.ring.final_check().unwrap();
                None
            })
        });
        self.open_id = request.id;
        request.check().unwrap()
    }

    fn answer(&mut self, answer: &Answer) {
        self.ring.push(&answer.response(self.open_id)).unwrap();
        if self.ring.publish() {
            self.devices.notify(self.port).unwrap();
        }
    }

    /// Answers the REPORT; what it said.
    fn report(&mut self) -> Vec<String> {
        let Asked::Report(report) = self.asked() else { panic!("no report") };
        let mut text = vec![0; report.entries as usize * size_of::<Loaded>()];
        if report.entries > 0 {
            self.devices.copy_from_guest(GrantRef(report.gref), 0, &mut text).unwrap();
        }
        self.answer(&Answer::Done);
        Loaded::list(&text).map(|entry| entry.check().unwrap().1.to_string()).collect()
    }

    /// Sends a load to the parked DUMMY and serves its data.
    fn send(&mut self, seq: u64, image: &[u8], args: &[u8]) {
        self.answer(&load(seq, image, args));
        let data = [image, args].concat();
        let mut sent = 0;
        while sent < data.len() {
            sent += self.serve_one(&data);
        }
    }

    fn serve_one(&mut self, data: &[u8]) -> usize {
        let Asked::Fetch(fetch) = self.asked() else { panic!("no FETCH") };
        let mut page = [0; PAGE_SIZE];
        self.devices.copy_from_guest(GrantRef(fetch.directory), 0, &mut page).unwrap();
        let pages: Vec<_> = Directory::grants(&page, fetch.pages).unwrap().map(GrantRef).collect();
        let from = fetch.offset as usize;
        self.devices.copy_to_guest(&pages, &data[from..from + fetch.bytes as usize]).unwrap();
        self.answer(&Answer::Filled { command: fetch.command, status: 0 });
        fetch.bytes as usize
    }

    /// The next DUMMY: number, status and log of the result that it carries. A list of modules that comes before it is
    /// taken: a load that ends while the frontend reports changes the list, which is then reported anew.
    fn result(&mut self) -> (u64, i32, String) {
        let result = loop {
            match self.asked() {
                Asked::Report(_) => self.answer(&Answer::Done),
                Asked::Dummy(Some(result)) => break result,
                other => panic!("no result but {other:?}"),
            }
        };
        let log = result.log.map_or(String::new(), |log| {
            let mut text = vec![0; log.bytes as usize];
            self.devices.copy_from_guest(GrantRef(log.gref), 0, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        });
        (result.command.seq, result.status, log)
    }
}

fn load(seq: u64, image: &[u8], args: &[u8]) -> Answer {
    Answer::Load {
        command: CommandId { run: 9, seq },
        name: Name::new("probe").unwrap(),
        image_bytes: image.len() as u64,
        args_bytes: args.len() as u32,
    }
}

#[test]
fn a_module_is_loaded_and_unloaded_through_real_grants() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut host = bench.connect();
    let text = |name: &str| read_string(&bench.store, Tx::NONE, &format!("{FRONT}/{name}")).unwrap();
    assert_eq!((text("version"), text("boot-id").len()), ("1".into(), 32));
    assert!(text("vermagic").starts_with(&text("kernel-release")));

    assert!(host.report().is_empty());
    assert_eq!(host.asked(), Asked::Dummy(None));
    let image: Vec<u8> = (0..2_500_000u32).map(|i| (i % 253) as u8).collect();
    front.kernel().next(Reaction::works().logging("probe: hello\n"));
    host.send(1, &image, b"answer=42");
    assert_eq!(host.result(), (1, 0, "probe: hello\n".into()));
    assert_eq!(
        front.kernel().work(),
        [Work::Load { name: "probe".into(), image, args: b"answer=42".to_vec() }]
    );
    assert_eq!(bench.guest.active_grants(), 2, "ring and text page; the window has ended");

    let command = CommandId { run: 9, seq: 2 };
    host.answer(&Answer::Unload { command, name: Name::new("probe").unwrap() });
    assert_eq!(host.asked(), Asked::Prepared { command, status: 0 });
    host.answer(&Answer::Proceed { command });
    assert_eq!(host.result().1, 0);
    assert!(front.kernel().modules().is_empty());
}

#[test]
fn closing_gives_everything_back_and_the_device_connects_again() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    for _ in 0..20 {
        let mut host = bench.connect();
        host.report();
        host.asked();
        bench.set_state(5);
        bench.wait_front(6);
        drop(host);
        bench.set_state(6);
        until("the end of all grants", || (bench.guest.active_grants() == 0).then_some(()));
    }
    front.unload();
}

#[test]
fn a_page_that_the_host_holds_is_not_given_back() {
    let (bench, _front) = Bench::new();
    bench.make_nodes();
    let host = bench.connect();
    bench.set_state(5);
    bench.wait_front(6);
    assert_eq!(bench.guest.active_grants(), 1, "the ring page, which the host still maps");
    drop(host);
    until("the end of its grant", || (bench.guest.active_grants() == 0).then_some(()));
}

#[test]
fn unloading_the_frontend_closes_the_device_and_loading_it_again_opens_it() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    drop(bench.connect());
    front.unload();
    assert_eq!((bench.front_state(), bench.guest.active_grants()), (6, 0));
    bench.set_state(6);
    let _front = LoopFrontend::start(bench.guest.clone(), guest_store(&bench.store), FakeKernel::new());
    bench.wait_front(1);
    bench.connect().report();
}

#[test]
fn a_frontend_that_finds_an_old_connection_begins_anew() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let host = bench.connect();
    drop(front); // the guest's kernel crashed and another one runs
    bench.store.write(Tx::NONE, &format!("{FRONT}/state"), b"1").unwrap();
    let _front = LoopFrontend::start(bench.guest.clone(), guest_store(&bench.store), FakeKernel::new());
    bench.wait_front(6);
    drop(host);
    bench.set_state(6);
    bench.wait_front(1);
    bench.connect().report();
}

#[test]
fn after_a_migration_a_running_load_goes_on_and_a_transfer_is_dropped() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut host = bench.connect();
    host.report();
    host.asked();
    front.kernel().next(Reaction::works().held());
    host.send(1, b"image", b"");
    until("the load", || (!front.kernel().work().is_empty()).then_some(()));

    // The toolstack makes the nodes anew; the guest resumes.
    let migrate = |host: Connection| {
        drop(host);
        bench.store.remove(Tx::NONE, BACK).unwrap();
        bench.make_nodes();
        front.resume();
        bench.connect()
    };
    let mut host = migrate(host);
    assert!(host.report().is_empty());
    front.kernel().let_go();
    assert_eq!(host.result(), (1, 0, String::new()));

    host.answer(&load(2, &[7; 3 << 20], b""));
    host.serve_one(&[7; 3 << 20]);
    let mut host = migrate(host);
    assert_eq!(host.report(), ["probe"]);
    assert_eq!(host.asked(), Asked::Dummy(None));
    front.kernel().next(Reaction::refuses(17));
    host.send(3, b"again", b"");
    assert_eq!(host.result().1, -17);
}

#[test]
fn a_device_whose_nodes_go_is_given_up_and_taken_again_when_they_come() {
    let (bench, _front) = Bench::new();
    for _ in 0..5 {
        bench.make_nodes();
        drop(bench.connect());
        bench.store.remove(Tx::NONE, FRONT).unwrap();
        until("the end of all grants", || (bench.guest.active_grants() == 0).then_some(()));
        bench.store.remove(Tx::NONE, BACK).unwrap();
    }
}

#[test]
fn a_broken_protocol_closes_the_device() {
    let (bench, _front) = Bench::new();
    bench.make_nodes();
    let mut host = bench.connect();
    host.asked();
    host.answer(&Answer::Filled { command: CommandId { run: 1, seq: 1 }, status: 0 });
    bench.wait_front(5);
    bench.set_state(5);
    bench.wait_front(6);
    drop(host);
    bench.set_state(6);
    bench.connect().report();
}

#[test]
fn a_deaf_guest_asks_nothing_until_it_hears_again() {
    let (bench, front) = Bench::new();
    bench.make_nodes();
    let mut host = bench.connect();
    host.report();
    host.asked();
    front.kernel().set_deaf(true);
    host.answer(&load(1, b"image", b""));
    sleep(Duration::from_millis(50));
    assert_eq!(host.ring.take().unwrap(), None);
    front.kernel().set_deaf(false);
    host.serve_one(b"image");
    assert_eq!(host.result().1, 0);
}
