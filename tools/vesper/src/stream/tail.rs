// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vesper tail`.

use std::io::{self, BufWriter};
use std::path::Path;
use std::time::Instant;

use vesper_api::{ErrorKind, Failure, printable};
use vesper_stream::frame::GoneReason;

use super::feed::{Came, Feed, Opened, cut_off, not_a_stream};
use super::replay;
use super::view::View;
use crate::options::{Format, Tail};
use crate::say;

/// Prints a guest's records.
///
/// # Errors
/// What keeps it from being begun or going on.
pub(crate) fn tail(socket: &Path, options: &Tail, format: Format) -> Result<(), Failure> {
    let (dom, channel) = options.source.parts();
    if format == Format::Raw && channel.is_none() {
        let message = "raw bytes of several channels cannot be told apart";
        return Err(Failure::new(ErrorKind::BadRequest, message)
            .remedy(format!("name one, {dom}/NAME: vesper channels {dom} shows them")));
    }
    match Feed::open(socket, &options.source.request(options.follow))? {
        Opened::Live(_, feed) => print(feed, options.follow, format),
        Opened::Events(_) => Err(not_a_stream()),
        Opened::Saved(saved) => {
            let dir = saved.dir.display().to_string();
            say(&format!("{} is gone; this was saved of it in {}\n", printable(dom), printable(&dir)));
            replay::print(&saved.dir, channel, format)
        }
    }
}

fn print(mut feed: Feed, follow: bool, format: Format) -> Result<(), Failure> {
    let mut view = View::live(format);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut bytes = Vec::new();
    let end = loop {
        let came = feed.next(&mut bytes, view.due()).map_err(|error| cut_off(&error.to_string()))?;
        let now = Instant::now();
        let printed = match came {
            Came::Bytes => view.take(&mut bytes, &mut out, now),
            Came::Nothing => view.tick(&mut out, now),
            Came::Stop => break Ok(()),
            Came::End if view.gone == Some(GoneReason::DaemonStopped) => {
                break Err(cut_off("it was stopped"));
            }
            Came::End if view.gone.is_some() || (view.caught_up && !follow) => break Ok(()),
            Came::End => break Err(cut_off("it closed the connection")),
        };
        // Nobody reads any more: that is for the reader to say.
        if printed.is_err() {
            return Ok(());
        }
    };
    let _ = view.finish(&mut out);
    end
}
