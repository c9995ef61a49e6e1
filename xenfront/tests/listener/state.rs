// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The listener's state machine, step by step, with a backend that keeps to the protocol.

use crate::desk::{Desk, export, time_is, unexport};
use vesper_ring::wire::listener::{Answer, Asked};
use vesper_xenfront::Progress;
use vesper_xenfront::listener::SLOTS;

fn is_time(asked: &Asked) -> bool {
    matches!(asked, Asked::Time { .. })
}

#[test]
fn a_connection_begins_with_eight_exchanges_of_time_each_with_the_stamps_of_the_one_before() {
    let mut desk = Desk::new();
    let mut before = (0, 0);
    for exchange in 0..8 {
        let Asked::Time { sent, prev_sent, prev_got } = desk.asked() else { panic!("{exchange}: no TIME") };
        assert_eq!((prev_sent, prev_got), before, "{exchange}");
        assert!(sent > before.1, "{exchange}");
        desk.answer(&time_is()).unwrap();
        // The fake clock goes on by one at each look: the answer's stamp is the next.
        before = (sent, sent + 1);
    }
    assert!(desk.try_asked().is_none(), "no more by itself");
}

#[test]
fn time_goes_on_when_told_while_there_is_an_export() {
    let mut desk = Desk::idle();
    desk.export(5);
    desk.settle();
    // Told twice before it is asked, one.
    desk.front.time().unwrap();
    desk.front.time().unwrap();
    desk.time();
    desk.time(); // the second call came when the first was asked already
    assert!(desk.try_asked().is_none());
    desk.unexport(5);
    desk.settle();
    desk.front.time().unwrap();
    assert!(desk.try_asked().is_none(), "nothing is left to be dated");
}

#[test]
fn an_idle_guest_asks_nothing_and_its_first_export_begins_with_the_time() {
    let mut desk = Desk::idle();
    for _ in 0..3 {
        desk.front.time().unwrap();
    }
    assert!(desk.try_asked().is_none());
    for round in 0..2 {
        let number = desk.export(7);
        // The last exchange of before is completed by it: the host has its own stamps of that, and knows its age.
        assert!(matches!(desk.asked(), Asked::Time { prev_sent: 1.., prev_got: 1.., .. }), "{round}");
        desk.answer(&time_is()).unwrap();
        assert_eq!(desk.asked(), export(7, number, false), "{round}");
        desk.done(0);
        for _ in 0..7 {
            desk.time();
        }
        assert!(desk.try_asked().is_none(), "{round}");
        desk.unexport(7);
        desk.settle();
    }
}

#[test]
fn what_was_refused_is_not_dated() {
    let mut desk = Desk::idle();
    desk.export(4);
    desk.time();
    desk.asked();
    desk.done(-28);
    for _ in 0..7 {
        desk.time();
    }
    desk.front.time().unwrap();
    assert!(desk.try_asked().is_none());
}

#[test]
fn stamps_of_one_connection_are_not_told_in_the_next() {
    let mut desk = Desk::idle();
    desk.reconnect();
    assert!(matches!(desk.asked(), Asked::Time { prev_sent: 0, prev_got: 0, .. }));
    desk.answer(&time_is()).unwrap();
    assert!(matches!(desk.asked(), Asked::Time { prev_sent: 1.., prev_got: 1.., .. }));
}

#[test]
fn what_exists_is_announced_after_the_first_time_and_before_the_others() {
    let mut desk = Desk::attached();
    let (a, b) = (desk.export(3), desk.export(0));
    assert!(desk.try_asked().is_none(), "nothing is said before the start");
    desk.front.start().unwrap();
    desk.time();
    assert_eq!(desk.asked(), export(0, b, false));
    desk.done(0);
    assert_eq!(desk.asked(), export(3, a, false));
    assert_eq!(desk.told(), [(0, Some(0))]);
    desk.done(0);
    assert_eq!(desk.told(), [(3, Some(0))]);
    for _ in 0..7 {
        desk.time();
    }
    assert!(desk.try_asked().is_none());
}

#[test]
fn an_export_of_a_connection_that_is_up_is_announced_at_once() {
    let mut desk = Desk::busy();
    let number = desk.export(63);
    assert_eq!(desk.asked(), export(63, number, false));
    assert!(desk.told().is_empty());
    desk.done(0);
    assert_eq!(desk.told(), [(63, Some(0))]);
    desk.unexport(63);
    assert_eq!(desk.asked(), unexport(number));
    assert!(desk.told().is_empty(), "not before the host says so");
    desk.done(0);
    assert_eq!(desk.told(), [(63, None)]);
    assert!(desk.try_asked().is_none());
}

#[test]
fn one_question_at_a_time() {
    let mut desk = Desk::new();
    let number = desk.export(1);
    desk.front.time().unwrap();
    desk.export(2);
    assert!(is_time(&desk.asked()));
    assert!(desk.try_asked().is_none());
    desk.answer(&time_is()).unwrap();
    assert_eq!(desk.asked(), export(1, number, false));
    assert!(desk.try_asked().is_none());
}

#[test]
fn what_leaves_goes_before_what_comes() {
    let mut desk = Desk::idle();
    let old = desk.export(9);
    desk.settle();
    // The question that is open keeps both waiting.
    desk.front.time().unwrap();
    let new = desk.export(1);
    desk.unexport(9);
    desk.time();
    assert_eq!(desk.asked(), unexport(old));
    desk.done(0);
    assert_eq!(desk.asked(), export(1, new, false));
}

#[test]
fn a_refusal_is_told_and_the_export_offered_again_only_when_asked_for_or_connected_anew() {
    for status in [-28, -17, -22, -5] {
        let mut desk = Desk::busy();
        let number = desk.export(4);
        desk.asked();
        desk.done(status);
        assert_eq!(desk.told(), [(4, Some(status))]);
        assert!(desk.try_asked().is_none());

        desk.front.export(4).unwrap();
        assert_eq!(desk.asked(), export(4, number, false));
        desk.done(status);
        desk.reconnect();
        desk.time();
        assert_eq!(desk.asked(), export(4, number, false));
        desk.done(0);
        assert_eq!(desk.told(), [(4, Some(status)), (4, Some(0))]);
    }
}

#[test]
fn what_was_refused_ends_without_a_word_to_the_host() {
    let mut desk = Desk::busy();
    desk.export(4);
    desk.asked();
    desk.done(-28);
    desk.told();
    desk.unexport(4);
    assert_eq!(desk.told(), [(4, None)]);
    assert!(desk.try_asked().is_none());
}

#[test]
fn lack_of_memory_for_an_offer_is_told_and_holds_up_nothing_else() {
    let mut desk = Desk::attached();
    for slot in 0..SLOTS as u32 {
        desk.export(slot);
    }
    desk.world.borrow_mut().no_open = Some(12);
    desk.front.start().unwrap();
    desk.time();
    assert_eq!(desk.told(), (0..SLOTS as u32).map(|slot| (slot, Some(-12))).collect::<Vec<_>>());
    desk.time();
    desk.world.borrow_mut().no_open = None;
    desk.front.export(7).unwrap();
    desk.time();
    assert_eq!(desk.asked(), export(7, 8, false));
}

#[test]
fn an_offer_that_the_host_would_take_for_an_attack_is_not_said() {
    type Spoil = fn(&mut vesper_xenfront::listener::Offer);
    let spoils: [(&str, Spoil); 7] = [
        ("no number", |o| o.export = 0),
        ("no descriptor", |o| o.gref = 0),
        ("no directory", |o| o.directory = 0),
        ("no grants", |o| o.grants = 0),
        ("too many grants", |o| o.grants = u32::MAX),
        ("a part of nothing", |o| o.flags = 1),
        ("unknown flags", |o| o.flags = 2),
    ];
    for (what, spoil) in spoils {
        let mut desk = Desk::busy();
        desk.world.borrow_mut().spoil = Some(spoil);
        desk.export(0);
        assert!(desk.try_asked().is_none(), "{what}");
        assert_eq!(desk.told(), [(0, Some(-5))], "{what}");
        desk.world.borrow_mut().spoil = None;
        desk.front.export(0).unwrap();
        assert_eq!(desk.asked(), export(0, 2, false), "{what}");
    }
}

#[test]
fn an_end_while_the_export_is_open_is_said_after_its_answer() {
    let mut desk = Desk::busy();
    let number = desk.export(5);
    desk.asked();
    desk.unexport(5);
    desk.unexport(5);
    assert!(desk.try_asked().is_none() && desk.told().is_empty());
    desk.done(0);
    assert_eq!(desk.told(), [(5, Some(0))]);
    assert_eq!(desk.asked(), unexport(number));
    desk.done(0);
    assert_eq!(desk.told(), [(5, None)]);

    // Refused, there is nothing to take back.
    desk.export(5);
    desk.asked();
    desk.unexport(5);
    desk.done(-17);
    assert_eq!(desk.told(), [(5, Some(-17)), (5, None)]);
    assert!(desk.try_asked().is_none());
}

#[test]
fn an_export_that_was_never_announced_ends_at_once() {
    let mut desk = Desk::attached();
    desk.export(0);
    desk.unexport(0);
    assert_eq!(desk.told(), [(0, None)]);
    // Also with a connection, when its turn has not come.
    desk.front.start().unwrap();
    desk.export(0);
    desk.unexport(0);
    assert_eq!(desk.told(), [(0, None)]);
    assert!(desk.settle().is_empty());
}

#[test]
fn a_host_that_does_not_know_the_export_has_let_go_of_it() {
    let mut desk = Desk::idle();
    desk.export(2);
    desk.settle();
    desk.told();
    desk.unexport(2);
    desk.asked();
    desk.done(-2);
    assert_eq!(desk.told(), [(2, None)]);
}

#[test]
fn more_of_an_export_is_a_part() {
    let mut desk = Desk::busy();
    let number = desk.export(6);
    desk.asked();
    // It comes while the whole is on its way, and again while the part is.
    desk.more(6);
    assert!(desk.try_asked().is_none());
    desk.done(0);
    assert_eq!(desk.asked(), export(6, number, true));
    desk.more(6);
    desk.done(0);
    assert_eq!(desk.asked(), export(6, number, true));
    // Without the part the host still has the rest.
    desk.done(-28);
    assert_eq!(desk.told(), [(6, Some(0)), (6, Some(0)), (6, Some(-28))]);
    desk.unexport(6);
    assert_eq!(desk.asked(), unexport(number));
    desk.done(0);

    // The same when the end comes while a part is open, whatever becomes of it.
    for status in [0, -28] {
        let number = desk.export(6);
        desk.settle();
        desk.more(6);
        desk.asked();
        desk.unexport(6);
        desk.done(status);
        assert_eq!(desk.asked(), unexport(number));
        desk.done(0);
        assert_eq!(desk.told().last(), Some(&(6, None)));
    }
}

#[test]
fn more_of_an_export_that_was_not_announced_goes_with_it() {
    let mut desk = Desk::new();
    let number = desk.export(6);
    desk.more(6);
    desk.time();
    assert_eq!(desk.asked(), export(6, number, false));
    desk.done(0);
    assert!(is_time(&desk.asked()));
}

#[test]
fn a_new_connection_announces_everything_anew_under_the_same_number() {
    let mut desk = Desk::idle();
    let (a, b, c) = (desk.export(0), desk.export(1), desk.export(2));
    desk.time();
    desk.asked();
    desk.done(0);
    desk.asked();
    desk.done(-28);
    desk.asked(); // shared, refused, open
    desk.reconnect();
    assert_eq!(desk.settle(), [export(0, a, false), export(1, b, false), export(2, c, false)]);
}

#[test]
fn the_end_of_the_connection_ends_what_was_to_be_taken_back() {
    // The UNEXPORT is open, waits for its turn, waits for the EXPORT.
    let mut desk = Desk::idle();
    for slot in 0..3 {
        desk.export(slot);
    }
    desk.settle();
    desk.export(3);
    desk.told();
    desk.unexport(3);
    desk.unexport(0);
    assert!(matches!(desk.asked(), Asked::Export(_)));
    desk.done(0);
    assert_eq!(desk.asked(), unexport(1));
    desk.unexport(2);
    desk.told();
    desk.attach();
    assert_eq!(desk.told(), [(0, None), (2, None), (3, None)]);
    desk.front.start().unwrap();
    assert_eq!(desk.settle(), [export(1, 2, false)]);
}

#[test]
fn a_slot_that_leaves_takes_nothing_new() {
    let mut desk = Desk::idle();
    let number = desk.export(1);
    desk.settle();
    desk.front.time().unwrap();
    desk.unexport(1);
    desk.front.export(1).unwrap();
    desk.time();
    assert_eq!(desk.asked(), unexport(number));
    desk.done(0);
    assert!(desk.try_asked().is_none());
}

#[test]
fn slots_that_are_none_change_nothing() {
    let mut desk = Desk::idle();
    for slot in [SLOTS as u32, u32::MAX] {
        desk.front.export(slot).unwrap();
        desk.front.unexport(slot, 1).unwrap();
    }
    desk.front.unexport(0, 1).unwrap();
    assert!(desk.try_asked().is_none() && desk.told().is_empty());
}

#[test]
fn without_a_connection_everything_is_only_noted() {
    let mut desk = Desk::idle();
    desk.front.detach();
    desk.front.time().unwrap();
    let kicks = desk.world.borrow().kicks;
    let number = desk.export(0);
    assert_eq!(desk.front.run(), Ok(Progress::Nothing));
    assert_eq!(desk.world.borrow().kicks, kicks);
    desk.reconnect();
    assert_eq!(desk.settle(), [export(0, number, false)]);
}

#[test]
fn an_event_without_an_answer_is_told_apart() {
    let mut desk = Desk::new();
    assert_eq!(desk.front.run(), Ok(Progress::Nothing));
    desk.asked();
    assert_eq!(desk.answer(&Answer::TimeIs { got: 1, sent: 1 }), Ok(Progress::Done));
    assert_eq!(desk.front.run(), Ok(Progress::Nothing));
}

#[test]
fn who_sleeps_is_woken() {
    let mut desk = Desk::busy();
    let kicks = |desk: &Desk| desk.world.borrow().kicks;
    let before = kicks(&desk);
    assert!(!desk.back.final_check().unwrap(), "the host sleeps");
    desk.export(0);
    assert_eq!(kicks(&desk), before + 1);
    desk.asked();
    // It has not asked to be woken since.
    desk.done(0);
    desk.unexport(0);
    assert_eq!(kicks(&desk), before + 1);
    // And the guest waits for the answer.
    desk.asked();
    desk.back.push(&Answer::Done { status: 0 }.response(desk.open_id)).unwrap();
    assert!(desk.back.publish());
}
