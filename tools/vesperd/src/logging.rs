// SPDX-License-Identifier: MIT OR Apache-2.0
//! Log lines on standard error, with priorities where the journal reads them.
//!
//! systemd gives a service `JOURNAL_STREAM` with device and inode of the stream to the journal; when standard error is that
//! stream, each line starts with `<N>`, the priority of syslog (sd-daemon(3)).

use std::io::Write;
use std::os::fd::AsFd;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Target of messages that are more than information: an injection and its outcome.
pub const NOTICE: &str = "notice";

/// Targets of a library that warns of what is done on purpose: the tree of channels is unmounted before it ends its session.
const FUSER: &str = "fuser";

struct Stderr {
    journal: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
            && (metadata.level() == Level::Error || !metadata.target().starts_with(FUSER))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(self.journal, record.level(), record.target(), &record.args().to_string());
            // There is nobody left to tell if this fails.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One line. Text from elsewhere cannot make a second one, nor reach a terminal as a command.
fn line(journal: bool, level: Level, target: &str, message: &str) -> String {
    let message = vesper_api::printable(message);
    let (priority, word) = match level {
        Level::Error => (3, "error: "),
        Level::Warn => (4, "warning: "),
        Level::Info if target == NOTICE => (5, ""),
        Level::Info => (6, ""),
        Level::Debug | Level::Trace => (7, "debug: "),
    };
    if journal { format!("<{priority}>{message}\n") } else { format!("vesperd: {word}{message}\n") }
}

/// Whether standard error goes to the journal.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::io::stderr();
    nix::sys::stat::fstat(stderr.as_fd())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Sends the log to standard error.
///
/// # Panics
/// When the process has a logger already.
pub fn init(level: LevelFilter) {
    log::set_boxed_logger(Box::new(Stderr { journal: to_journal() })).expect("there is one logger");
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fuser_errors_are_logged() {
        log::set_max_level(LevelFilter::Info);
        let enabled = |target, level| {
            Stderr { journal: false }.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(!enabled("fuser::mnt", Level::Warn) && enabled("fuser::mnt", Level::Error));
        assert!(enabled("vesper_tree", Level::Warn) && !enabled("vesper_tree", Level::Debug));
    }

    #[test]
    fn a_message_is_one_line_with_its_priority() {
        assert_eq!(line(true, Level::Error, "vesperd", "no xenstore"), "<3>no xenstore\n");
        assert_eq!(line(true, Level::Info, "vesperd", "a\n<0>b"), "<6>a\\n<0>b\n");
        assert_eq!(line(true, Level::Info, NOTICE, "insmod"), "<5>insmod\n");
        assert_eq!(line(false, Level::Warn, "vesperd", "x\u{1b}[2J"), "vesperd: warning: x\\x1b[2J\n");
    }
}
