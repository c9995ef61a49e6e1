// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! What the words of a buffer's positions mean, against a buffer whose counters have 64 bits and never wrap.
#![cfg(not(loom))]

use proptest::prelude::*;
use vesper_ring::wire::listener::{
    Consumed, Geometry, Head, NOT_BEGUN, Padding, RecordHeader, SubBuffer, WordsHeader, words_state,
};
use vesper_ring::wire::{NAME_BYTES, Name};

/// Where the counts begin: half of them just before the 32 bits wrap.
fn start() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..1 << 40, (1u64..4, 0u64..40).prop_map(|(wraps, before)| (wraps << 32) - before)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn words_come_back(word: u64) {
        prop_assert_eq!(Head::from_word(word).word(), word);
        prop_assert_eq!(Consumed::from_word(word).word(), word);
        prop_assert_eq!(Padding::from_word(word).word(), word);
        prop_assert_eq!(SubBuffer::from_word(word).map_or(0, SubBuffer::word), word);
    }

    /// A writer fills sub-buffer after sub-buffer, each in its place. `holds` is true for exactly those that are in their
    /// place, whole, wherever the writer stops: in a sub-buffer, or between two.
    #[test]
    fn what_holds_is_in_its_place(start in start(), subbufs in 1u32..9, switches in 0u64..30, begun: bool) {
        let geometry = Geometry::new(64, subbufs, 1).unwrap();
        let mut places = vec![None; subbufs as usize];
        let place = |number: u64| (geometry.sub(number) - 64) / 8;
        for number in start..start + switches {
            places[place(number)] = Some(number);
        }
        let current = start + switches;
        if begun {
            places[place(current)] = Some(current);
        }
        let head = Head { produced: current as u32, offset: if begun { 10 } else { NOT_BEGUN } };
        for number in start..current {
            prop_assert_eq!(head.holds(number as u32, &geometry), places[place(number)] == Some(number), "{} of {}", number, current);
        }
        prop_assert!(head.holds(current as u32, &geometry));
        prop_assert!(!head.holds((current + 1) as u32, &geometry), "it is still to come");
        prop_assert_eq!(head.safe_bytes(&geometry), if begun { 10 } else { 0 });
    }

    /// The total may be of another moment than the head.
    #[test]
    fn a_head_has_its_number(start in start(), later in -1i64 << 31..1 << 31) {
        let Some(total) = start.checked_add_signed(later) else { return Ok(()) };
        prop_assert_eq!(Head { produced: start as u32, offset: 0 }.number(total), start);
    }

    #[test]
    fn a_claim_is_clamped(offset: u32, size in 1u32..=32 << 20, number: u32, bytes: u32) {
        let geometry = Geometry::new(size, 1, 1).unwrap();
        let head = Head { produced: 0, offset };
        prop_assert!(head.safe_bytes(&geometry) <= size);
        let sub = SubBuffer { number, bytes };
        prop_assert_eq!(sub.bytes_of(number, &geometry), Some(bytes.min(size)));
        prop_assert_eq!(sub.bytes_of(number.wrapping_add(1), &geometry), None);
    }

    /// What the host says counts when it lies between what it said before and what there is.
    #[test]
    fn nonsense_of_the_host_is_ignored(before in start(), ahead in 0u64..100, said in -200i64..200, wake: u32) {
        let produced = before + ahead;
        let said = before.wrapping_add_signed(said);
        let good = (before..=produced).contains(&said);
        let word = Consumed { consumed: said as u32, wake };
        prop_assert_eq!(word.taken(before as u32, produced as u32), if good { said } else { before } as u32);
    }

    #[test]
    fn a_host_is_woken_when_it_wants(consumed: u32, produced: u32, later in 1u32..1 << 29) {
        let waking = Consumed::waking(consumed, produced);
        prop_assert!(!waking.wakes(produced) && waking.wakes(produced.wrapping_add(1)));
        prop_assert!(waking.wakes_idle(produced) && waking.wakes_idle(produced.wrapping_add(1)));
        let quiet = Consumed::quiet(consumed, produced);
        for produced in [produced, produced.wrapping_add(1), produced.wrapping_add(later)] {
            prop_assert!(!quiet.wakes(produced) && !quiet.wakes_idle(produced));
        }
    }

    #[test]
    fn a_record_is_within_what_is_left(bytes: u32, left in 0usize..10000) {
        let fits = RecordHeader { bytes, ..RecordHeader::default() }.fits(left);
        prop_assert_eq!(fits, (24..=left).contains(&(bytes as usize)) && bytes % 8 == 0);
    }
}

#[test]
fn last_words_are_what_is_done() {
    let name = Name::new("panic").unwrap();
    let words = WordsHeader { state: words_state::DONE, bytes: 24, name: *name.as_wire(), zero: 0 };
    let bytes = |state, bytes| {
        let mut words = words;
        (words.state, words.bytes) = (state, bytes);
        words.record_bytes()
    };
    assert_eq!(bytes(words_state::DONE, 24), Some(24));
    assert_eq!(bytes(words_state::DONE, 4024), Some(4024));
    assert_eq!(bytes(words_state::DONE, 4025), None);
    assert_eq!(bytes(words_state::DONE, u32::MAX), None);
    assert_eq!(bytes(words_state::DONE, 23), None);
    assert_eq!(bytes(words_state::WRITING, 24), None);
    assert_eq!(bytes(words_state::FREE, 24), None);
    assert_eq!(bytes(3, 24), None);
    assert_eq!(words.export().unwrap().unwrap().as_str(), "panic");
    assert_eq!(WordsHeader { name: [0; NAME_BYTES], ..words }.export(), Ok(None));
    let spaced = *Name::new("a.b").unwrap().as_wire();
    assert!(WordsHeader { name: spaced, ..words }.export().is_err());
}
