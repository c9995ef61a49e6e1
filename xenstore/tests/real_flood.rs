// SPDX-License-Identifier: MIT OR Apache-2.0
//! A flood of watch events from the real xenstored. A target of its own: other tests in this process would change
//! the memory that it measures.

mod support;

use support::daemon::Xenstored;
use vesper_xenstore::{Store, Tx};

#[test]
fn a_flood_of_watches_does_not_grow_the_client() {
    let daemon = Xenstored::start();
    let dom0 = daemon.connect();
    let watcher = daemon.connect();
    let watches: Vec<_> = (0..20).map(|_| watcher.watch("/t").unwrap()).collect();
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("resident pages")
    };
    let before = resident();
    for round in 0..10_000 {
        dom0.write(Tx::NONE, "/t/x", format!("{round}").as_bytes()).unwrap();
    }
    // 200,000 events of 22 bytes and a header each would be 1,800 pages if they were kept.
    assert_eq!(watcher.read(Tx::NONE, "/t/x").unwrap(), b"9999");
    let grown = resident().saturating_sub(before);
    assert!(grown < 400, "{grown} pages more");
    assert!(watches.iter().all(|watch| watch.take_dirty()));
}
