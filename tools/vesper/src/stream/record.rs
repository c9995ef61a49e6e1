// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vesper record`.

use std::io;
use std::path::Path;

use vesper_api::{Done, ErrorKind, Failure, Recorded, printable};
use vesper_stream::frame::{Frame, GoneReason};
use vesper_stream::{Entry, Parser, Recording};

use super::feed::{Came, Feed, Opened, cut_off, not_a_stream};
use crate::options::Record;
use crate::say;

/// Writes a guest's records into a directory.
///
/// # Errors
/// What keeps it from being begun or going on; what has been written by then stays.
pub(crate) fn record(socket: &Path, options: &Record) -> Result<Done, Failure> {
    let (dom, _) = options.source.parts();
    let (streaming, mut feed) = match Feed::open(socket, &options.source.request(true))? {
        Opened::Live(streaming, feed) => (streaming, feed),
        Opened::Events(_) => return Err(not_a_stream()),
        Opened::Saved(saved) => {
            let message = format!("{dom} is gone; what was saved of it is in {}", saved.dir.display());
            return Err(Failure::new(ErrorKind::GuestGone, message)
                .guest(saved.guest)
                .remedy(format!("see it with: vesper replay {}", saved.dir.display())));
        }
    };
    let dir = &options.output;
    let mut recording = Recording::create(dir, options.size_limit).map_err(|error| unwritable(&error))?;
    say(&format!(
        "recording {} into {}; end it with ^C\n",
        printable(dom),
        printable(&dir.display().to_string())
    ));

    let (mut parser, mut bytes, mut gone) = (Parser::new(), Vec::new(), None);
    let end = loop {
        match feed.next(&mut bytes, None).map_err(|error| cut_off(&error.to_string()))? {
            Came::Bytes => {
                parser.push(&bytes);
                bytes.clear();
                while let Some(entry) = parser.next_entry() {
                    // Bytes that are no frame cannot come from this daemon; the next frame says what is missing.
                    let Entry::Frame(frame, payload) = entry else { continue };
                    if let Frame::Gone(frame) = &frame {
                        gone = Some(frame.reason);
                    }
                    recording.write(&frame, &payload).map_err(|error| unwritable(&error))?;
                }
                // So that what has been recorded is there if this is killed.
                recording.flush().map_err(|error| unwritable(&error))?;
            }
            Came::Nothing => {}
            Came::Stop => break Ok(()),
            Came::End => {
                break match gone {
                    None => Err(cut_off("it closed the connection")),
                    Some(GoneReason::DaemonStopped) => Err(cut_off("it was stopped")),
                    Some(_) => Ok(()),
                };
            }
        }
    };
    let (bytes, removed) = recording.bytes();
    recording.finish().map_err(|error| unwritable(&error))?;
    end.map(|()| Done::Recorded(Recorded { guest: streaming.guest, dir: dir.clone(), bytes, removed }))
}

fn unwritable(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
        _ => ErrorKind::BadRequest,
    };
    Failure::new(kind, error.to_string())
}
