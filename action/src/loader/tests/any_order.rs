// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anything in any order: no panic, and each accepted command has exactly one outcome.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One step of anybody.
#[derive(Clone, Debug)]
enum Step {
    Load(u8),
    Unload(u8),
    Idle,
    Result {
        which: usize,
        status: i32,
    },
    Fetch {
        which: usize,
        offset: u64,
        bytes: u32,
    },
    FetchAll(usize),
    Prepared {
        which: usize,
        status: i32,
    },
    Report(Vec<usize>),
    Seconds(u64),
    BrokenWindow(bool),
    Disconnected,
    Abandoned,
    /// The guest does what an honest one would do next.
    Honest,
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![4 => Just(0), 2 => -40..=0i32, 1 => any::<i32>()];
    let which = 0..8usize;
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Load),
        2 => any::<u8>().prop_map(Step::Unload),
        1 => Just(Step::Idle),
        1 => (which.clone(), status.clone()).prop_map(|(which, status)| Step::Result { which, status }),
        1 => (which.clone(), 0..20u64, 0..20u32)
            .prop_map(|(which, offset, bytes)| Step::Fetch { which, offset, bytes }),
        1 => which.clone().prop_map(Step::FetchAll),
        1 => (which.clone(), status).prop_map(|(which, status)| Step::Prepared { which, status }),
        1 => proptest::collection::vec(which, 0..4).prop_map(Step::Report),
        1 => (0..40u64).prop_map(Step::Seconds),
        1 => any::<bool>().prop_map(Step::BrokenWindow),
        1 => Just(Step::Disconnected),
        1 => Just(Step::Abandoned),
        12 => Just(Step::Honest),
    ]
}

/// What an honest guest asks next, given what it was answered last.
fn honest(told: Option<&Told>, ran: Option<CommandId>) -> Option<Ask> {
    Some(match told {
        None | Some(Told::Done | Told::Cancelled(_)) => Ask::Idle { result: None },
        Some(Told::Load(id, image, args)) => {
            Ask::Fetch { command: *id, offset: 0, bytes: (image + u64::from(*args)) as u32 }
        }
        Some(Told::Unload(id)) => Ask::Prepared { command: *id, status: 0 },
        Some(Told::Filled(id, status)) => Ask::Idle { result: Some(result(*id, *status)) },
        Some(Told::Proceed(id)) => Ask::Idle { result: Some(result(*id, 0)) },
    })
    .filter(|_| ran.is_none())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn each_command_has_exactly_one_outcome(steps in proptest::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new();
        let mut outcomes: BTreeMap<CommandId, u32> = BTreeMap::new();
        let mut parked = false;
        for step in steps {
            // Ids that may or may not exist, of this run and of others.
            let id = |which: usize| match which {
                0..=5 => CommandId { run: 7, seq: which as u64 },
                _ => CommandId { run: which as u64 - 5, seq: 1 },
            };
            let ask = match step {
                Step::Load(n) | Step::Unload(n) => {
                    let module = format!("m{}", n % 3);
                    let command = if matches!(step, Step::Load(_)) { load(&module) } else { unload(&module) };
                    if let Ok(id) = bench.loader.submit(command, TIMEOUT, bench.now) {
                        prop_assert!(outcomes.insert(id, 0).is_none(), "{id} was issued twice");
                        bench.link.told.clear();
                        bench.loader.pump(&mut bench.link, bench.now).unwrap();
                        parked &= bench.link.told.is_empty();
                    }
                    None
                }
                Step::Idle => Some(Ask::Idle { result: None }),
                Step::Result { which, status } => Some(Ask::Idle { result: Some(result(id(which), status)) }),
                Step::Fetch { which, offset, bytes } => Some(Ask::Fetch { command: id(which), offset, bytes }),
                Step::FetchAll(which) => Some(Ask::Fetch { command: id(which), offset: 0, bytes: 13 }),
                Step::Prepared { which, status } => Some(Ask::Prepared { command: id(which), status }),
                Step::Report(which) => {
                    let module = |n: usize| LoadedModule { name: name(&format!("m{n}")), command: id(n) };
                    Some(Ask::Report { modules: which.into_iter().map(module).collect(), more: false })
                }
                Step::Seconds(seconds) => {
                    bench.now += Duration::from_secs(seconds);
                    bench.loader.tick(bench.now);
                    None
                }
                Step::BrokenWindow(broken) => {
                    bench.link.broken_window = broken;
                    None
                }
                Step::Disconnected => {
                    bench.loader.disconnected();
                    (parked, bench.link.told) = (false, Vec::new());
                    None
                }
                Step::Abandoned => {
                    bench.loader.abandon(&Failure::GuestGone);
                    (parked, bench.link.told) = (false, Vec::new());
                    None
                }
                Step::Honest => honest(bench.link.told.last(), parked.then_some(id(0))),
            };
            if let Some(ask) = ask {
                bench.link.told.clear();
                match bench.loader.asked(ask, &mut bench.link, bench.now) {
                    Ok(()) => {
                        prop_assert!(bench.link.told.len() <= 1, "one request, {:?}", bench.link.told);
                        parked = bench.link.told.is_empty();
                    }
                    Err(violation) => {
                        bench.loader.abandon(&Failure::DeviceStopped { reason: violation.0 });
                        (parked, bench.link.told) = (false, Vec::new());
                    }
                }
            }
            while let Some(finished) = bench.loader.finished() {
                let count = outcomes.get_mut(&finished.id);
                prop_assert!(count.is_some(), "an outcome of {}, which was not accepted", finished.id);
                *count.unwrap() += 1;
            }
            prop_assert!(bench.loader.status().queue_length <= 4);
        }
        // Time is all that is needed for the rest.
        bench.expire();
        while let Some(finished) = bench.loader.finished() {
            *outcomes.get_mut(&finished.id).unwrap() += 1;
        }
        prop_assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    }
}
