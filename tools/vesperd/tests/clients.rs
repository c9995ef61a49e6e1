// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients of every kind, at the socket of the real loop.

mod support;

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use support::{Client, World, eventually, insmod, module};
use vesper_api::{Done, ErrorKind, MAX_LINE, Request};
use vesper_xenfront::loopback::{Reaction, Work};

#[test]
fn garbage_is_answered_and_the_connection_goes_on() {
    let world = World::new();
    let mut client = Client::connect(world.socket());
    for line in ["garbage\n", "\n", "{}\n", "{\"request\":\"format-disk\"}\n", "\u{0}\n", "[[[[[[[[\n"] {
        client.send(line.as_bytes(), &[]);
        let failure = client.reply().into_result().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::BadRequest, "{line:?}");
        assert!(failure.message.starts_with("the line is no request: "), "{}", failure.message);
    }
    client.send(b"\xff\xfe\n", &[]);
    assert_eq!(client.reply().into_result().unwrap_err().kind, ErrorKind::BadRequest);
    assert!(client.ask(&Request::List {}, None).into_result().is_ok());
}

#[test]
fn a_line_in_pieces_and_lines_in_one_piece_are_understood() {
    let world = World::new();
    let mut client = Client::connect(world.socket());
    let line = vesper_api::to_line(&Request::List {});
    for byte in &line {
        client.send(&[*byte], &[]);
    }
    assert!(client.reply().into_result().is_ok());
    client.send(&line.repeat(100), &[]);
    for _ in 0..100 {
        assert!(client.reply().into_result().is_ok());
    }
    // The last line needs no newline when nothing follows.
    client.send(&line[..line.len() - 1], &[]);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.reply().into_result().is_ok());
    assert!(client.try_reply().is_none(), "then the daemon closes, too");
}

#[test]
fn a_line_without_end_is_refused_and_its_connection_closed() {
    let world = World::new();
    let mut client = Client::connect(world.socket());
    let mut line = vec![b'x'; MAX_LINE + 1];
    // The daemon closes before it has read everything.
    let _ = (&client.stream).write_all(&line);
    let failure = client.reply().into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::BadRequest);
    assert_eq!(failure.message, format!("the line is longer than {MAX_LINE} bytes"));

    // The longest line that is one.
    line.truncate(MAX_LINE - 1);
    line.push(b'\n');
    let mut other = Client::connect(world.socket());
    other.send(&line, &[]);
    assert!(other.reply().into_result().unwrap_err().message.starts_with("the line is no request"));
}

#[test]
fn a_client_that_never_reads_holds_nobody_up() {
    let world = World::new();
    let mut slow = Client::connect(world.socket());
    slow.stream.set_nonblocking(true).unwrap();
    let line = vesper_api::to_line(&Request::List {});
    let mut lines = 0;
    // Until neither the daemon takes more requests nor the kernel buffers more.
    let mut refused = 0;
    while refused < 50 {
        match (&slow.stream).write(&line) {
            Ok(count) if count == line.len() => {
                lines += 1;
                refused = 0;
            }
            Ok(count) => panic!("{count} of {} bytes taken", line.len()),
            Err(_) => {
                refused += 1;
                assert!(world.ask(&Request::List {}).is_ok(), "another client is served meanwhile");
            }
        }
    }
    slow.stream.set_nonblocking(false).unwrap();
    for _ in 0..lines {
        assert!(slow.reply().into_result().is_ok(), "and every request has its reply in the end");
    }
}

#[test]
fn the_image_must_come_as_a_descriptor() {
    let world = World::new();
    let guest = world.add_attached(1);
    let file = File::open(world.module("answer")).unwrap();
    let mut client = Client::connect(world.socket());
    let failure = client.ask(&insmod("1"), None).into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::BadRequest);
    assert!(failure.message.contains("as a descriptor"), "{}", failure.message);
    // A descriptor beside a line that needs none is not kept for a later one.
    client.ask(&Request::List {}, Some(&file)).into_result().unwrap();
    assert_eq!(client.ask(&insmod("1"), None).into_result().unwrap_err().kind, ErrorKind::BadRequest);
    // Of many, the first is taken.
    let descriptors = [file.as_raw_fd(); 100];
    client.send(&vesper_api::to_line(&insmod("1")), &descriptors);
    let Ok(Done::Loaded(loaded)) = client.reply().into_result() else { panic!("not loaded") };
    assert_eq!(loaded.module, "answer");
    assert_eq!(guest.kernel().modules(), ["answer"]);
}

#[test]
fn a_file_that_changes_afterwards_changes_nothing() {
    let world = World::new();
    let guest = world.add_attached(1);
    let path = world.module("answer");
    let image = std::fs::read(&path).unwrap();
    guest.kernel().next(Reaction::works().held());
    let mut client = Client::connect(world.socket());
    client.send(&vesper_api::to_line(&insmod("1")), &[File::open(&path).unwrap().as_raw_fd()]);
    eventually("the load begins", || !guest.kernel().work().is_empty());
    std::fs::write(&path, "something else").unwrap();
    guest.kernel().let_go();
    client.reply().into_result().unwrap();
    assert_eq!(guest.kernel().work(), [Work::Load { name: "answer".into(), image, args: vec![] }]);
}

#[test]
fn each_of_many_clients_gets_its_own_result() {
    // Half of them are for one user: the 32 below and one that looks.
    let world = World::with(|config| config.connections = 128);
    let guests: Vec<_> = (1..=4).map(|domid| world.add_attached(domid)).collect();
    let there = world.module("there");
    for (domid, guest) in (1..=4).zip(&guests) {
        world.insmod(&domid.to_string(), &there).unwrap();
        // So that the others have to wait for each other.
        guest.kernel().next(Reaction::works().held());
    }
    std::thread::scope(|scope| {
        for (domid, number) in (1..=4u16).flat_map(|domid| (0..8).map(move |number| (domid, number))) {
            let (world, there) = (&world, &there);
            scope.spawn(move || {
                let dom = domid.to_string();
                // Each other one wants what cannot be.
                if number % 2 == 0 {
                    let refused = world.insmod(&dom, there).unwrap_err();
                    assert_eq!(refused.errno.unwrap().name, "EEXIST");
                    assert_eq!(refused.guest.unwrap().domid, domid);
                    return;
                }
                let name = format!("m{domid}_{number}");
                let bytes = module(&name, support::VERMAGIC, 1000 + 100_000 * number);
                let path = world.file(&format!("{name}.ko"), &bytes);
                let Ok(Done::Loaded(loaded)) = world.insmod(&dom, &path) else {
                    panic!("{name} is not loaded")
                };
                assert_eq!((loaded.module, loaded.guest.domid), (name, domid));
                assert_eq!(loaded.bytes, bytes.len() as u64);
            });
        }
        eventually("all wait", || (1..=4).all(|domid| world.guest(domid).unwrap().queue == 8));
        guests.iter().for_each(|guest| guest.kernel().let_go());
    });
    for guest in &guests {
        assert_eq!(guest.kernel().modules().len(), 5);
    }
}

#[test]
fn a_client_that_goes_away_does_not_take_its_command_along() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let client = Client::connect(world.socket());
    client
        .send(&vesper_api::to_line(&insmod("1")), &[File::open(world.module("answer")).unwrap().as_raw_fd()]);
    eventually("the load begins", || !guest.kernel().work().is_empty());
    drop(client);
    assert!(world.ask(&Request::List {}).is_ok());
    guest.kernel().let_go();
    eventually("it is in", || world.guest(1).unwrap().modules == ["answer"]);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_reply() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let mut client = Client::connect(world.socket());
    client
        .send(&vesper_api::to_line(&insmod("1")), &[File::open(world.module("answer")).unwrap().as_raw_fd()]);
    client.stream.shutdown(Shutdown::Write).unwrap();
    eventually("the load begins", || !guest.kernel().work().is_empty());
    guest.kernel().let_go();
    assert!(client.reply().into_result().is_ok());
    assert!(client.try_reply().is_none());
}

#[test]
fn as_many_clients_as_configured_and_no_more() {
    let world = World::with(|config| config.connections = 3);
    // One of three is kept for root.
    let seats = if nix::unistd::getuid().is_root() { 3 } else { 2 };
    let mut clients: Vec<_> = (0..seats).map(|_| Client::connect(world.socket())).collect();
    for client in &mut clients {
        client.ask(&Request::List {}, None).into_result().unwrap();
    }
    let mut fourth = Client::connect(world.socket());
    let failure = fourth.reply().into_result().unwrap_err();
    assert_eq!(failure.kind, ErrorKind::QueueFull);
    assert!(failure.remedy.is_some());
    assert!(fourth.try_reply().is_none());
    clients.pop();
    let is_free = || Client::connect(world.socket()).ask_or_refusal(&Request::List {}).is_ok();
    eventually("its place is free", is_free);
    // Who is told of events takes a place as well.
    let mut told = Client::connect(world.socket());
    let request = Request::Events { dom: None, since: 0, follow: true };
    told.ask_or_refusal(&request).unwrap();
    assert!(!is_free());
    drop(told);
    eventually("its place is free, too", is_free);
}

#[test]
fn the_socket_is_for_its_group_and_only_one_daemon_has_it() {
    let mut world = World::new();
    assert_eq!(std::fs::metadata(world.socket()).unwrap().permissions().mode() & 0o777, 0o660);
    let mut second = World::with(|config| config.connections = 4);
    second.stop();
    second.config.socket = world.socket().to_owned();
    let said = second.start().unwrap_err().to_string();
    assert!(said.starts_with("another vesperd is running"), "{said}");
    assert!(world.ask(&Request::List {}).is_ok(), "the first one goes on");
    world.stop();
    assert!(!world.socket().exists());
    second.start().unwrap();
    assert!(second.ask(&Request::List {}).is_ok());
}

impl Client {
    /// For a client that may have been turned away before it said anything.
    fn ask_or_refusal(&mut self, request: &Request) -> Result<Done, vesper_api::Failure> {
        let _ = (&self.stream).write_all(&vesper_api::to_line(request));
        self.reply().into_result()
    }
}
