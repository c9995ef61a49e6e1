// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The checks of the loader's messages: what passes comes back the same, everything else has its own refusal.
#![cfg(not(loom))]

use proptest::prelude::*;
use vesper_ring::wire::listener;
use vesper_ring::wire::loader::{DIRECTORY_GRANTS, Directory, Loaded, Request, Response, flags};
use vesper_ring::wire::{
    Answer, Asked, BadMessage, BadName, CommandId, CommandResult, Fetch, LogPage, NAME_BYTES, Name,
    PAGE_SIZE, Report, bytes_of, from_bytes,
};

const COMMAND: CommandId = CommandId { run: 0xfeed_0123_4567_89ab, seq: 7 };

fn name(text: &str) -> Name {
    Name::new(text).expect("a good name")
}

fn command() -> impl Strategy<Value = CommandId> {
    (1u64.., 1u64..).prop_map(|(run, seq)| CommandId { run, seq })
}

fn asked() -> impl Strategy<Value = Asked> {
    let log = proptest::option::of(
        (1u32.., 1u32..=4096, any::<bool>()).prop_map(|(gref, bytes, truncated)| LogPage {
            gref,
            bytes,
            truncated,
        }),
    );
    let result = (command(), -4095i32..=0, any::<u64>(), log)
        .prop_map(|(command, status, nanos, log)| CommandResult { command, status, nanos, log });
    let fetch = (command(), 1u32.., 1u32..=256, any::<u32>(), any::<u64>()).prop_map(
        |(command, directory, pages, bytes, offset)| {
            let bytes = 1 + bytes % (pages * 4096);
            Asked::Fetch(Fetch { command, directory, pages, bytes, offset })
        },
    );
    let report = (1u32.., 0u32..=56, any::<bool>()).prop_map(|(gref, entries, more)| {
        Asked::Report(Report {
            gref: if entries == 0 { 0 } else { gref },
            entries,
            more: more && entries == 56,
        })
    });
    prop_oneof![
        proptest::option::of(result).prop_map(Asked::Dummy),
        fetch,
        report,
        (command(), -4095i32..=0).prop_map(|(command, status)| Asked::Prepared { command, status }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let name = "[A-Za-z0-9_-]{1,55}".prop_map(|text| name(&text));
    prop_oneof![
        (command(), name.clone(), 1u64..=1 << 30, 0u32..=64 << 10).prop_map(
            |(command, name, image_bytes, args_bytes)| Answer::Load {
                command,
                name,
                image_bytes,
                args_bytes
            }
        ),
        (command(), name).prop_map(|(command, name)| Answer::Unload { command, name }),
        (command(), -4095i32..=0).prop_map(|(command, status)| Answer::Filled { command, status }),
        command().prop_map(|command| Answer::Cancelled { command }),
        Just(Answer::Done),
        command().prop_map(|command| Answer::Proceed { command }),
    ]
}

/// A request that `answer` may answer.
fn request_for(answer: &Answer, id: u32) -> Request {
    let fetch = |command| Asked::Fetch(Fetch { command, directory: 9, pages: 1, bytes: 1, offset: 0 });
    match *answer {
        Answer::Load { .. } | Answer::Unload { .. } => Asked::Dummy(None),
        Answer::Filled { command, .. } | Answer::Cancelled { command } => fetch(command),
        Answer::Done => Asked::Report(Report { gref: 0, entries: 0, more: false }),
        Answer::Proceed { command } => Asked::Prepared { command, status: 0 },
    }
    .request(id)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_request_that_was_made_comes_back(asked in asked(), id: u32) {
        let request = asked.request(id);
        prop_assert_eq!(request.id, id);
        prop_assert_eq!(request.check(), Ok(asked));
    }

    #[test]
    fn a_response_that_was_made_comes_back(answer in answer(), id: u32) {
        prop_assert_eq!(answer.response(id).check(&request_for(&answer, id)), Ok(answer));
    }

    /// One bit anywhere in a request changes what it says or is refused: there is no bit that nobody looks at.
    #[test]
    fn no_bit_of_a_request_goes_unseen(asked in asked(), bit in 0usize..512) {
        let request = asked.request(77);
        let mut bytes = bytes_of(&request).to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other: Request = from_bytes(&bytes).unwrap();
        prop_assert!(other.id != 77 || other.check() != Ok(asked));
    }

    #[test]
    fn no_bit_of_a_response_goes_unseen(answer in answer(), bit in 0usize..768) {
        let request = request_for(&answer, 77);
        let mut bytes = bytes_of(&answer.response(77)).to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other: Response = from_bytes(&bytes).unwrap();
        prop_assert_ne!(other.check(&request), Ok(answer));
    }

    #[test]
    fn arbitrary_bytes_never_panic(ask in any::<[u8; 32]>(), more in any::<[u8; 32]>(), answer in proptest::collection::vec(any::<u8>(), 96), op in 0u16..20) {
        let mut request: Request = from_bytes(&[ask, more].concat()).unwrap();
        let mut response: Response = from_bytes(&answer).unwrap();
        let _ = (request.check(), response.check(&request));
        (request.op, response.op, response.id) = (op, op % 8, request.id);
        let _ = (request.check(), response.check(&request));
        let _ = Name::from_wire(&response.name);
        let _: Vec<_> = Loaded::list(&answer).map(|entry| entry.check()).collect();
    }

    #[test]
    fn a_name_is_its_text(text in "[!-.0-~]{1,55}") {
        prop_assume!(text != "." && text != "..");
        let name = Name::new(&text).unwrap();
        prop_assert_eq!(name.as_str(), &text);
        prop_assert_eq!(Name::from_wire(name.as_wire()), Ok(name));
    }
}

#[test]
fn each_bad_request_has_its_refusal() {
    let result = CommandResult {
        command: COMMAND,
        status: -2,
        nanos: 5,
        log: Some(LogPage { gref: 9, bytes: 100, truncated: true }),
    };
    let dummy = Asked::Dummy(None).request(1);
    let result = Asked::Dummy(Some(result)).request(1);
    let fetch = Asked::Fetch(Fetch { command: COMMAND, directory: 9, pages: 2, bytes: 8192, offset: 4096 })
        .request(1);
    let report = Asked::Report(Report { gref: 9, entries: 56, more: true }).request(1);
    let prepared = Asked::Prepared { command: COMMAND, status: 0 }.request(1);
    let bytes = |bytes, limit| BadMessage::Bytes { bytes, limit };
    let cases = [
        ("opcode 0", Request { op: 0, ..dummy }, BadMessage::Opcode(0)),
        ("opcode 5", Request { op: 5, ..dummy }, BadMessage::Opcode(5)),
        ("the listener's", Request { op: listener::EXPORT, ..dummy }, BadMessage::Opcode(16)),
        ("reserved", Request { reserved: 1, ..dummy }, BadMessage::Unused("reserved")),
        ("dummy with run", Request { run: 1, ..dummy }, BadMessage::Unused("run")),
        ("dummy with seq", Request { seq: 1, ..dummy }, BadMessage::Unused("seq")),
        ("dummy with status", Request { status: -1, ..dummy }, BadMessage::Unused("status")),
        ("dummy with grant", Request { gref: 1, ..dummy }, BadMessage::Unused("gref")),
        ("dummy with pages", Request { pages: 1, ..dummy }, BadMessage::Unused("pages")),
        ("dummy with bytes", Request { bytes: 1, ..dummy }, BadMessage::Unused("bytes")),
        ("dummy with offset", Request { offset: 1, ..dummy }, BadMessage::Unused("offset")),
        ("dummy with nanos", Request { nanos: 1, ..dummy }, BadMessage::Unused("nanos")),
        ("log without result", Request { flags: flags::LOG, ..dummy }, BadMessage::Flags(2)),
        ("more in a dummy", Request { flags: flags::MORE | 1, ..result }, BadMessage::Flags(9)),
        ("flag that is none", Request { flags: 0x8001, ..result }, BadMessage::Flags(0x8001)),
        ("truncated without log", Request { flags: 5, ..result }, BadMessage::Flags(5)),
        (
            "result of no run",
            Request { run: 0, ..result },
            BadMessage::NoCommand(CommandId { run: 0, seq: 7 }),
        ),
        (
            "result of no number",
            Request { seq: 0, ..result },
            BadMessage::NoCommand(CommandId { seq: 0, ..COMMAND }),
        ),
        ("positive status", Request { status: 1, ..result }, BadMessage::Status(1)),
        ("status below errno", Request { status: -4096, ..result }, BadMessage::Status(-4096)),
        ("log without grant", Request { gref: 0, ..result }, BadMessage::Grant(0)),
        ("log of no bytes", Request { bytes: 0, ..result }, bytes(0, 4096)),
        ("log above a page", Request { bytes: 4097, ..result }, bytes(4097, 4096)),
        ("grant without log", Request { flags: 1, bytes: 0, ..result }, BadMessage::Unused("gref")),
        ("fetch with flags", Request { flags: 1, ..fetch }, BadMessage::Flags(1)),
        (
            "fetch of no command",
            Request { seq: 0, ..fetch },
            BadMessage::NoCommand(CommandId { seq: 0, ..COMMAND }),
        ),
        ("fetch with status", Request { status: -1, ..fetch }, BadMessage::Unused("status")),
        ("fetch without grant", Request { gref: 0, ..fetch }, BadMessage::Grant(0)),
        ("no pages", Request { pages: 0, ..fetch }, BadMessage::Pages(0)),
        ("257 pages", Request { pages: 257, ..fetch }, BadMessage::Pages(257)),
        ("pages whose bytes overflow", Request { pages: 1 << 20, ..fetch }, BadMessage::Pages(1 << 20)),
        ("no bytes", Request { bytes: 0, ..fetch }, bytes(0, 8192)),
        ("more than the pages", Request { bytes: 8193, ..fetch }, bytes(8193, 8192)),
        ("report of a command", Request { run: 1, ..report }, BadMessage::Unused("run")),
        ("half an entry", Request { bytes: 71, ..report }, bytes(71, 4032)),
        ("57 entries", Request { bytes: 57 * 72, ..report }, bytes(57 * 72, 4032)),
        ("entries without grant", Request { gref: 0, ..report }, BadMessage::Grant(0)),
        ("grant without entries", Request { bytes: 0, ..report }, BadMessage::Grant(9)),
        ("more after a part", Request { bytes: 72, ..report }, BadMessage::Flags(flags::MORE)),
        ("prepared with grant", Request { gref: 1, ..prepared }, BadMessage::Unused("gref")),
        (
            "prepared for nothing",
            Request { run: 0, ..prepared },
            BadMessage::NoCommand(CommandId { run: 0, seq: 7 }),
        ),
        ("prepared, positive", Request { status: 16, ..prepared }, BadMessage::Status(16)),
    ];
    for (what, request, refusal) in cases {
        assert_eq!(request.check(), Err(refusal), "{what}");
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn each_bad_response_has_its_refusal() {
    let dummy = Asked::Dummy(None).request(3);
    let fetch =
        Asked::Fetch(Fetch { command: COMMAND, directory: 9, pages: 1, bytes: 1, offset: 0 }).request(3);
    let report = Asked::Report(Report { gref: 0, entries: 0, more: false }).request(3);
    let prepared = Asked::Prepared { command: COMMAND, status: 0 }.request(3);
    let load = Answer::Load { command: COMMAND, name: name("a"), image_bytes: 5, args_bytes: 0 }.response(3);
    let unload = Answer::Unload { command: COMMAND, name: name("a") }.response(3);
    let filled = Answer::Filled { command: COMMAND, status: 0 }.response(3);
    let proceed = Answer::Proceed { command: COMMAND }.response(3);
    let cancelled = Answer::Cancelled { command: COMMAND }.response(3);
    let done = Answer::Done.response(3);
    let stranger = CommandId { seq: 8, ..COMMAND };
    let none = CommandId { run: 0, ..COMMAND };
    let no = |response, request| BadMessage::NoAnswer { response, request };
    let with = |first: &[u8]| {
        let mut name = [0; NAME_BYTES];
        name[..first.len()].copy_from_slice(first);
        name
    };
    let cases = [
        ("id", Response { id: 4, ..load }, dummy, BadMessage::Id { got: 4, asked: 3 }),
        ("flags", Response { flags: 1, ..load }, dummy, BadMessage::Flags(1)),
        ("opcode 0", Response { op: 0, ..load }, dummy, BadMessage::Opcode(0)),
        ("opcode 7", Response { op: 7, ..load }, dummy, BadMessage::Opcode(7)),
        ("load to a fetch", load, fetch, no(1, 2)),
        ("unload to a report", unload, report, no(2, 3)),
        ("filled to a dummy", filled, dummy, no(3, 1)),
        ("cancelled to a dummy", cancelled, dummy, no(4, 1)),
        ("cancelled to a report", cancelled, report, no(4, 3)),
        ("done to a dummy", done, dummy, no(5, 1)),
        ("proceed to a fetch", proceed, fetch, no(6, 2)),
        ("filled to prepared", filled, prepared, no(3, 4)),
        ("load for nothing", Response { run: 0, ..load }, dummy, BadMessage::NoCommand(none)),
        ("load with status", Response { status: -1, ..load }, dummy, BadMessage::Unused("status")),
        (
            "no image",
            Response { image_bytes: 0, ..load },
            dummy,
            BadMessage::Bytes { bytes: 0, limit: 1 << 30 },
        ),
        (
            "huge image",
            Response { image_bytes: u64::MAX, ..load },
            dummy,
            BadMessage::Bytes { bytes: u64::MAX, limit: 1 << 30 },
        ),
        (
            "huge arguments",
            Response { args_bytes: 65537, ..load },
            dummy,
            BadMessage::Bytes { bytes: 65537, limit: 65536 },
        ),
        ("no name", Response { name: with(b""), ..load }, dummy, BadMessage::Name(BadName::Empty)),
        ("slash", Response { name: with(b"a/b"), ..load }, dummy, BadMessage::Name(BadName::Byte(b'/'))),
        ("escape", Response { name: with(b"a\x1b[m"), ..unload }, dummy, BadMessage::Name(BadName::Byte(27))),
        ("dots", Response { name: with(b".."), ..unload }, dummy, BadMessage::Name(BadName::Dots)),
        ("not closed", Response { name: [b'a'; 56], ..load }, dummy, BadMessage::Name(BadName::TooLong)),
        ("not padded", Response { name: with(b"a\0b"), ..load }, dummy, BadMessage::Name(BadName::Padding)),
        (
            "unload with an image",
            Response { image_bytes: 1, ..unload },
            dummy,
            BadMessage::Unused("image_bytes"),
        ),
        ("filled for another", Response { seq: 8, ..filled }, fetch, BadMessage::OtherCommand(stranger)),
        ("filled, positive", Response { status: 1, ..filled }, fetch, BadMessage::Status(1)),
        ("filled with a name", Response { name: with(b"a"), ..filled }, fetch, BadMessage::Unused("name")),
        ("cancelled with status", Response { status: -1, ..cancelled }, fetch, BadMessage::Unused("status")),
        ("proceed for another", Response { seq: 8, ..proceed }, prepared, BadMessage::OtherCommand(stranger)),
        ("done of a command", Response { run: 1, ..done }, report, BadMessage::Unused("run")),
    ];
    for (what, response, request, refusal) in cases {
        assert_eq!(response.check(&request), Err(refusal), "{what}");
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn names_from_this_side_follow_the_same_rule() {
    assert_eq!(name("vesper_front").as_str(), "vesper_front");
    assert_eq!(Name::new(&"x".repeat(55)).map(|n| n.as_str().len()), Ok(55));
    assert_eq!(Name::new(&"x".repeat(56)), Err(BadName::TooLong));
    assert_eq!(Name::new(""), Err(BadName::Empty));
    assert_eq!(Name::new("a\0"), Err(BadName::Byte(0)));
    assert_eq!(Name::new("a b"), Err(BadName::Byte(b' ')));
    assert_eq!(Name::new("é"), Err(BadName::Byte(0xc3)));
    assert_eq!(Name::new("."), Err(BadName::Dots));
    assert!(Name::new("...").is_ok());
    assert!(name("vesper-front").same_module(&name("vesper_front")));
    assert!(!name("vesper").same_module(&name("vesper_front")));
}

#[test]
fn a_directory_gives_the_grants_of_its_window() {
    let mut words = [0u32; 1 + DIRECTORY_GRANTS];
    for (n, word) in words.iter_mut().enumerate().skip(1).take(256) {
        *word = 100 + n as u32;
    }
    let page = |words: &[u32; 1024]| -> [u8; PAGE_SIZE] {
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>().try_into().unwrap()
    };
    for pages in [1, 2, 256] {
        let grants: Vec<u32> = Directory::grants(&page(&words), pages).unwrap().collect();
        assert_eq!(grants, (101..101 + pages).collect::<Vec<_>>());
    }
    let refusal = |words: &[u32; 1024], pages| Directory::grants(&page(words), pages).err();
    assert_eq!(refusal(&words, 0), Some(BadMessage::Pages(0)));
    assert_eq!(refusal(&words, 257), Some(BadMessage::Pages(257)));
    words[3] = 0;
    assert_eq!(refusal(&words, 3), Some(BadMessage::Grant(0)));
    assert_eq!(refusal(&words, 2), None, "what lies behind the window is not looked at");
    words[0] = 5;
    assert_eq!(refusal(&words, 2), Some(BadMessage::LongDirectory(5)));
}

#[test]
fn a_report_page_gives_its_entries() {
    let entry = |run, seq, name: &str| Loaded { run, seq, name: *Name::new(name).unwrap().as_wire() };
    let page = [bytes_of(&entry(1, 2, "a")), bytes_of(&entry(0, 2, "b")), &[0; 71]].concat();
    let checked: Vec<_> = Loaded::list(&page).map(|entry| entry.check()).collect();
    let first = Ok((CommandId { run: 1, seq: 2 }, name("a")));
    assert_eq!(checked, [first, Err(BadMessage::NoCommand(CommandId { run: 0, seq: 2 }))]);
}

/// A daemon may die at any word of writing a response over its request. What its successor then reads there is
/// refused, or is the untouched request, or (CANCELLED looks like PREPARED) belongs to a command of the dead run,
/// which the successor answers CANCELLED in any case. It is never another order to do something.
#[test]
fn a_half_written_response_is_never_taken_for_another_request() {
    let log = Some(LogPage { gref: 9, bytes: 100, truncated: false });
    let results = [None, log].map(|log| CommandResult { command: COMMAND, status: -2, nanos: 5, log });
    let asked = [
        Asked::Dummy(None),
        Asked::Dummy(Some(results[0])),
        Asked::Dummy(Some(results[1])),
        Asked::Fetch(Fetch { command: COMMAND, directory: 9, pages: 256, bytes: 1 << 20, offset: 1 << 20 }),
        Asked::Fetch(Fetch { command: COMMAND, directory: 9, pages: 1, bytes: 1, offset: 0 }),
        Asked::Report(Report { gref: 0, entries: 0, more: false }),
        Asked::Report(Report { gref: 9, entries: 56, more: true }),
        Asked::Prepared { command: COMMAND, status: 0 },
        Asked::Prepared { command: COMMAND, status: -16 },
    ];
    let next = CommandId { seq: 8, ..COMMAND };
    let answers = [
        Answer::Load { command: next, name: name("a"), image_bytes: 1, args_bytes: 0 },
        Answer::Load { command: next, name: name(&"a".repeat(55)), image_bytes: 1 << 30, args_bytes: 65536 },
        Answer::Unload { command: next, name: name("a") },
        Answer::Filled { command: COMMAND, status: 0 },
        Answer::Filled { command: COMMAND, status: -14 },
        Answer::Cancelled { command: COMMAND },
        Answer::Done,
        Answer::Proceed { command: COMMAND },
    ];
    let mut seen = 0;
    for asked in asked {
        let request = asked.request(3);
        for answer in answers {
            let response = answer.response(3);
            if response.check(&request).is_err() {
                continue;
            }
            // Words are written in order, by volatile stores that x86 does not reorder either.
            for written in 0..=8 {
                let words = |word: usize| {
                    if word < written { bytes_of(&response) } else { bytes_of(&request) }
                };
                let torn: Vec<u8> = (0..8).flat_map(|word| words(word)[word * 8..][..8].to_vec()).collect();
                let torn: Request = from_bytes(&torn).unwrap();
                match torn.check() {
                    Err(_) => seen += 1,
                    Ok(same) if same == asked => {}
                    Ok(Asked::Prepared { command, .. }) if command == COMMAND => {}
                    Ok(other) => {
                        panic!(
                            "{asked:?} half overwritten by {answer:?} ({written} words) reads as {other:?}"
                        )
                    }
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
}
