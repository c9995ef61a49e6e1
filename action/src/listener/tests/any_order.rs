// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anything in any order: no panic, nothing leaks, and each export that began ends once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vesper_relay_mirror::writer::Export;
use vesper_relay_mirror::{Geometry, Reader, Start};

use super::super::*;
use crate::Violation;

/// What is done to a listener.
#[derive(Clone, Debug)]
enum Step {
    Export { number: u32, name: u8, cpu: u16, subbufs: u32 },
    Part { number: u32, name: u8, cpu: u16 },
    Unexport { number: u32 },
    Time { sent: u64, before: Option<(u64, u64)> },
    Broken,
    Connected { boot: Option<u8> },
    Disconnected,
    End,
    Bury,
    Turn { budget: u32 },
    Tick { seconds: u64 },
    Read { name: u8 },
    StopReading,
}

fn step() -> impl Strategy<Value = Step> {
    let (number, name, cpu) = (1..5_u32, 0..3_u8, 0..3_u16);
    prop_oneof![
        4 => (number.clone(), name.clone(), cpu.clone(), 1..4_u32)
            .prop_map(|(number, name, cpu, subbufs)| Step::Export { number, name, cpu, subbufs }),
        2 => (number.clone(), name.clone(), cpu).prop_map(|(number, name, cpu)| Step::Part { number, name, cpu }),
        2 => number.prop_map(|number| Step::Unexport { number }),
        1 => (any::<u64>(), any::<Option<(u64, u64)>>()).prop_map(|(sent, before)| Step::Time { sent, before }),
        1 => Just(Step::Broken),
        2 => prop::option::of(0..2_u8).prop_map(|boot| Step::Connected { boot }),
        2 => Just(Step::Disconnected),
        1 => Just(Step::End),
        1 => Just(Step::Bury),
        2 => (0..3_u32).prop_map(|budget| Step::Turn { budget }),
        1 => (0..20_u64).prop_map(|seconds| Step::Tick { seconds }),
        2 => name.prop_map(|name| Step::Read { name }),
        1 => Just(Step::StopReading),
    ]
}

/// The way to a guest whose pages are memory of this process.
#[derive(Default)]
struct Fake {
    /// Every export that was ever mapped.
    made: Vec<Export>,
    /// What the outstanding request offers.
    offered: Option<Offer>,
    /// The next mapping fails.
    broken: bool,
    told: Vec<Answer>,
}

impl Link for Fake {
    fn map(&mut self) -> Result<Mapped, Refusal> {
        if std::mem::take(&mut self.broken) {
            return Err(Refusal::Unmappable("no such grant".into()));
        }
        let offer = self.offered.as_ref().expect("only what is offered is mapped");
        let export = Export::new(offer.geometry, 0);
        let regions = export.regions();
        self.made.push(export);
        Ok(Mapped { regions, schema: vec![b'a'; offer.schema_bytes as usize] })
    }

    fn answer(&mut self, answer: Answer) -> Result<u64, Violation> {
        self.told.push(answer);
        Ok(77)
    }
}

impl Fake {
    fn mapped(&self) -> usize {
        self.made.iter().map(Export::mapped).sum()
    }
}

fn offer(name: u8, cpu: u16, subbufs: u32) -> Offer {
    Offer {
        name: ExportName::new(&format!("n{name}")).unwrap(),
        owner: None,
        geometry: Geometry::new(4096, subbufs, 1).unwrap(),
        cpus: vec![Some(cpu)],
        schema_bytes: 0,
    }
}

fn play(steps: Vec<Step>) {
    let quota = Quota::new(Limits { pages_per_guest: 8, exports_per_guest: 3, pages_total: 16 });
    let mut listener = Listener::new(quota.clone(), Duration::from_secs(1), "guest", || {});
    let mut link = Fake::default();
    let mut now = Instant::now();
    let mut readers: Vec<Reader> = Vec::new();
    let mut live: BTreeMap<u32, String> = BTreeMap::new();
    let (mut asked, mut graves) = (0, Vec::new());
    for step in steps {
        let ask = match step {
            Step::Export { number, name, cpu, subbufs } => {
                Some(Ask::Export { number, offer: offer(name, cpu, subbufs) })
            }
            Step::Part { number, name, cpu } => Some(Ask::Part { number, offer: offer(name, cpu, 2) }),
            Step::Unexport { number } => Some(Ask::Unexport { number }),
            Step::Time { sent, before } => Some(Ask::Time {
                sent_ns: sent,
                got_ns: 5,
                before: before.map(|(sent, got)| GuestStamps { sent, got }),
            }),
            Step::Broken => {
                link.broken = true;
                None
            }
            Step::Connected { boot } => {
                listener.disconnected(now);
                listener.connected(boot.map(|boot| format!("boot{boot}")).as_deref(), now);
                None
            }
            Step::Disconnected => {
                listener.disconnected(now);
                assert_eq!(link.mapped(), 0, "unmapped at once");
                None
            }
            Step::End => {
                listener.end(ExportEnd::Detached, now);
                assert_eq!((link.mapped(), quota.pages()), (0, 0));
                None
            }
            Step::Bury => {
                graves.push(listener.bury(9, now));
                assert_eq!((link.mapped(), quota.pages()), (0, 0), "before anyone has read it");
                None
            }
            Step::Turn { budget } => {
                listener.turn(budget, now);
                None
            }
            Step::Tick { seconds } => {
                now += Duration::from_secs(seconds);
                if let Some(next) = listener.tick(now) {
                    assert!(next > now, "what is due has been done");
                }
                None
            }
            Step::Read { name } => {
                readers.extend(listener.export(&format!("n{name}")).map(|e| e.channel.reader(Start::Oldest)));
                None
            }
            Step::StopReading => {
                readers.pop();
                None
            }
        };
        if let Some(ask) = ask {
            link.offered = match &ask {
                Ask::Export { offer, .. } | Ask::Part { offer, .. } => Some(offer.clone()),
                _ => None,
            };
            listener.asked(ask, &mut link, now).unwrap();
            asked += 1;
            assert_eq!(link.told.len(), asked, "each is answered once");
        }
        while let Some(happening) = listener.happened() {
            match happening {
                Happening::Exported { number, name } => {
                    assert!(!live.values().any(|other| *other == name.to_string()), "one of a name");
                    assert_eq!(live.insert(number, name.to_string()), None, "export {number} twice");
                }
                Happening::Unexported { number, name, .. } => {
                    assert_eq!(live.remove(&number), Some(name.to_string()), "export {number} ended");
                }
                Happening::Moved => {}
                Happening::LastWords(_) | Happening::Fatal { .. } => panic!("nobody wrote any"),
            }
        }
        let channels = listener.channels();
        let known: Vec<u32> = channels.iter().map(|channel| channel.export.number).collect();
        assert_eq!(known, live.keys().copied().collect::<Vec<_>>());
        assert!(known.len() <= 3);
        for channel in &channels {
            assert_eq!(channel.buffers.len(), channel.export.cpus.len());
        }
        assert!(quota.pages() <= 16);
        if channels.is_empty() {
            assert_eq!((quota.pages(), link.mapped()), (0, 0));
        }
    }
    drop(listener);
    assert_eq!((quota.pages(), link.mapped()), (0, 0), "readers and graves hold nothing of the guest");
    drop((readers, graves));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nothing_leaks_in_any_order(steps in prop::collection::vec(step(), 0..60)) {
        play(steps);
    }
}

#[test]
fn refusals_have_the_numbers_of_the_protocol() {
    let name = ExportName::new("a").unwrap();
    for (refusal, status) in [
        (Refusal::TooManyExports(1), -28),
        (Refusal::TooManyPages { wanted: 2, most: 1 }, -28),
        (Refusal::HostIsFull { most: 1 }, -28),
        (Refusal::TooOften, -28),
        (Refusal::Exists(name), -17),
        (Refusal::Unknown(1), -2),
        (Refusal::Unusable("x".into()), -22),
        (Refusal::Unmappable("x".into()), -5),
    ] {
        assert_eq!(refusal.status(), status, "{refusal}");
    }
}
