// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors whose close takes as long as their maker likes.

mod support;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{setsockopt, sockopt};
use support::{Client, World, eventually, insmod};
use vesper_api::Request;
use vesper_xenfront::loopback::Reaction;

/// A socket whose last close waits for its peer, which is the other one, to read or to go away: longer than a [`Client`] waits
/// for its reply.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (there, _) = listener.accept().unwrap();
    setsockopt(&here, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 600 }).unwrap();
    here.set_nonblocking(true).unwrap();
    loop {
        match here.write(&[0; 1 << 16]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (here, there),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_descriptor_of_no_use_holds_nobody_up() {
    let world = World::new();
    let (socket, peer) = lingering();
    let client = Client::connect(world.socket());
    let line = vesper_api::to_line(&Request::List {});
    // This process's own copy goes while the line is not whole, so that the daemon's is the last.
    client.send(&line[..1], &[socket.as_raw_fd()]);
    drop(socket);
    client.send(&line[1..], &[]);
    assert!(world.ask(&Request::List {}).is_ok());
    // Its own connection waits behind it to be closed, and is seen to end all the same.
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut client = client;
    assert!(client.reply().into_result().is_ok());
    assert!(client.try_reply().is_none());
    drop(peer);
}

#[test]
fn a_descriptor_that_was_never_received_holds_nobody_up() {
    let world = World::new();
    let guest = world.add_attached(1);
    guest.kernel().next(Reaction::works().held());
    let (socket, peer) = lingering();
    let client = Client::connect(world.socket());
    let image = File::open(world.module("answer")).unwrap();
    client.send(&vesper_api::to_line(&insmod("1")), &[image.as_raw_fd()]);
    eventually("the load begins", || !guest.kernel().work().is_empty());
    // Left in the connection's queue, since the daemon takes nothing while it is at the first line.
    client.send(b"x", &[socket.as_raw_fd()]);
    drop(socket);
    drop(client);
    assert!(world.ask(&Request::List {}).is_ok());
    guest.kernel().let_go();
    eventually("it is in", || world.guest(1).unwrap().modules == ["answer"]);
    drop(peer);
}
