// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a signal waits for a thread that waits for us (proc(5), `/proc/<pid>/status`).

use std::fs;

/// Whether a system call of the thread is to end with EINTR: a signal is pending that the thread does not block. The
/// kernel keeps none that is ignored. A thread that cannot be seen from here (0: it is in another PID namespace) counts
/// as interrupted, so that it is never held for ever.
pub(crate) fn interrupt(thread: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{thread}/status"));
    status.ok().and_then(|status| is_pending(&status)).unwrap_or(true)
}

fn is_pending(status: &str) -> Option<bool> {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.strip_prefix(':')?.trim(), 16).ok()
    };
    Some((set("SigPnd")? | set("ShdPnd")?) & !set("SigBlk")? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_signal_counts_unless_it_is_blocked() {
        let status = |own: &str, shared: &str, blocked: &str| {
            format!("Name:\tSigPnd: 1\nThreads:\t1\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t{blocked}\n")
        };
        let (none, kill, usr1) = ("0000000000000000", "0000000000000100", "0000000000000200");
        for (own, shared, blocked, pending) in [
            (none, none, none, false),
            (kill, none, none, true),
            (none, usr1, none, true),
            (none, usr1, usr1, false),
            (kill, usr1, usr1, true),
        ] {
            assert_eq!(is_pending(&status(own, shared, blocked)), Some(pending), "{own} {shared} {blocked}");
        }
        assert_eq!(is_pending("Name:\tx\n"), None);
    }

    #[test]
    fn this_thread_is_not_interrupted_and_one_out_of_sight_is() {
        assert!(!interrupt(nix::unistd::gettid().as_raw() as u32));
        assert!(interrupt(0) && interrupt(u32::MAX));
    }
}
