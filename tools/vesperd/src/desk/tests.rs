// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the desk keeps, which no client can see.

use vesper_grant::loopback::Machine;
use vesper_xenback::Limits;
use vesper_xenstore::{MemoryStore, Tx};

use super::*;
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

#[test]
fn orders_of_a_client_that_went_away_are_not_kept() {
    let mut desk = desk();
    let attach = Request::Attach { dom: "web1".into(), timeout_ms: Some(86_400_000) };
    for client in [16, 17] {
        assert!(matches!(desk.request(client, &vesper_api::to_line(&attach), || None), Response::Later));
    }
    desk.forget(16);
    let clients: Vec<_> = desk.waiting.iter().map(|order| order.by.clone()).collect();
    assert!(matches!(clients[..], [By::Client(17)]), "{clients:?}");
}

/// Whether the guest's device is connected, or will be in a moment, is for the backend to say when the image is ready.
#[test]
fn an_image_of_a_client_that_went_away_is_not_kept() {
    let mut desk = desk();
    let closer = crate::closer::Closer::start().unwrap();
    let insmod = Request::Insmod { dom: "web1".into(), file: "x.ko".into(), args: vec![], timeout_ms: None };
    for client in [16, 17] {
        let file = Foreign::new(tempfile::tempfile().unwrap().into(), &closer);
        let response = desk.request(client, &vesper_api::to_line(&insmod), || Some(file));
        assert!(matches!(response, Response::Later));
    }
    desk.forget(16);
    let clients: Vec<_> = desk.preparing.values().map(|order| order.by.clone()).collect();
    assert!(matches!(clients[..], [By::Client(17)]), "{clients:?}");
}
