// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client against a daemon that does not keep to the protocol: every call ends, with the right error.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;
use tempfile::TempDir;
use vesper_xenstore::wire::{Frame, HEADER_LEN, Header, Kind};
use vesper_xenstore::{Client, Error, Store, Tx};

/// A client with `daemon` at the other end of its socket. It waits for an answer for longer than a busy machine needs.
fn client<T: Send + 'static>(
    daemon: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (Client, JoinHandle<T>, TempDir) {
    client_within(Duration::from_secs(15), daemon)
}

/// The same, for an answer that does not come.
fn client_within<T: Send + 'static>(
    limit: Duration,
    daemon: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (Client, JoinHandle<T>, TempDir) {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("accept");
        // So that a client which asks too little fails the test instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("time limit");
        daemon(stream)
    });
    let client = Client::over_socket_within(&path, limit).expect("connect");
    (client, thread, dir)
}

fn next(mut stream: &UnixStream) -> Frame {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).expect("a request");
    let header = Header::decode(&header);
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).expect("its payload");
    let kind = Kind::from_number(header.kind).expect("a known type");
    Frame { kind, req_id: header.req_id, tx_id: header.tx_id, payload }
}

fn answer(mut stream: &UnixStream, request: &Frame, payload: &[u8]) {
    let frame = Frame { payload: payload.to_vec(), ..*request };
    stream.write_all(&frame.encode()).expect("the client reads");
}

/// What the client says after this raw answer to a READ with request id 1.
fn after(raw: Vec<u8>) -> String {
    let (client, daemon, _dir) = client(move |mut stream| {
        next(&stream);
        // The client may have closed already.
        let _ = stream.write_all(&raw);
        stream
    });
    let error = client.read(Tx::NONE, "/t").unwrap_err();
    assert_eq!(error.errno(), libc::ENOTCONN, "{error}");
    let mut fds = [PollFd::new(client.wake_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(5000u16)), Ok(1), "the owner is woken");
    assert!(!client.is_connected());
    assert_eq!(client.write(Tx::NONE, "/t", b""), Err(error.clone()), "for ever");
    // The daemon is still there; it is the client that has shut the connection.
    let mut stream = daemon.join().expect("daemon");
    assert_eq!(stream.read(&mut [0]).expect("end of file"), 0);
    error.to_string()
}

fn raw(kind: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind, req_id, tx_id: 0, len: payload.len() as u32 };
    [&header.encode(), payload].concat()
}

#[test]
fn broken_answers_end_the_connection() {
    let read = Kind::Read as u32;
    let cases = [
        (raw(99, 1, b""), "message type 99 is unknown"),
        (Header { kind: read, req_id: 1, tx_id: 0, len: u32::MAX }.encode().to_vec(), "length 4294967295"),
        (raw(read, 2, b"x"), "to request 2, which was not made"),
        (raw(read, 0, b"x"), "to request 0, which was not made"),
        (raw(Kind::Write as u32, 1, b"OK\0"), "answer Write from xenstored to a request Read"),
        (raw(Kind::Watch as u32, 0, b"OK\0"), "to request 0, which was not made"),
        (raw(Kind::WatchEvent as u32, 0, b"/t\0"), "without a token of ours"),
        (raw(Kind::WatchEvent as u32, 0, b"/t\0xyz\0"), "without a token of ours"),
    ];
    for (bytes, want) in cases {
        let said = after(bytes);
        assert!(said.contains(want), "{said:?} does not contain {want:?}");
    }
}

#[test]
fn a_close_releases_every_waiter() {
    let (client, daemon, _dir) = client(|stream| {
        for _ in 0..3 {
            next(&stream);
        }
    });
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| client.read(Tx::NONE, "/t"))).collect();
        for waiter in waiters {
            let outcome = waiter.join().expect("no panic");
            assert!(matches!(outcome, Err(Error::Disconnected { .. })), "{outcome:?}");
        }
    });
    daemon.join().expect("daemon");
}

#[test]
fn answers_out_of_order_find_their_callers() {
    let (client, daemon, _dir) = client(|stream| {
        let requests: Vec<Frame> = (0..3).map(|_| next(&stream)).collect();
        for request in requests.iter().rev() {
            answer(&stream, request, &request.payload);
        }
        stream
    });
    std::thread::scope(|scope| {
        for path in ["/a", "/b", "/c"] {
            let client = &client;
            scope.spawn(move || {
                assert_eq!(client.read(Tx::NONE, path).unwrap(), format!("{path}\0").as_bytes());
            });
        }
    });
    drop(daemon.join().expect("daemon"));
}

#[test]
fn late_transactions_and_watches_are_given_back() {
    let (client, daemon, _dir) = client_within(Duration::from_secs(2), |stream| {
        // The client reads when it has given up the first two; so what is given back comes with what it reads then.
        let (begin, watch, read) = (next(&stream), next(&stream), next(&stream));
        answer(&stream, &begin, b"77\0");
        answer(&stream, &watch, b"OK\0");
        answer(&stream, &read, b"1");
        let after: Vec<Frame> = (0..3).map(|_| next(&stream)).collect();
        for request in &after {
            answer(&stream, request, b"2");
        }
        (watch, after)
    });
    assert_eq!(client.begin().unwrap_err().errno(), libc::ETIMEDOUT);
    assert_eq!(client.watch("/w").unwrap_err().errno(), libc::ETIMEDOUT);
    assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"1");
    assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"2");
    let (watch, after) = daemon.join().expect("daemon");
    let seen: Vec<_> =
        after.iter().map(|frame| (frame.kind, frame.tx_id, frame.payload.as_slice())).collect();
    assert_eq!(
        seen,
        [
            (Kind::TransactionEnd, 77, b"F\0".as_slice()),
            (Kind::Unwatch, 0, &watch.payload),
            (Kind::Read, 0, b"/t\0")
        ]
    );
}

#[test]
fn a_daemon_that_does_not_read_costs_only_time() {
    let (go, wait) = std::sync::mpsc::channel();
    let (client, daemon, _dir) = client_within(Duration::from_millis(300), move |stream| {
        wait.recv().expect("the test goes on");
        stream
    });
    // Enough to fill the socket's buffer: at last nothing, or only a part of a request, can be sent.
    let value = vec![b'x'; 4000];
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let errno = client.write(Tx::NONE, "/t", &value).unwrap_err().errno();
                assert!([libc::ETIMEDOUT, libc::ENOTCONN].contains(&errno), "{errno}");
            });
        }
    });
    go.send(()).expect("the daemon waits");
    drop(daemon.join().expect("daemon"));
}

#[test]
fn transaction_zero_is_refused() {
    let (client, daemon, _dir) = client(|stream| {
        let begin = next(&stream);
        answer(&stream, &begin, b"0\0");
        stream
    });
    assert!(matches!(client.begin(), Err(Error::Value { .. })));
    drop(daemon.join().expect("daemon"));
}

#[test]
fn a_directory_that_always_changes_is_given_up() {
    let (client, daemon, _dir) = client(|stream| {
        let first = next(&stream);
        stream_error(&stream, &first, b"E2BIG\0");
        let mut generation = 0;
        // Two parts each time: the second shows that the directory changed.
        for _ in 0..2 * 32 {
            generation += 1;
            let part = next(&stream);
            answer(&stream, &part, format!("{generation}\0name\0").as_bytes());
        }
        stream
    });
    assert_eq!(client.list(Tx::NONE, "/t"), Err(Error::Again));
    drop(daemon.join().expect("daemon"));
}

#[test]
fn broken_directories_are_refused() {
    for reply in [b"".as_slice(), b"1", b"1\0", b"1\0name", b"1\0\xff\0\0"] {
        let (client, daemon, _dir) = client(move |stream| {
            let first = next(&stream);
            stream_error(&stream, &first, b"E2BIG\0");
            let part = next(&stream);
            answer(&stream, &part, reply);
            stream
        });
        let outcome = client.list(Tx::NONE, "/t");
        assert!(matches!(outcome, Err(Error::Value { .. })), "{reply:?}: {outcome:?}");
        drop(daemon.join().expect("daemon"));
    }
}

fn stream_error(mut stream: &UnixStream, request: &Frame, name: &[u8]) {
    let frame = Frame { kind: Kind::Error, payload: name.to_vec(), ..*request };
    stream.write_all(&frame.encode()).expect("the client reads");
}

#[test]
fn unknown_errors_are_errors() {
    let (client, daemon, _dir) = client(|stream| {
        let request = next(&stream);
        stream_error(&stream, &request, b"EWHATEVER\0");
        stream
    });
    assert_eq!(client.read(Tx::NONE, "/t").unwrap_err().errno(), libc::EIO);
    drop(daemon.join().expect("daemon"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, the call returns.
    #[test]
    fn arbitrary_answers_never_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (client, daemon, _dir) = client(move |mut stream| {
            next(&stream);
            let _ = stream.write_all(&bytes);
        });
        // The daemon closes after its bytes, so this is a disconnection, never a time-out.
        let outcome = client.read(Tx::NONE, "/t");
        prop_assert!(matches!(outcome, Err(Error::Disconnected { .. })), "{:?}", outcome);
        daemon.join().expect("daemon");
    }
}
