// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each path by itself.

use super::*;

/// A violation whose text has `what` in it.
fn refused(result: Result<Option<Told>, Violation>, what: &str) {
    let violation = result.expect_err(what);
    assert!(violation.0.contains(what), "{violation:?} is not about {what:?}");
}

#[test]
fn a_load_goes_all_the_way() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Ask::Report { modules: vec![], more: false }), Ok(Some(Told::Done)));
    assert_eq!(bench.idle(), None);
    let id = bench.submit(load("probe"));
    assert_eq!(bench.link.told, [Told::Load(id, 10, 3)]);
    assert_eq!(bench.loader.status().current, Some(id));
    assert_eq!(bench.fetch(id, 0, 8), Ok(Some(Told::Filled(id, 0))));
    assert_eq!(bench.link.window, b"01234567");
    assert_eq!(bench.fetch(id, 8, 5), Ok(Some(Told::Filled(id, 0))));
    assert_eq!(bench.link.window, b"89a=1");
    assert_eq!(bench.result(id, 0), Ok(None));
    let finished = bench.loader.finished().unwrap();
    let outcome =
        Outcome { result: Ok(()), took: Duration::from_millis(3), log: "hello".into(), log_truncated: false };
    assert_eq!(finished, Finished { id, outcome });
    assert_eq!(bench.names(), ["probe"]);
    assert_eq!(bench.loader.counters().bytes, 13);
    assert_eq!(bench.loader.next_deadline(), None);
}

#[test]
fn an_unload_takes_two_steps() {
    let mut bench = Bench::new();
    let module = LoadedModule { name: name("probe"), command: CommandId { run: 1, seq: 1 } };
    bench.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    bench.idle();
    let id = bench.submit(unload("probe"));
    assert_eq!(bench.link.told, [Told::Unload(id)]);
    assert_eq!(bench.prepared(id, 0), Ok(Some(Told::Proceed(id))));
    assert_eq!(bench.result(id, 0), Ok(None));
    assert_eq!(bench.outcome(), (id, Ok(())));
    assert!(bench.names().is_empty());
}

#[test]
fn a_busy_module_stays_in() {
    let mut bench = Bench::new();
    let module = LoadedModule { name: name("probe"), command: CommandId { run: 1, seq: 1 } };
    bench.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    bench.idle();
    let id = bench.submit(unload("probe"));
    assert_eq!(bench.prepared(id, -16), Ok(Some(Told::Cancelled(id))));
    assert_eq!(bench.loader.finished(), None);
    bench.result(id, -16).unwrap();
    assert_eq!(bench.outcome(), (id, Err(Failure::Refused { errno: 16 })));
    assert_eq!(bench.names(), ["probe"]);

    // The same, from a frontend that does not repeat its reason.
    let id = bench.submit(unload("probe"));
    bench.prepared(id, -16).unwrap();
    bench.idle();
    assert_eq!(bench.outcome(), (id, Err(Failure::Refused { errno: 16 })));
}

#[test]
fn commands_queue_in_order_up_to_the_limit() {
    let mut bench = Bench::new();
    let ids: Vec<_> = (0..4).map(|_| bench.submit(load("probe"))).collect();
    assert_eq!(bench.loader.submit(load("probe"), TIMEOUT, bench.now), Err(SubmitError::QueueFull(4)));
    assert_eq!(bench.idle(), Some(Told::Load(ids[0], 10, 3)));
    for pair in ids.windows(2) {
        assert_eq!(bench.result(pair[0], -17), Ok(Some(Told::Load(pair[1], 10, 3))));
        assert_eq!(bench.outcome(), (pair[0], Err(Failure::Refused { errno: 17 })));
    }
}

#[test]
fn sizes_are_checked_before_a_command_is_accepted() {
    let mut bench = Bench::new();
    let now = bench.now;
    let mut submit = |image: usize, args: usize| {
        let (image, args) = (vec![0; image].into(), vec![0; args].into());
        bench.loader.submit(Command::Load { name: name("a"), image, args }, TIMEOUT, now).map(|_| ())
    };
    assert_eq!(submit(0, 0), Err(SubmitError::ImageSize(0)));
    assert_eq!(submit(1, ARGS_MAX + 1), Err(SubmitError::ArgumentsTooLong(ARGS_MAX + 1)));
    assert_eq!(submit(1, ARGS_MAX), Ok(()));
}

#[test]
fn a_guest_that_never_asks_costs_a_command_its_deadline() {
    let mut bench = Bench::new();
    let id = bench.submit(load("probe"));
    assert_eq!(bench.loader.next_deadline(), Some(bench.now + TIMEOUT));
    bench.expire();
    assert_eq!(bench.outcome(), (id, Err(Failure::TimedOut { sent: false })));
    assert_eq!(bench.idle(), None);
}

#[test]
fn a_hanging_init_is_busy_and_its_late_result_is_taken_in() {
    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(load("probe"));
    let since = bench.now;
    bench.fetch(id, 0, 13).unwrap();
    bench.now += Duration::from_secs(1);
    let waiting = bench.submit(unload("other"));
    bench.now += TIMEOUT - Duration::from_secs(1);
    bench.loader.tick(bench.now);
    assert_eq!(bench.outcome(), (id, Err(Failure::TimedOut { sent: true })));
    assert_eq!(bench.outcome(), (waiting, Err(Failure::Busy { since, command: id })));
    assert_eq!(bench.loader.status().busy_since, Some(since));
    assert_eq!(
        bench.loader.submit(unload("other"), TIMEOUT, bench.now),
        Err(SubmitError::Busy { since, command: id })
    );
    assert_eq!(bench.result(id, 0), Ok(None));
    assert_eq!(bench.loader.finished(), None, "it has had its outcome");
    assert_eq!(bench.names(), ["probe"], "but it is in");
    assert_eq!(bench.loader.counters().late_results, 1);
    let next = bench.submit(unload("probe"));
    assert_eq!(bench.link.told, [Told::Unload(next)]);
}

#[test]
fn a_transfer_past_its_deadline_is_cancelled() {
    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(load("probe"));
    bench.fetch(id, 0, 8).unwrap();
    bench.now += TIMEOUT;
    assert_eq!(bench.fetch(id, 8, 5), Ok(Some(Told::Cancelled(id))));
    assert_eq!(bench.outcome(), (id, Err(Failure::TimedOut { sent: true })));
    assert_eq!(bench.idle(), None);
    assert_eq!(bench.loader.finished(), None);
    let next = bench.submit(load("probe"));
    assert_eq!(bench.link.told, [Told::Load(next, 10, 3)]);
}

#[test]
fn an_unload_past_its_deadline_does_not_proceed() {
    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(unload("probe"));
    bench.now += TIMEOUT;
    assert_eq!(bench.prepared(id, 0), Ok(Some(Told::Cancelled(id))));
    assert_eq!(bench.outcome(), (id, Err(Failure::TimedOut { sent: true })));
}

#[test]
fn results_of_another_run_are_late_and_fetches_for_it_cancelled() {
    let mut bench = Bench::new();
    let id = CommandId { run: 6, seq: 3 };
    let current = Some(crate::SentCommand { id, load: true, name: name("probe") });
    bench.loader.remember(Memory { current, ..Memory::default() });
    assert_eq!(bench.fetch(id, 0, 8), Ok(Some(Told::Cancelled(id))));
    assert_eq!(bench.prepared(id, 0), Ok(Some(Told::Cancelled(id))));
    assert_eq!(bench.result(id, 0), Ok(None));
    assert_eq!(bench.names(), ["probe"], "reconciled");
    assert_eq!(bench.loader.counters().late_results, 1);
}

#[test]
fn the_success_of_an_unknown_command_asks_for_a_new_report() {
    let mut bench = Bench::new();
    let id = CommandId { run: 6, seq: 3 };
    assert_eq!(bench.result(id, 0), Ok(None));
    assert!(bench.loader.wants_report());
    // It waits for the new connection and does not begin on this one, which is about to end.
    let waiting = bench.submit(load("other"));
    assert!(bench.link.told.is_empty());
    bench.loader.disconnected();
    assert!(!bench.loader.wants_report());
    let module = LoadedModule { name: name("probe"), command: id };
    bench.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    // The guest cannot know that it was heard and tells it again.
    assert_eq!(bench.result(id, 0), Ok(Some(Told::Load(waiting, 10, 3))));
    assert!(!bench.loader.wants_report());
    assert_eq!(bench.names(), ["probe"]);
}

#[test]
fn a_failure_or_what_is_listed_or_was_told_to_a_predecessor_asks_for_no_report() {
    let id = CommandId { run: 6, seq: 3 };
    let mut failed = Bench::new();
    failed.result(id, -5).unwrap();
    let mut listed = Bench::new();
    let module = LoadedModule { name: name("probe"), command: id };
    listed.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    listed.result(id, 0).unwrap();
    let mut remembered = Bench::new();
    remembered.loader.remember(Memory { last_result: Some(id), ..Memory::default() });
    remembered.result(id, 0).unwrap();
    for bench in [failed, listed, remembered] {
        assert!(!bench.loader.wants_report());
    }
}

#[test]
fn an_id_that_was_never_issued_is_a_lie() {
    for id in
        [CommandId { run: 7, seq: 0 }, CommandId { run: 7, seq: 1 }, CommandId { run: 7, seq: u64::MAX }]
    {
        refused(Bench::new().result(id, 0), "never sent");
        refused(Bench::new().fetch(id, 0, 1), "never sent");
        refused(Bench::new().prepared(id, 0), "never sent");
        let module = LoadedModule { name: name("probe"), command: id };
        refused(Bench::new().ask(Ask::Report { modules: vec![module], more: false }), "never was");
    }
    let mut bench = Bench::new();
    let waiting = bench.submit(load("probe"));
    refused(bench.result(waiting, 0), "never sent");
}

#[test]
fn lies_about_the_current_command() {
    let offered = || {
        let mut bench = Bench::new();
        bench.idle();
        let id = bench.submit(load("probe"));
        (bench, id)
    };
    let (mut bench, id) = offered();
    refused(bench.result(id, 0), "whole image");
    let (mut bench, id) = offered();
    bench.fetch(id, 5, 8).unwrap();
    refused(bench.result(id, 0), "whole image");
    let (mut bench, id) = offered();
    refused(bench.result(id, 1), "no error number");
    refused(bench.result(id, -4096), "no error number");
    refused(bench.prepared(id, 0), "has none now");
    refused(bench.prepared(id, 5), "no error number");
    refused(bench.ask(Ask::Idle { result: None }), "owes");
    refused(bench.ask(Ask::Report { modules: vec![], more: false }), "owes");
    refused(bench.fetch(id, 0, 0), "0 bytes");
    refused(bench.fetch(id, 0, 14), "of 13");
    refused(bench.fetch(id, 14, 1), "of 13");
    refused(bench.fetch(id, u64::MAX, 1), "of 13");
    let other = CommandId { run: 6, seq: 1 };
    refused(bench.fetch(other, 0, 1), "owes");
    refused(bench.result(other, 0), "owes");

    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(unload("probe"));
    refused(bench.fetch(id, 0, 1), "unload");
    refused(bench.result(id, 0), "first step");
    bench.prepared(id, 0).unwrap();
    refused(bench.prepared(id, 0), "has none now");
}

#[test]
fn a_second_request_while_one_is_parked() {
    let mut bench = Bench::new();
    bench.idle();
    refused(bench.ask(Ask::Idle { result: None }), "second request");
}

#[test]
fn reports_come_in_parts_and_have_an_end() {
    let mut bench = Bench::new();
    let modules = |from: usize, count: usize| -> Vec<LoadedModule> {
        let module =
            |n: usize| LoadedModule { name: name(&format!("m{n}")), command: CommandId { run: 1, seq: 1 } };
        (from..from + count).map(module).collect()
    };
    bench.ask(Ask::Report { modules: modules(0, 56), more: true }).unwrap();
    assert!(bench.names().is_empty());
    bench.ask(Ask::Report { modules: modules(56, 4), more: false }).unwrap();
    assert_eq!(bench.names().len(), 60);
    for part in 0..18 {
        bench.ask(Ask::Report { modules: modules(part * 56, 56), more: true }).unwrap();
    }
    refused(bench.ask(Ask::Report { modules: modules(0, 56), more: true }), "more than 1024");
}

#[test]
fn a_window_that_cannot_be_written_is_told_and_may_be_tried_again() {
    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(load("probe"));
    bench.link.broken_window = true;
    assert_eq!(bench.fetch(id, 0, 13), Ok(Some(Told::Filled(id, -14))));
    assert_eq!(bench.loader.counters().bytes, 0);
    bench.link.broken_window = false;
    assert_eq!(bench.fetch(id, 0, 13), Ok(Some(Told::Filled(id, 0))));
    bench.result(id, 0).unwrap();
    assert_eq!(bench.outcome(), (id, Ok(())));
}

#[test]
fn an_interrupted_transfer_is_over_and_the_queue_goes_on() {
    let mut bench = Bench::new();
    bench.idle();
    let id = bench.submit(load("probe"));
    let next = bench.submit(load("other"));
    bench.fetch(id, 0, 8).unwrap();
    bench.loader.disconnected();
    assert_eq!(bench.outcome(), (id, Err(Failure::Interrupted { outcome_unknown: false })));
    bench.ask(Ask::Report { modules: vec![], more: false }).unwrap();
    assert_eq!(bench.idle(), Some(Told::Load(next, 10, 3)));
}

#[test]
fn a_running_load_survives_a_reconnection() {
    // Its result comes with the new connection.
    let running = || {
        let mut bench = Bench::new();
        bench.idle();
        let id = bench.submit(load("probe"));
        bench.fetch(id, 0, 13).unwrap();
        bench.loader.disconnected();
        (bench, id)
    };
    let (mut bench, id) = running();
    bench.ask(Ask::Report { modules: vec![], more: false }).unwrap();
    bench.result(id, -19).unwrap();
    assert_eq!(bench.outcome(), (id, Err(Failure::Refused { errno: 19 })));
    // Told again after another reconnection, which is nothing new.
    bench.loader.disconnected();
    bench.result(id, -19).unwrap();
    assert_eq!((bench.loader.finished(), bench.loader.counters().late_results), (None, 0));

    // No result, but it is in the list.
    let (mut bench, id) = running();
    let module = LoadedModule { name: name("probe"), command: id };
    bench.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    bench.idle();
    assert_eq!(bench.outcome(), (id, Ok(())));

    // Neither: nobody knows.
    let (mut bench, id) = running();
    bench.ask(Ask::Report { modules: vec![], more: false }).unwrap();
    bench.idle();
    assert_eq!(bench.outcome(), (id, Err(Failure::Interrupted { outcome_unknown: true })));

    // It never comes back.
    let (mut bench, id) = running();
    bench.expire();
    assert_eq!(bench.outcome(), (id, Err(Failure::TimedOut { sent: true })));
}

#[test]
fn everything_has_an_outcome_when_the_guest_goes() {
    let mut bench = Bench::new();
    bench.idle();
    let current = bench.submit(load("probe"));
    let waiting = bench.submit(load("other"));
    bench.loader.abandon(&Failure::GuestGone);
    assert_eq!(bench.outcome(), (current, Err(Failure::GuestGone)));
    assert_eq!(bench.outcome(), (waiting, Err(Failure::GuestGone)));
    bench.expire();
    assert_eq!(bench.loader.finished(), None);
}

#[test]
fn a_link_that_breaks_while_a_command_is_offered_costs_it_no_outcome() {
    let mut bench = Bench::new();
    bench.idle();
    bench.link.broken = true;
    let id = bench.loader.submit(load("probe"), TIMEOUT, bench.now).unwrap();
    let violation = bench.loader.pump(&mut bench.link, bench.now).unwrap_err();
    bench.loader.abandon(&Failure::DeviceStopped { reason: violation.0 });
    assert_eq!(bench.outcome(), (id, Err(Failure::DeviceStopped { reason: "broken link".into() })));
}

#[test]
fn an_unload_of_what_is_not_there_corrects_the_list() {
    let mut bench = Bench::new();
    let module = LoadedModule { name: name("probe"), command: CommandId { run: 1, seq: 1 } };
    bench.ask(Ask::Report { modules: vec![module], more: false }).unwrap();
    bench.idle();
    let id = bench.submit(unload("probe"));
    bench.prepared(id, -2).unwrap();
    bench.result(id, -2).unwrap();
    assert_eq!(bench.outcome(), (id, Err(Failure::Refused { errno: 2 })));
    assert!(bench.names().is_empty());
}
