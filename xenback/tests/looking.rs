// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at which domains there are: what one look must leave to the next.

mod common;

use std::time::Duration;

use common::World;
use vesper_grant::DomId;
use vesper_xenback::action::listener::DeadCause;
use vesper_xenback::{Event, Uuid};

const G: DomId = DomId(1);

/// Nobody is to take the new one for the old one, of which things are told by its number.
#[test]
fn a_number_that_is_used_again_is_anothers_only_when_all_is_told_of_the_first() {
    let mut world = World::new();
    let _first = world.add_guest(1);
    let second = Uuid([0xcd; 16]);
    world.machine.destroy(G);
    world.store.release(1);
    world.machine.add_guest(G, second.0);
    world.store.introduce(1);
    world.events.clear();
    let told = world.backend.run(world.now);
    let cause = DeadCause::Destroyed;
    let (ended, gone) = (
        Event::GuestEnded { domid: G, uuid: World::uuid(1), cause },
        Event::GuestGone { domid: G, uuid: World::uuid(1) },
    );
    assert_eq!(told, [ended, gone]);
    assert!(world.backend.guest(G).is_none());
    world.pass(Duration::ZERO);
    assert_eq!(world.events, [Event::GuestAppeared { domid: G, uuid: second }]);
    assert_eq!(world.info(1).uuid, second);
}
