// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client against the real xenstored 4.17, which runs without Xen through an `LD_PRELOAD` library.

mod support;

use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use support::daemon::Xenstored;
use support::scenarios::{World, run_all};
use vesper_xenstore::{Client, Error, Store, Tx};

struct Real {
    dom0: Client,
    daemon: Xenstored,
}

impl World for Real {
    fn dom0(&self) -> &dyn Store {
        &self.dom0
    }

    fn guest(&self, domid: u16) -> Box<dyn Store> {
        Box::new(self.daemon.guest(&self.dom0, domid))
    }

    fn release(&self, domid: u16) {
        self.dom0.release(domid).expect("RELEASE");
    }
}

impl Real {
    fn start() -> Real {
        let daemon = Xenstored::start();
        Real { dom0: daemon.connect(), daemon }
    }
}

#[test]
fn every_scenario() {
    run_all(Real::start);
}

fn is_readable(store: &dyn Store, limit: u16) -> bool {
    let mut fds = [PollFd::new(store.wake_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(limit)).expect("poll") > 0
}

#[test]
fn a_killed_xenstored_is_seen_by_all() {
    let Real { dom0, mut daemon } = Real::start();
    let watch = dom0.watch("/t").unwrap();
    // Callers that wait for an answer at this moment.
    daemon.signal(Signal::SIGSTOP);
    let waiters: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| dom0.read(Tx::NONE, "/t"))).collect();
        std::thread::sleep(Duration::from_millis(50));
        dom0.drain_wake();
        daemon.kill();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for outcome in waiters {
        assert!(matches!(outcome, Err(Error::Disconnected { .. })), "{outcome:?}");
    }
    assert!(is_readable(&dom0, 5000), "the owner is woken");
    assert!(!dom0.is_connected());
    for outcome in [dom0.write(Tx::NONE, "/t", b"1"), dom0.begin().map(drop), dom0.watch("/t").map(drop)] {
        let error = outcome.unwrap_err();
        assert_eq!(error.errno(), libc::ENOTCONN, "{error}");
    }
    drop(watch);
    // A new daemon is an empty store, and a new client works.
    let again = Real::start();
    again.dom0.write(Tx::NONE, "/t", b"1").unwrap();
}

#[test]
fn a_stopped_xenstored_times_out_and_goes_on() {
    let Real { dom0, daemon } = Real::start();
    let client = Client::over_socket_within(daemon.socket(), Duration::from_secs(2)).unwrap();
    dom0.write(Tx::NONE, "/t", b"before").unwrap();
    daemon.signal(Signal::SIGSTOP);
    assert_eq!(client.read(Tx::NONE, "/t").unwrap_err().errno(), libc::ETIMEDOUT);
    assert_eq!(client.watch("/t").unwrap_err().errno(), libc::ETIMEDOUT);
    assert_eq!(client.begin().unwrap_err().errno(), libc::ETIMEDOUT);
    assert!(client.is_connected());
    daemon.signal(Signal::SIGCONT);
    // Late answers go to nobody; the next request gets its own.
    assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"before");
    client.drain_wake();
    assert_eq!(client.domain_path(3).unwrap(), "/local/domain/3");
    // The watch that was registered too late has been given back.
    dom0.write(Tx::NONE, "/t", b"after").unwrap();
    assert_eq!(client.read(Tx::NONE, "/t").unwrap(), b"after");
    assert!(!is_readable(&client, 0));
}

#[test]
fn many_threads_share_one_connection() {
    let Real { dom0, daemon: _daemon } = Real::start();
    dom0.write(Tx::NONE, "/t/count", b"0").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let dom0 = &dom0;
            scope.spawn(move || {
                let path = format!("/t/{thread}");
                for round in 0..500 {
                    let value = format!("{thread} {round}");
                    dom0.write(Tx::NONE, &path, value.as_bytes()).unwrap();
                    assert_eq!(dom0.read(Tx::NONE, &path).unwrap(), value.as_bytes());
                }
            });
        }
    });
}
