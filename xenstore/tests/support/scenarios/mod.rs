// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every store must do. The same scenarios run against the real xenstored and the in-process store, so that
//! the stand-in cannot drift away from the real thing.

mod device;
mod nodes;
mod permissions;
mod transactions;
mod watches;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_xenstore::{
    Error, Perm, Store, Tx, Watch, Written, read_opt, read_string, read_u32, read_u32_or, transaction,
    write_existing,
};

/// A store with its domains.
pub trait World {
    fn dom0(&self) -> &dyn Store;
    /// Introduces a domain and gives its own, unprivileged connection.
    fn guest(&self, domid: u16) -> Box<dyn Store>;
    fn release(&self, domid: u16);
}

type Scenario = (&'static str, fn(&dyn World));

/// Every scenario with its name.
const ALL: &[Scenario] = &[
    ("values are bytes", nodes::values_are_bytes),
    ("missing nodes", nodes::missing_nodes),
    ("bad paths", nodes::bad_paths),
    ("too big", nodes::too_big),
    ("typed reads", nodes::typed_reads),
    ("transaction conflict", transactions::transaction_conflict),
    ("transaction isolation", transactions::transaction_isolation),
    ("siblings conflict", transactions::siblings_conflict),
    ("transaction ends once", transactions::transaction_ends_once),
    ("retry gets through", transactions::retry_gets_through),
    ("retry is bounded", transactions::retry_is_bounded),
    ("write existing", transactions::write_existing_rule),
    ("permissions", permissions::permissions),
    ("hidden existence", permissions::hidden_existence),
    ("guest owns what it creates", permissions::guest_owns_what_it_creates),
    ("watch life", watches::watch_life),
    ("watch reach", watches::watch_reach),
    ("watch permissions", watches::watch_permissions),
    ("watch in a transaction", watches::watch_in_a_transaction),
    ("special watches", watches::special_watches),
    ("watch flood", watches::watch_flood),
    ("long directory", nodes::long_directory),
    ("node quota", permissions::node_quota),
    ("watch quota", permissions::watch_quota),
    ("transaction quota", permissions::transaction_quota),
    ("handshake", device::handshake),
];

/// Runs every scenario in a world of its own; all of them, before it fails.
pub fn run_all<W: World>(world: impl Fn() -> W) {
    let failed: Vec<_> = ALL
        .iter()
        .filter(|(name, run)| {
            println!("scenario: {name}");
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&world()))).is_err()
        })
        .map(|(name, _)| name)
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

const NONE: Tx = Tx::NONE;

/// Waits until the watch is dirty. Fails after 10 s.
fn await_dirty(store: &dyn Store, watch: &Watch) {
    while !watch.take_dirty() {
        let mut fds = [PollFd::new(store.wake_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(10_000u16)).expect("poll");
        assert!(ready > 0, "{} did not fire", watch.path());
        store.drain_wake();
    }
}

/// Whether the watch fired for what others changed before this call: events come in order with the answers.
fn fired(store: &dyn Store, watch: &Watch) -> bool {
    store.domain_path(0).expect("any answer");
    watch.take_dirty()
}

fn put(store: &dyn Store, path: &str, value: &str) {
    store.write(NONE, path, value.as_bytes()).unwrap_or_else(|error| panic!("writing {path}: {error}"));
}

fn perms(store: &dyn Store, path: &str, perms: &[Perm]) {
    store.set_perms(NONE, path, perms).unwrap_or_else(|error| panic!("perms of {path}: {error}"));
}

fn errno<T: std::fmt::Debug>(outcome: Result<T, Error>) -> i32 {
    outcome.expect_err("this must be refused").errno()
}
