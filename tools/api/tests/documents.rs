// SPDX-License-Identifier: MIT OR Apache-2.0
//! Documents on the wire: fixed spellings, round trips, and lines that are none.

use proptest::prelude::*;
use vesper_api::*;

fn guest() -> GuestRef {
    GuestRef { domid: 3, name: "web1".into(), uuid: "c3b7a1de-0b57-4b5a-9c11-2f8a64e9a001".into() }
}

/// The spelling of every request. A change here breaks clients.
#[test]
fn requests_are_spelled_so() {
    let table = [
        (Request::List {}, r#"{"request":"list"}"#),
        (Request::Status { dom: "3".into() }, r#"{"request":"status","dom":"3"}"#),
        (
            Request::Attach { dom: "web1".into(), timeout_ms: Some(500) },
            r#"{"request":"attach","dom":"web1","timeout_ms":500}"#,
        ),
        (
            Request::Detach { dom: "web1".into(), force: true, timeout_ms: None },
            r#"{"request":"detach","dom":"web1","force":true}"#,
        ),
        (
            Request::Rmmod { dom: "3".into(), name: "answer".into(), timeout_ms: None },
            r#"{"request":"rmmod","dom":"3","name":"answer"}"#,
        ),
        (
            Request::Insmod {
                dom: "3".into(),
                file: "answer.ko".into(),
                args: vec!["answer=42".into()],
                timeout_ms: Some(30_000),
            },
            r#"{"request":"insmod","dom":"3","file":"answer.ko","args":["answer=42"],"timeout_ms":30000}"#,
        ),
        (Request::Channels { dom: None }, r#"{"request":"channels"}"#),
        (
            Request::Stream { dom: "3".into(), channel: None, since: Since::Boot, follow: false },
            r#"{"request":"stream","dom":"3"}"#,
        ),
        (
            Request::Stream {
                dom: "3".into(),
                channel: Some("panic".into()),
                since: Since::Now,
                follow: true,
            },
            r#"{"request":"stream","dom":"3","channel":"panic","since":"now","follow":true}"#,
        ),
        (
            Request::Alive { dom: "3".into(), module: Some("panic".into()), timeout_ms: Some(9), now: false },
            r#"{"request":"alive","dom":"3","module":"panic","timeout_ms":9}"#,
        ),
        (
            Request::Alive { dom: "3".into(), module: None, timeout_ms: None, now: true },
            r#"{"request":"alive","dom":"3","now":true}"#,
        ),
    ];
    for (request, line) in table {
        assert_eq!(String::from_utf8(to_line(&request)).unwrap(), format!("{line}\n"));
        assert_eq!(from_line::<Request>(line.as_bytes()).unwrap(), request);
    }
}

#[test]
fn lines_that_are_no_request_are_refused_with_the_reason() {
    let table = [
        ("", "EOF"),
        ("garbage", "expected value"),
        ("{}", "missing field `request`"),
        (r#"{"request":"format-disk"}"#, "unknown variant `format-disk`"),
        (r#"{"request":"status"}"#, "missing field `dom`"),
        (r#"{"request":"status","dom":3}"#, "invalid type"),
        (r#"{"request":"status","dom":"3","dmo":"4"}"#, "unknown field `dmo`"),
        (r#"{"request":"list"} {"request":"list"}"#, "trailing characters"),
        (r#"{"request":"attach","dom":"3","timeout_ms":-1}"#, "invalid value"),
        (r#"{"request":"stream","dom":"3","since":"yesterday"}"#, "unknown variant `yesterday`"),
        (r#"{"request":"channels","dom":3}"#, "invalid type"),
    ];
    for (line, reason) in table {
        let message = from_line::<Request>(line.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(reason), "{line:?} was refused with {message:?}, not {reason:?}");
    }
}

#[test]
fn every_kind_has_a_status_and_survives_the_wire() {
    for kind in ErrorKind::ALL {
        assert!((1..=7).contains(&kind.exit_status()), "{kind:?}");
        let reply = Reply::from(Err(Failure::new(kind, "m").remedy("r").guest(guest())));
        let back: Reply = from_line(&to_line(&reply)).unwrap();
        assert_eq!(back, reply);
        assert_eq!(back.status(), kind.exit_status());
        assert_eq!(back.into_result().unwrap_err().kind, kind);
    }
}

#[test]
fn a_refusal_is_spelled_so() {
    let mut failure = Failure::new(ErrorKind::Refused, "no").guest(guest());
    failure.errno = Some(Box::new(Errno::of_load(8)));
    failure.log.lines = vec!["m: Unknown symbol foo (err -2)".into()];
    let line = String::from_utf8(to_line(&Reply::from(Err(failure)))).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"status":1,"error":{"kind":"refused","message":"no","#,
            r#""guest":{"domid":3,"name":"web1","uuid":"c3b7a1de-0b57-4b5a-9c11-2f8a64e9a001"},"#,
            r#""errno":{"number":8,"name":"ENOEXEC","meaning":"the kernel does not take this image: "#,
            r#"other vermagic or symbol versions, or a damaged file"},"#,
            r#""log":{"lines":["m: Unknown symbol foo (err -2)"]}}}"#,
            "\n"
        )
    );
}

#[test]
fn a_reply_of_a_newer_daemon_is_still_a_failure() {
    let line = br#"{"status":9,"error":{"kind":"eaten-by-a-grue","message":"dark","when":"now"}}"#;
    let reply: Reply = from_line(line).unwrap();
    assert_eq!(reply.status(), 4);
    assert_eq!(reply.into_result().unwrap_err().kind, ErrorKind::Unknown);
    let empty: Reply = from_line(br#"{"status":0}"#).unwrap();
    assert_eq!(empty.status(), 4, "a reply with nothing in it is no success");
}

#[test]
fn a_guest_that_is_not_alive_is_a_result_with_status_1() {
    for (alive, status) in [(true, 0), (false, 1)] {
        let because = if alive { Because::Beating } else { Because::Hung };
        let done = Done::Alive(Alive {
            guest: guest(),
            alive,
            because,
            hung_vcpus: vec![],
            module: None,
            faults: vec![],
        });
        let reply: Reply = from_line(&to_line(&Reply::from(Ok(done)))).unwrap();
        assert_eq!(reply.status(), status);
        assert!(reply.into_result().is_ok());
    }
}

/// Each example of docs/api.md is a document of this version, word for word.
#[test]
fn the_examples_of_the_book_are_true() {
    let book = include_str!("../../../docs/api.md");
    let (mut requests, mut replies) = (0, 0);
    for block in book.split("```json\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let rewritten = if line.starts_with("{\"request\"") {
                requests += 1;
                let request: Request = from_line(line.as_bytes()).expect(line);
                to_line(&request)
            } else {
                replies += 1;
                let reply: Reply = from_line(line.as_bytes()).expect(line);
                assert!(line.starts_with(&format!("{{\"status\":{},", reply.status())), "{line}");
                to_line(&reply)
            };
            // A request may leave out what has a default.
            let rewritten: serde_json::Value = from_line(&rewritten).unwrap();
            let written: serde_json::Value = from_line(line.as_bytes()).unwrap();
            for (key, value) in written.as_object().unwrap() {
                assert_eq!(&rewritten[key], value, "{line}");
            }
        }
    }
    assert_eq!((requests, replies), (11, 15));
    for kind in ErrorKind::ALL.iter().filter(|kind| **kind != ErrorKind::Unknown) {
        let row = format!(
            "| {} | `{}` |",
            kind.exit_status(),
            String::from_utf8(to_line(kind)).unwrap().trim().trim_matches('"')
        );
        assert!(book.contains(&row), "{row} is not in docs/api.md");
    }
}

proptest! {
    #[test]
    fn any_text_survives_in_one_line(dom in any::<String>(), file in any::<String>(), args in prop::collection::vec(any::<String>(), 0..4)) {
        let request = Request::Insmod { dom, file, args, timeout_ms: None };
        let line = to_line(&request);
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        prop_assert_eq!(from_line::<Request>(&line).unwrap(), request);
    }

    #[test]
    fn results_survive(module in any::<String>(), bytes in any::<u64>(), kernel_us in any::<u64>(), lines in prop::collection::vec(any::<String>(), 0..3), truncated in any::<bool>()) {
        let reply = Reply::from(Ok(Done::Loaded(Loaded {
            guest: guest(), module, bytes, kernel_us, total_us: 1, log: Log { truncated: truncated && !lines.is_empty(), lines },
        })));
        prop_assert_eq!(from_line::<Reply>(&to_line(&reply)).unwrap(), reply);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_line::<Request>(&bytes);
        let _ = from_line::<Reply>(&bytes);
    }
}
