// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vesper replay`: a stream in a directory.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::time::Instant;

use vesper_api::{ErrorKind, Failure};
use vesper_stream::store;

use super::view::View;
use crate::options::{Format, Replay};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Prints a recording.
///
/// # Errors
/// What keeps it from being read.
pub(crate) fn replay(options: &Replay, format: Format) -> Result<(), Failure> {
    print(&options.dir, None, format)
}

/// Prints what is in a directory, of one channel or of all.
pub(super) fn print(dir: &Path, channel: Option<&str>, format: Format) -> Result<(), Failure> {
    let files = store::files(dir).map_err(|error| unreadable(&error))?;
    if files.is_empty() {
        return Err(Failure::new(ErrorKind::BadRequest, format!("{} has no recording in it", dir.display())));
    }
    let mut view = View::of_file(format, channel);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut bytes = Vec::with_capacity(CHUNK);
    // All of it is as old as it will ever be: only the order in the files counts.
    let now = Instant::now();
    for path in files {
        let named = |error: io::Error| {
            unreadable(&io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let mut file = File::open(&path).map_err(named)?;
        while file.by_ref().take(CHUNK as u64).read_to_end(&mut bytes).map_err(named)? > 0 {
            // Nobody reads any more: that is for the reader to say.
            if view.take(&mut bytes, &mut out, now).is_err() {
                return Ok(());
            }
        }
    }
    let _ = view.finish(&mut out);
    Ok(())
}

fn unreadable(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
        _ => ErrorKind::BadRequest,
    };
    Failure::new(kind, error.to_string())
}
