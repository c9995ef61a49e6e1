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
    // xenstored merges an event with an equal one that was not sent yet. So the names change, and each round is
    // seen to have arrived before the next: all 200,000 events come.
    for _ in 0..200 {
        for name in 0..50 {
            dom0.write(Tx::NONE, &format!("/t/{name}"), b"").unwrap();
        }
        assert_eq!(watcher.read(Tx::NONE, "/t/49").unwrap(), b"");
    }
    // If each were kept, in the smallest block that the allocator has, this would be 1,500 pages.
    let grown = resident().saturating_sub(before);
    assert!(grown < 200, "{grown} pages more");
    assert!(watches.iter().all(|watch| watch.take_dirty()));
}
