// SPDX-License-Identifier: MIT OR Apache-2.0
//! One request over the socket, with a line on a terminal that says that it is still at work.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use crate::say;
use vesper_api::{Reply, Request, printable};

/// How long nothing is said; from then on a terminal sees that something goes on.
const QUIET: Duration = Duration::from_secs(2);

/// Asks the daemon. What keeps it from answering is a reply, too.
pub(crate) fn ask(socket: &Path, request: &Request, file: Option<&File>) -> Reply {
    if !io::stderr().is_terminal() {
        return vesper_client::ask(socket, request, file, None);
    }
    let mut progress = Progress { shown: false };
    vesper_client::ask(socket, request, file, Some(&mut |elapsed| progress.show(request, elapsed)))
}

/// The line on a terminal.
struct Progress {
    shown: bool,
}

impl Progress {
    fn show(&mut self, request: &Request, elapsed: Duration) {
        if elapsed >= QUIET {
            let dom = request.dom().map_or(String::new(), |dom| format!(" {}", printable(dom)));
            let seconds = elapsed.as_secs();
            say(&format!("\r\x1b[Kvesper {}{dom}: waiting, {seconds} s", request.command()));
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            say("\r\x1b[K");
        }
    }
}
