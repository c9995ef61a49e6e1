// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The loader's state machine, step by step, with a backend that keeps to the protocol.

mod common;

use common::{Desk, command, load, name, unload};
use vesper_ring::wire::loader::Loaded;
use vesper_ring::wire::{Answer, Asked};
use vesper_xenfront::Progress;

const MIB: u64 = 1 << 20;

fn outcome(desk: &mut Desk) -> (u64, i32) {
    result_of(&desk.asked())
}

#[test]
fn a_load_brings_image_and_arguments_and_tells_its_result() {
    let mut desk = Desk::parked();
    desk.world.borrow_mut().log = "probe: loaded\n".into();
    desk.answer(&load(1, "probe", 5, 3)).unwrap();
    assert_eq!(desk.serve(b"imageabc"), 1);
    assert_eq!(desk.world.borrow().running, Some(("probe".into(), Some(b"imageabc".to_vec()))));
    assert!(desk.try_asked().is_none(), "nothing is asked while the loader thread works");
    desk.finish(0).unwrap();
    let Asked::Dummy(Some(result)) = desk.asked() else { panic!() };
    assert_eq!((result.command, result.status, result.nanos), (command(1), 0, 1234));
    assert_eq!(result.log.unwrap().bytes, 14);
    assert_eq!(desk.world.borrow().text, b"probe: loaded\n");
}

#[test]
fn a_large_image_comes_through_windows_that_are_closed_before_the_load() {
    let mut desk = Desk::parked();
    let data: Vec<u8> = (0..3 * MIB + 4097).map(|i| (i % 251) as u8).collect();
    desk.answer(&load(1, "big", 3 * MIB, 4097)).unwrap();
    assert_eq!(desk.serve(&data), 4);
    let world = desk.world.borrow();
    assert_eq!(world.windows_opened, 4);
    assert!(world.window.is_none());
    assert_eq!(world.running.as_ref().unwrap().1.as_ref().unwrap(), &data);
}

#[test]
fn windows_are_no_larger_than_needed() {
    for (bytes, pages) in [(1, 1), (4096, 1), (4097, 2), (MIB, 256), (MIB + 1, 256)] {
        let mut desk = Desk::parked();
        desk.answer(&load(1, "m", bytes, 0)).unwrap();
        assert_eq!(desk.world.borrow().window, Some(pages), "{bytes} bytes");
        let Asked::Fetch(fetch) = desk.asked() else { panic!() };
        assert_eq!(u64::from(fetch.bytes), bytes.min(MIB));
    }
}

#[test]
fn the_kernels_refusal_is_told_and_the_next_load_works() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "bad", 4, 0)).unwrap();
    desk.serve(b"junk");
    desk.finish(-8).unwrap();
    assert_eq!(outcome(&mut desk), (1, -8));
    desk.load(2, "good");
}

#[test]
fn an_impossible_status_of_the_kernel_becomes_an_error() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "odd", 4, 0)).unwrap();
    desk.serve(b"junk");
    desk.finish(i32::MIN).unwrap();
    assert_eq!(outcome(&mut desk), (1, -5));
}

#[test]
fn an_unload_takes_two_steps() {
    let mut desk = Desk::parked();
    desk.load(1, "probe");
    desk.answer(&unload(2, "probe")).unwrap();
    assert_eq!(desk.asked(), Asked::Prepared { command: command(2), status: 0 });
    assert!(desk.world.borrow().running.is_none(), "not before the host says so");
    desk.answer(&Answer::Proceed { command: command(2) }).unwrap();
    assert_eq!(desk.world.borrow().running, Some(("probe".into(), None)));
    desk.finish(0).unwrap();
    assert_eq!(outcome(&mut desk), (2, 0));
    desk.reconnect();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!((report.entries, report.gref), (0, 0), "it is out");
}

#[test]
fn an_unload_of_a_busy_module_is_refused_in_the_first_step() {
    let mut desk = Desk::parked();
    desk.load(1, "probe");
    desk.world.borrow_mut().no_check = Some(11);
    for end in [Answer::Cancelled { command: command(2) }, Answer::Proceed { command: command(2) }] {
        desk.answer(&unload(2, "probe")).unwrap();
        assert_eq!(desk.asked(), Asked::Prepared { command: command(2), status: -11 });
        desk.answer(&end).unwrap();
        assert_eq!(outcome(&mut desk), (2, -11));
        assert!(desk.world.borrow().running.is_none());
    }
}

#[test]
fn a_cancelled_unload_leaves_the_module_and_no_result() {
    let mut desk = Desk::parked();
    desk.load(1, "probe");
    desk.answer(&unload(2, "probe")).unwrap();
    desk.asked();
    desk.answer(&Answer::Cancelled { command: command(2) }).unwrap();
    assert_eq!(desk.asked(), Asked::Dummy(None));
    assert!(desk.world.borrow().modules.contains("probe"));
}

#[test]
fn a_cancelled_transfer_leaves_nothing() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "probe", 2 * MIB, 0)).unwrap();
    desk.asked();
    desk.answer(&Answer::Filled { command: command(1), status: 0 }).unwrap();
    desk.asked();
    desk.answer(&Answer::Cancelled { command: command(1) }).unwrap();
    assert_eq!(desk.asked(), Asked::Dummy(None));
    let (window, image) = (desk.world.borrow().window, desk.world.borrow().image.is_none());
    assert!(window.is_none() && image);
    desk.load(2, "next");
}

#[test]
fn data_that_the_host_cannot_bring_ends_the_command_with_that_error() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "probe", 100, 0)).unwrap();
    desk.asked();
    desk.answer(&Answer::Filled { command: command(1), status: -14 }).unwrap();
    assert_eq!(outcome(&mut desk), (1, -14));
    assert!(desk.world.borrow().image.is_none() && desk.world.borrow().window.is_none());
}

#[test]
fn lack_of_anything_in_the_guest_is_told() {
    type Break = fn(&mut common::World);
    let breaks: [(&str, Break, i32); 4] = [
        ("image", |w| w.no_image = Some(12), -12),
        ("window", |w| w.no_window = Some(12), -12),
        ("append", |w| w.no_append = Some(16), -16),
        ("start", |w| w.no_start = Some(108), -108),
    ];
    for (what, break_it, status) in breaks {
        let mut desk = Desk::parked();
        break_it(&mut desk.world.borrow_mut());
        desk.answer(&load(1, "probe", 5, 3)).unwrap();
        match desk.asked() {
            Asked::Fetch(_) => {
                desk.answer(&Answer::Filled { command: command(1), status: 0 }).unwrap();
                assert_eq!(outcome(&mut desk), (1, status), "{what}");
            }
            Asked::Dummy(Some(result)) => {
                assert_eq!((result.command.seq, result.status), (1, status), "{what}")
            }
            other => panic!("{what}: {other:?}"),
        }
        *desk.world.borrow_mut() = common::World::default();
        desk.load(2, "next");
    }
}

#[test]
fn the_frontend_itself_is_neither_loaded_nor_unloaded() {
    for spelling in ["vesper_front", "vesper-front"] {
        let mut desk = Desk::parked();
        desk.answer(&load(1, spelling, 5, 0)).unwrap();
        assert_eq!(outcome(&mut desk), (1, -1));
        desk.answer(&unload(2, spelling)).unwrap();
        assert_eq!(desk.asked(), Asked::Prepared { command: command(2), status: -1 });
        desk.answer(&Answer::Cancelled { command: command(2) }).unwrap();
        assert_eq!(outcome(&mut desk), (2, -1));
    }
}

#[test]
fn what_is_loaded_is_reported_at_every_connect() {
    let mut desk = Desk::parked();
    for seq in 1..=60 {
        desk.load(seq, &format!("m{seq}"));
    }
    desk.reconnect();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!((report.entries, report.more), (56, true));
    let first = Loaded::list(&desk.world.borrow().text).next().unwrap();
    assert_eq!(first.check().unwrap(), (command(1), name("m1")));
    desk.answer(&Answer::Done).unwrap();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!((report.entries, report.more), (4, false));
    let last = Loaded::list(&desk.world.borrow().text).nth(3).unwrap();
    assert_eq!(last.check().unwrap(), (command(60), name("m60")));
    desk.answer(&Answer::Done).unwrap();
    // The result of the last load, whose DUMMY was never answered, is told again.
    assert_eq!(outcome(&mut desk), (60, 0));
}

/// Answers REPORTs until another question comes, which is given too; entries of each, and whether more were announced.
fn reports(desk: &mut Desk) -> (Vec<(u32, bool)>, Asked) {
    let mut reports = Vec::new();
    loop {
        match desk.asked() {
            Asked::Report(report) => reports.push((report.entries, report.more)),
            other => return (reports, other),
        }
        desk.answer(&Answer::Done).unwrap();
    }
}

fn result_of(asked: &Asked) -> (u64, i32) {
    match asked {
        Asked::Dummy(Some(result)) => (result.command.seq, result.status),
        other => panic!("no result but {other:?}"),
    }
}

#[test]
fn a_list_that_changes_while_it_is_reported_is_reported_again() {
    // A load ends under a list of one page that was said to be all.
    let mut desk = Desk::parked();
    for seq in 1..=56 {
        desk.load(seq, &format!("m{seq}"));
    }
    desk.answer(&load(57, "late", 5, 3)).unwrap();
    desk.serve(b"imageabc");
    desk.reconnect();
    desk.finish(0).unwrap();
    let (list, next) = reports(&mut desk);
    assert_eq!(list, [(56, false), (56, true), (1, false)]);
    assert_eq!(result_of(&next), (57, 0));

    // An unload ends under a list that was said to have a second page.
    desk.answer(&unload(58, "m1")).unwrap();
    desk.asked();
    desk.answer(&Answer::Proceed { command: command(58) }).unwrap();
    desk.reconnect();
    desk.finish(0).unwrap();
    let (list, next) = reports(&mut desk);
    assert_eq!(list, [(56, true), (0, false), (56, false)]);
    assert_eq!(result_of(&next), (58, 0));

    // One that fails changes nothing.
    desk.answer(&load(59, "bad", 5, 3)).unwrap();
    desk.serve(b"imageabc");
    desk.reconnect();
    desk.finish(-8).unwrap();
    let (list, next) = reports(&mut desk);
    assert_eq!(list, [(56, false)]);
    assert_eq!(result_of(&next), (59, -8));
}

#[test]
fn modules_that_the_guest_removed_itself_are_not_reported() {
    let mut desk = Desk::parked();
    desk.load(1, "stays");
    desk.load(2, "goes");
    desk.world.borrow_mut().modules.remove("goes");
    desk.reconnect();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!(report.entries, 1);
}

#[test]
fn a_full_table_refuses_until_a_module_is_gone() {
    let mut desk = Desk::with_table(2);
    desk.asked();
    desk.answer(&Answer::Done).unwrap();
    desk.asked();
    desk.load(1, "a");
    desk.load(2, "b");
    desk.answer(&load(3, "c", 5, 3)).unwrap();
    assert_eq!(outcome(&mut desk), (3, -28));
    desk.world.borrow_mut().modules.remove("a");
    desk.load(4, "c");
}

#[test]
fn a_result_is_told_again_until_its_dummy_was_answered() {
    let mut desk = Desk::parked();
    desk.load(1, "probe");
    for _ in 0..3 {
        desk.reconnect();
        desk.asked();
        desk.answer(&Answer::Done).unwrap();
        assert_eq!(outcome(&mut desk), (1, 0));
    }
    desk.answer(&unload(2, "other")).unwrap();
    desk.reconnect();
    desk.asked();
    desk.answer(&Answer::Done).unwrap();
    assert_eq!(desk.asked(), Asked::Dummy(None), "that answer took it");
}

#[test]
fn an_interrupted_transfer_is_dropped() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "probe", 2 * MIB, 0)).unwrap();
    desk.asked();
    desk.reconnect();
    assert!(desk.world.borrow().image.is_none() && desk.world.borrow().window.is_none());
    desk.asked();
    desk.answer(&Answer::Done).unwrap();
    assert_eq!(desk.asked(), Asked::Dummy(None));
    desk.load(2, "next");
}

#[test]
fn a_load_that_runs_goes_on_over_a_reconnect() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "slow", 5, 3)).unwrap();
    desk.serve(b"imageabc");
    desk.reconnect();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!(report.entries, 0);
    desk.answer(&Answer::Done).unwrap();
    assert!(desk.try_asked().is_none(), "busy");
    desk.finish(0).unwrap();
    assert_eq!(outcome(&mut desk), (1, 0));
    desk.load(2, "next");
}

#[test]
fn a_load_that_ends_while_nobody_is_connected_is_told_later() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "slow", 5, 3)).unwrap();
    desk.serve(b"imageabc");
    desk.front.detach();
    desk.finish(0).unwrap();
    desk.reconnect();
    let Asked::Report(report) = desk.asked() else { panic!() };
    assert_eq!(report.entries, 1);
    desk.answer(&Answer::Done).unwrap();
    assert_eq!(outcome(&mut desk), (1, 0));
}

#[test]
fn a_load_that_ends_before_the_report_is_answered_is_told_after_it() {
    let mut desk = Desk::parked();
    desk.answer(&load(1, "slow", 5, 3)).unwrap();
    desk.serve(b"imageabc");
    desk.reconnect();
    desk.asked();
    desk.finish(-17).unwrap();
    assert!(desk.try_asked().is_none(), "one question at a time");
    desk.answer(&Answer::Done).unwrap();
    assert_eq!(outcome(&mut desk), (1, -17));
}

#[test]
fn an_event_without_an_answer_is_told_apart() {
    let mut desk = Desk::parked();
    assert_eq!(desk.front.run(), Ok(Progress::Nothing));
    assert_eq!(desk.answer(&unload(1, "x")), Ok(Progress::Done));
    assert_eq!(desk.front.run(), Ok(Progress::Nothing));
}

#[test]
fn the_log_of_earlier_work_does_not_go_with_a_refusal() {
    let mut desk = Desk::parked();
    desk.world.borrow_mut().log = "of the first\n".into();
    desk.load(1, "first");
    desk.answer(&load(2, "vesper_front", 5, 0)).unwrap();
    let Asked::Dummy(Some(result)) = desk.asked() else { panic!() };
    assert!(result.log.is_none());
}
