// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is different over `/dev/xen/xenbus`, with a socket in the kernel's place. Source of the behaviour:
//! `drivers/xen/xenbus/xenbus_dev_frontend.c`.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::transport::Transport;
use super::{Client, TIME_LIMIT};
use crate::wire::{Frame, HEADER_LEN, Header, Kind};
use crate::{Error, Store, Tx};

fn pair() -> (UnixStream, UnixStream) {
    let (mine, kernel) = UnixStream::pair().unwrap();
    mine.set_nonblocking(true).unwrap();
    // So that a client which asks too little fails the test instead of hanging it.
    kernel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (mine, kernel)
}

fn next(mut kernel: &UnixStream) -> Frame {
    let mut header = [0; HEADER_LEN];
    kernel.read_exact(&mut header).unwrap();
    let header = Header::decode(&header);
    let mut payload = vec![0; header.len as usize];
    kernel.read_exact(&mut payload).unwrap();
    Frame {
        kind: Kind::from_number(header.kind).unwrap(),
        req_id: header.req_id,
        tx_id: header.tx_id,
        payload,
    }
}

fn say(mut kernel: &UnixStream, kind: Kind, req_id: u32, payload: &[u8]) {
    let frame = Frame { kind, req_id, tx_id: 0, payload: payload.to_vec() };
    kernel.write_all(&frame.encode()).unwrap();
}

fn over(fd: impl Into<OwnedFd>, limit: Duration) -> Client {
    Client::start(Transport::Device(fd.into()), limit).unwrap()
}

#[test]
fn watch_answers_have_no_id_and_events_have_garbage() {
    let (mine, kernel) = pair();
    let client = over(mine, TIME_LIMIT);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let watch = next(&kernel);
            let token = watch.payload.split(|&byte| byte == 0).nth(1).unwrap();
            // The event may come before the answer; its header has what was on the kernel's stack.
            let event = [b"/t\0".as_slice(), token, b"\0more\0"].concat();
            say(&kernel, Kind::WatchEvent, 0xdead_beef, &event);
            say(&kernel, Kind::Watch, 0, b"OK\0");
            let read = next(&kernel);
            say(&kernel, Kind::WatchEvent, 1, &event);
            say(&kernel, Kind::Read, read.req_id, b"1");
            let unwatch = next(&kernel);
            assert_eq!((unwatch.kind, &unwatch.payload), (Kind::Unwatch, &watch.payload));
            say(&kernel, Kind::Unwatch, 0, b"OK\0");
            let read = next(&kernel);
            say(&kernel, Kind::Read, read.req_id, b"2");
        });
        let watch = client.watch("/t").unwrap();
        assert!(watch.take_dirty());
        assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"1");
        assert!(watch.take_dirty());
        drop(watch);
        assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"2");
        assert!(client.is_connected());
    });
}

#[test]
fn the_kernel_counts_the_header_in_its_limit() {
    let (mine, kernel) = pair();
    let client = over(mine, TIME_LIMIT);
    let fits = 4096 - HEADER_LEN - "/t\0".len();
    let error = client.write(Tx::NONE, "/t", &vec![0; fits + 1]).unwrap_err();
    assert!(matches!(error, Error::TooBig { len: 4081, max: 4080, .. }), "{error}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let write = next(&kernel);
            assert_eq!(write.payload.len(), 4080);
            say(&kernel, Kind::Write, write.req_id, b"OK\0");
        });
        client.write(Tx::NONE, "/t", &vec![0; fits]).unwrap();
    });
}

#[test]
fn an_error_of_the_write_call_is_the_answer() {
    // The reading end of a pipe: it can be polled, and every write fails with EBADF.
    let (reading, _writing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    let client = over(reading, TIME_LIMIT);
    assert_eq!(client.watch("/t").unwrap_err().errno(), libc::EBADF);
    assert_eq!(client.read(Tx::NONE, "/t").unwrap_err().errno(), libc::EBADF);
    assert!(client.is_connected(), "one refused message does not end the connection");
}
