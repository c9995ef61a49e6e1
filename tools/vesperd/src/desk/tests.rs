// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the desk keeps, which no client can see.

use std::fs::File;

use vesper_api::GuestRef;
use vesper_events::{Kind, Report, Who};
use vesper_grant::loopback::Machine;
use vesper_stream::Moment;
use vesper_xenback::Limits;
use vesper_xenstore::{MemoryStore, Tx};

use super::*;
use crate::events::Note;
use crate::rights::tests::{apart, user};
use crate::saver::Place;

/// The desk of a machine with the guest 1, in which nothing answers.
fn desk() -> Desk {
    let machine = Machine::new();
    let store = Arc::new(MemoryStore::new().unwrap());
    machine.add_guest(DomId(1), [1; 16]);
    store.write(Tx::NONE, "/local/domain/1/name", b"web1").unwrap();
    store.introduce(1);
    let backend = Backend::new(Arc::new(machine), store, Limits::default()).unwrap();
    let saver = Saver::start(Place { dir: "/nonexistent".into(), limit: 0, group: None }).unwrap();
    let hooks = crate::hooks::Rules { dir: "/nonexistent".into(), limit: Duration::ZERO, at_once: 1 };
    let (dir, rules) = ("/proc/nonexistent".into(), Arc::default());
    let place = crate::events::Place { dir, limit: 1 << 20, group: None, hooks, rules };
    let events = Events::start(place).unwrap();
    let mut desk = Desk::new(backend, Files::default(), saver, events, &Config::default()).unwrap();
    desk.run();
    desk
}

/// What becomes of a request of somebody who is in these groups; those of the rights are 70 and so on.
fn ask(desk: &mut Desk, id: ClientId, groups: &[u32], request: &Request, file: Option<File>) -> Response {
    let closer = crate::closer::Closer::start().unwrap();
    let (peer, rights) = (user(groups), apart());
    let file = file.map(|file| Foreign::new(file.into(), &closer));
    desk.request(Caller { id, peer: &peer, rights: &rights }, &vesper_api::to_line(request), || file)
}

/// Of each kind: a request that cannot be in this table, since nobody can have written its right down, does not compile.
#[test]
fn each_request_needs_its_right_and_no_other() {
    let mut desk = desk();
    // The examples of the book are all kinds; its table says which right each needs.
    let book = include_str!("../../../../docs/api.md");
    let requests: Vec<Request> = book
        .lines()
        .filter(|line| line.starts_with("{\"request\":"))
        .map(|line| vesper_api::from_line(line.as_bytes()).unwrap())
        .collect();
    let rows = book.lines().skip_while(|line| !line.starts_with("| request | right |")).skip(2);
    let rows: Vec<[&str; 2]> = rows
        .map_while(|line| line.strip_prefix("| `")?.split_once("` | `"))
        .map(|(command, rest)| [command, rest.split('`').next().unwrap()])
        .collect();
    assert_eq!(rows.len(), 10);
    for [command, right] in rows {
        let of_it: Vec<_> = requests.iter().filter(|request| request.command() == command).collect();
        assert!(!of_it.is_empty(), "{command} has no example");
        for request in of_it {
            assert_eq!(request.right().name(), right, "{command}");
            let place = Right::ALL.iter().position(|right| *right == request.right()).unwrap() as u32;
            let others: Vec<_> = (70..74).filter(|group| *group != 70 + place).collect();
            let Response::Reply(reply) = ask(&mut desk, 16, &others, request, None) else {
                panic!("{command} is not refused")
            };
            let failure = reply.into_result().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::NotPermitted, "{command}: {}", failure.message);
            let wanted = format!(
                "{command} needs the right {right}; user 4000000 is neither root nor in its group may-{right}"
            );
            assert_eq!(failure.message, wanted);
            let remedy = failure.remedy.unwrap();
            assert!(remedy.contains(&format!("adduser USER may-{right}")), "{remedy}");
            // With nothing but this right it is looked at.
            if let Response::Reply(reply) = ask(&mut desk, 16, &[70 + place], request, None) {
                let refused =
                    reply.into_result().is_err_and(|failure| failure.kind == ErrorKind::NotPermitted);
                assert!(!refused, "{command}");
            }
        }
    }
    assert!(desk.preparing.is_empty() && desk.running.is_empty());
}

#[test]
fn the_file_of_a_refused_insmod_is_not_kept_for_the_next() {
    let mut desk = desk();
    let insmod = Request::Insmod { dom: "web1".into(), file: "x.ko".into(), args: vec![], timeout_ms: None };
    let (peer, rights) = (user(&[70]), apart());
    let mut taken = false;
    let caller = Caller { id: 16, peer: &peer, rights: &rights };
    desk.request(caller, &vesper_api::to_line(&insmod), || {
        taken = true;
        None
    });
    assert!(taken);
}

#[test]
fn orders_of_a_client_that_went_away_are_not_kept() {
    let mut desk = desk();
    let attach = Request::Attach { dom: "web1".into(), timeout_ms: Some(86_400_000) };
    for client in [16, 17] {
        assert!(matches!(ask(&mut desk, client, &[73], &attach, None), Response::Later));
    }
    desk.forget(16);
    let clients: Vec<_> = desk.waiting.iter().map(|order| order.by.clone()).collect();
    assert!(matches!(clients[..], [By::Client(17, _)]), "{clients:?}");
}

/// Whether the guest's device is connected, or will be in a moment, is for the backend to say when the image is ready.
#[test]
fn an_image_of_a_client_that_went_away_is_not_kept() {
    let mut desk = desk();
    let insmod = Request::Insmod { dom: "web1".into(), file: "x.ko".into(), args: vec![], timeout_ms: None };
    for client in [16, 17] {
        let response = ask(&mut desk, client, &[72], &insmod, Some(tempfile::tempfile().unwrap()));
        assert!(matches!(response, Response::Later));
    }
    desk.forget(16);
    let clients: Vec<_> = desk.preparing.values().map(|order| order.by.clone()).collect();
    assert!(matches!(clients[..], [By::Client(17, _)]), "{clients:?}");
}

/// A guest hangs, and nobody may do anything about it for now; meanwhile another one makes as many events as it likes.
#[test]
fn what_another_guest_makes_does_not_hide_that_one_hangs() {
    let mut desk = desk();
    let alive = Request::Alive { dom: "1".into(), module: None, timeout_ms: None, now: true };
    let now = |desk: &mut Desk| match ask(desk, 16, &[70], &alive, None) {
        Response::Reply(reply) => match reply.into_result().unwrap() {
            Done::Alive(answer) => (answer.alive, answer.faults.len()),
            other => panic!("{other:?}"),
        },
        _ => panic!("it is not answered at once"),
    };
    assert_eq!(now(&mut desk), (true, 0));
    let seen = |kind| Note::Seen(Report::seen(kind, "x".repeat(500), Moment::now()));
    desk.events.note(DomId(1), seen(Kind::GuestHung));
    until("the hang is told", || desk.events.recent().last() == 1);
    assert_eq!(now(&mut desk), (false, 1));
    let other = GuestRef { domid: 2, name: "web2".into(), uuid: "u2".into() };
    desk.events.note(DomId(2), Note::Is(Who::new(other, None)));
    (0..8000).for_each(|_| desk.events.note(DomId(2), seen(Kind::ProbeLost)));
    until("the hang is none of the newest events", || desk.events.recent().gone() >= 1);
    assert_eq!(now(&mut desk), (false, 1));
    desk.events.note(DomId(1), Note::Recovered);
    until("it is told that it goes on", || desk.events.recent().all().any(|event| event.recovered));
    assert_eq!(now(&mut desk), (true, 0));
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: it did not happen");
}
