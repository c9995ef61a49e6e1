// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The checks of the listener's messages: what passes comes back the same, everything else has its own refusal.
#![cfg(not(loom))]

use proptest::prelude::*;
use vesper_ring::wire::listener::{Answer, Asked, Export, PART, Request, Response};
use vesper_ring::wire::{BadMessage, bytes_of, from_bytes};

fn asked() -> impl Strategy<Value = Asked> {
    let export = (1u32.., 1u32.., 1u32.., 1u32..=65536, any::<bool>())
        .prop_map(|(export, gref, directory, grants, part)| Export { export, gref, directory, grants, part });
    prop_oneof![
        export.prop_map(Asked::Export),
        (1u32..).prop_map(|export| Asked::Unexport { export }),
        any::<(u64, u64, u64)>().prop_map(|(sent, prev_sent, prev_got)| Asked::Time {
            sent,
            prev_sent,
            prev_got
        }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (-4095i32..=0).prop_map(|status| Answer::Done { status }),
        any::<(u64, u64)>().prop_map(|(got, sent)| Answer::TimeIs { got, sent }),
    ]
}

const EXPORT: Asked = Asked::Export(Export { export: 1, gref: 8, directory: 9, grants: 3, part: false });
const UNEXPORT: Asked = Asked::Unexport { export: 1 };
const TIME: Asked = Asked::Time { sent: 30, prev_sent: 10, prev_got: 20 };

/// A request that `answer` may answer.
fn request_for(answer: &Answer, id: u32) -> Request {
    match answer {
        Answer::Done { .. } => EXPORT.request(id),
        Answer::TimeIs { .. } => TIME.request(id),
    }
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
        let mut bytes = bytes_of(&asked.request(77)).to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other: Request = from_bytes(&bytes).unwrap();
        prop_assert!(other.id != 77 || other.check() != Ok(asked));
    }

    #[test]
    fn no_bit_of_a_response_goes_unseen(answer in answer(), bit in 0usize..256) {
        let mut bytes = bytes_of(&answer.response(77)).to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other: Response = from_bytes(&bytes).unwrap();
        prop_assert_ne!(other.check(&request_for(&answer, 77)), Ok(answer));
    }

    /// What passes makes the very bytes that passed.
    #[test]
    fn arbitrary_bytes_never_panic(ask in any::<[u8; 32]>(), more in any::<[u8; 32]>(), answer in any::<[u8; 32]>(), op in 14u16..23) {
        let mut request: Request = from_bytes(&[ask, more].concat()).unwrap();
        let mut response: Response = from_bytes(&answer).unwrap();
        let _ = (request.check(), response.check(&request));
        (request.op, response.op, response.id) = (op, op + 2, request.id);
        if let Ok(asked) = request.check() {
            prop_assert_eq!(asked.request(request.id), request);
        }
        // Close to what is right, so that much of it passes.
        (request.flags, response.flags, request.reserved, response.reserved) = (0, 0, [0; 2], 0);
        response.status %= 5000;
        if let Ok(asked) = request.check() {
            prop_assert_eq!(asked.request(request.id), request);
        }
        if let Ok(answer) = response.check(&request) {
            prop_assert_eq!(answer.response(request.id), response);
        }
    }
}

#[test]
fn each_bad_request_has_its_refusal() {
    let export = EXPORT.request(1);
    let unexport = UNEXPORT.request(1);
    let time = TIME.request(1);
    let cases = [
        ("opcode 0", Request { op: 0, ..time }, BadMessage::Opcode(0)),
        ("the loader's", Request { op: 1, ..time }, BadMessage::Opcode(1)),
        ("reserved opcode", Request { op: 17, ..unexport }, BadMessage::Opcode(17)),
        ("a response's", Request { op: 20, ..time }, BadMessage::Opcode(20)),
        ("reserved", Request { reserved: [1, 0], ..time }, BadMessage::Unused("reserved")),
        ("the other one", Request { reserved: [0, 1], ..export }, BadMessage::Unused("reserved")),
        ("flag that is none", Request { flags: 2, ..export }, BadMessage::Flags(2)),
        ("export 0", Request { export: 0, ..export }, BadMessage::NoExport),
        ("no descriptor", Request { gref: 0, ..export }, BadMessage::Grant(0)),
        ("no directory", Request { directory: 0, ..export }, BadMessage::Grant(0)),
        ("no grants", Request { grants: 0, ..export }, BadMessage::Grants(0)),
        ("65,537 grants", Request { grants: 65537, ..export }, BadMessage::Grants(65537)),
        ("most grants", Request { grants: u32::MAX, ..export }, BadMessage::Grants(u32::MAX)),
        ("export with a time", Request { sent: 1, ..export }, BadMessage::Unused("sent")),
        ("with one before", Request { prev_sent: 1, ..export }, BadMessage::Unused("prev_sent")),
        ("part of an unexport", Request { flags: PART, ..unexport }, BadMessage::Flags(PART)),
        ("unexport of none", Request { export: 0, ..unexport }, BadMessage::NoExport),
        ("with a descriptor", Request { gref: 1, ..unexport }, BadMessage::Unused("gref")),
        ("with a directory", Request { directory: 1, ..unexport }, BadMessage::Unused("directory")),
        ("with grants", Request { grants: 1, ..unexport }, BadMessage::Unused("grants")),
        ("unexport with a time", Request { prev_got: 1, ..unexport }, BadMessage::Unused("prev_got")),
        ("part of a time", Request { flags: PART, ..time }, BadMessage::Flags(PART)),
        ("time of an export", Request { export: 1, ..time }, BadMessage::Unused("export")),
        ("time with a grant", Request { gref: 1, ..time }, BadMessage::Unused("gref")),
    ];
    for (what, request, refusal) in cases {
        assert_eq!(request.check(), Err(refusal), "{what}");
        assert!(!refusal.to_string().is_empty());
    }
}

#[test]
fn each_bad_response_has_its_refusal() {
    let (export, unexport, time) = (EXPORT.request(3), UNEXPORT.request(3), TIME.request(3));
    let done = Answer::Done { status: 0 }.response(3);
    let time_is = Answer::TimeIs { got: 5, sent: 6 }.response(3);
    let no = |response, request| BadMessage::NoAnswer { response, request };
    let cases = [
        ("id", Response { id: 4, ..done }, export, BadMessage::Id { got: 4, asked: 3 }),
        ("flags", Response { flags: 1, ..done }, export, BadMessage::Flags(1)),
        ("opcode 0", Response { op: 0, ..done }, export, BadMessage::Opcode(0)),
        ("the loader's", Response { op: 5, ..done }, export, BadMessage::Opcode(5)),
        ("a request's", Response { op: 18, ..done }, unexport, BadMessage::Opcode(18)),
        ("done to a time", done, time, no(20, 19)),
        ("time to an export", time_is, export, no(21, 16)),
        ("time to an unexport", time_is, unexport, no(21, 18)),
        ("positive", Response { status: 1, ..done }, export, BadMessage::Status(1)),
        ("below errno", Response { status: -4096, ..done }, unexport, BadMessage::Status(-4096)),
        ("done with reserved", Response { reserved: 1, ..done }, export, BadMessage::Unused("reserved")),
        ("done, got", Response { got: 1, ..done }, export, BadMessage::Unused("got")),
        ("done, sent", Response { sent: 1, ..done }, export, BadMessage::Unused("sent")),
        ("time with status", Response { status: -1, ..time_is }, time, BadMessage::Unused("status")),
        ("time with reserved", Response { reserved: 1, ..time_is }, time, BadMessage::Unused("reserved")),
    ];
    for (what, response, request, refusal) in cases {
        assert_eq!(response.check(&request), Err(refusal), "{what}");
        assert!(!refusal.to_string().is_empty());
    }
}

/// A daemon may die at any word of writing a response over its request. What its successor then reads there is
/// refused, or is the untouched request: never another one.
#[test]
fn a_half_written_response_is_never_taken_for_another_request() {
    let part = Asked::Export(Export { export: 7, gref: 1, directory: 1, grants: 65536, part: true });
    let first = Asked::Time { sent: 1, prev_sent: 0, prev_got: 0 };
    let answers = [
        Answer::Done { status: 0 },
        Answer::Done { status: -17 },
        Answer::TimeIs { got: 0, sent: 0 },
        Answer::TimeIs { got: u64::MAX, sent: u64::MAX },
    ];
    let mut refused = 0;
    for asked in [EXPORT, part, UNEXPORT, TIME, first] {
        let request = asked.request(3);
        for response in answers.map(|answer| answer.response(3)) {
            if response.check(&request).is_err() {
                continue;
            }
            // Words are written in order, by volatile stores that x86 does not reorder either.
            for written in 0..=size_of::<Response>() / 8 {
                let mut torn = bytes_of(&request).to_vec();
                torn[..written * 8].copy_from_slice(&bytes_of(&response)[..written * 8]);
                match from_bytes::<Request>(&torn).unwrap().check() {
                    Err(_) => refused += 1,
                    Ok(same) => assert_eq!(same, asked, "{response:?}, {written} words written"),
                }
            }
        }
    }
    assert!(refused >= 20, "{refused}");
}
