// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of `vesper events`.

use vesper_api::Request;

#[derive(clap::Args)]
pub(crate) struct Events {
    /// Guest: domid, name or UUID, also one that is gone; all unless one is named
    dom: Option<String>,
    /// Go on with what comes, until ^C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what was told after the event of this number
    #[arg(long, value_name = "SERIAL", default_value_t = 0, hide_default_value = true)]
    since: u64,
}

impl Events {
    pub(crate) fn request(&self) -> Request {
        Request::Events { dom: self.dom.clone(), since: self.since, follow: self.follow }
    }
}
