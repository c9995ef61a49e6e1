// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenstore-rs` behind `Basic` against the real xenstored, beside our own client.
//!
//! `xenstore-rs` finds its socket by the environment only. So this target has its own `main`: it starts the
//! daemon, then runs itself again with the variable set.

mod support;

use std::process::{Command, ExitCode};

use support::daemon::Xenstored;
use vesper_xenstore::adapter::XenstoreRs;
use vesper_xenstore::{Basic, Client, Error, Store, Tx};

fn main() -> ExitCode {
    if std::env::var_os("ADAPTER_TEST_CHILD").is_some() {
        both_clients_agree();
        what_it_cannot_do();
        println!("adapter: ok");
        return ExitCode::SUCCESS;
    }
    let daemon = Xenstored::start();
    let status = Command::new(std::env::current_exe().expect("this program"))
        .env("ADAPTER_TEST_CHILD", "1")
        .env("XENSTORED_PATH", daemon.socket())
        .status()
        .expect("this program runs again");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn both_clients_agree() {
    let ours = Client::connect().expect("XENSTORED_PATH");
    let theirs = XenstoreRs::connect().expect("XENSTORED_PATH");
    for (name, store) in [("ours", &ours as &dyn Basic), ("xenstore-rs", &theirs)] {
        println!("adapter: {name}");
        store.put("/t/a/b", b"text").unwrap();
        store.put("/t/a/empty", b"").unwrap();
        assert_eq!(store.get("/t/a/b").unwrap(), b"text");
        assert_eq!(store.get("/t/a/empty").unwrap(), b"");
        let mut names = store.children("/t/a").unwrap();
        names.sort();
        assert_eq!(names, ["b", "empty"]);
        assert!(store.children("/t/a/b").unwrap().is_empty());
        assert_eq!(store.get("/t/none"), Err(Error::NoEntry { path: "/t/none".into() }));
        assert_eq!(store.put("/t//x", b"1"), Err(Error::Invalid { path: "/t//x".into() }));
        assert_eq!(store.get("/t/a\0/x"), Err(Error::Invalid { path: "/t/a\0/x".into() }));
        assert_eq!(store.put("/t/a", &[b'x'; 4096]).unwrap_err().errno(), libc::E2BIG);
        store.delete("/t/a").unwrap();
        assert_eq!(store.get("/t/a/b").unwrap_err().errno(), libc::ENOENT);
    }
}

/// Holds the list in the adapter's documentation to the truth: a version that can do more fails here.
fn what_it_cannot_do() {
    let ours = Client::connect().expect("XENSTORED_PATH");
    let theirs = XenstoreRs::connect().expect("XENSTORED_PATH");
    ours.write(Tx::NONE, "/t/bytes", b"\xff").unwrap();
    assert_eq!(theirs.get("/t/bytes").unwrap_err().errno(), libc::EILSEQ);
    assert_eq!(theirs.put("/t/bytes", b"\xff").unwrap_err().errno(), libc::EINVAL);
    ours.write(Tx::NONE, "/t/nul", b"a\0").unwrap();
    assert_eq!(theirs.get("/t/nul").unwrap(), b"a", "the NUL at the end is lost");
    for number in 0..200 {
        ours.write(Tx::NONE, &format!("/t/long/{number:0>40}"), b"").unwrap();
    }
    assert_eq!(theirs.children("/t/long").unwrap_err().errno(), libc::E2BIG);
    assert_eq!(ours.children("/t/long").unwrap().len(), 200);
    assert_eq!(theirs.get("/t/nul").unwrap(), b"a", "still in step after errors");
}
