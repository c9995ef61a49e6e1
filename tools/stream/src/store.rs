// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams in a directory: the same frames as on the socket, in `stream.vsp`, or, where the size is limited, in
//! `stream-000001.vsp` and so on, of which the oldest are removed. Each of these begins with what a reader must know.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vesper_api::channel::Since;

use crate::Moment;
use crate::frame::{Clock, Export, Frame, GoneReason, Guest};

/// The one file of a stream without a limit.
pub const FILE: &str = "stream.vsp";
/// Which guest, which boot, from when to when: for those who look into the directory.
pub const INFO: &str = "info.json";
/// Into how many files a limited stream is divided: as much of it may be missing beyond the limit's need.
const FILES: u64 = 8;
/// Smallest limit, so that every file has room for the largest frame.
pub const LIMIT_MIN: u64 = 16 << 20;

/// What `info.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The guest.
    #[serde(flatten)]
    pub guest: Guest,
    /// When the recording began, RFC 3339.
    pub began: String,
    /// When it ended; absent while it goes on, and in one whose writer was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What became of the guest, if it ended with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<GoneReason>,
    /// What the guest said of that last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Info {
    /// What a directory's `info.json` says.
    ///
    /// # Errors
    /// What the file system says, with the path; `InvalidData` if it is no such document.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let path = dir.join(INFO);
        let text = fs::read(&path).map_err(|error| at(&path, &error))?;
        vesper_api::from_line(&text)
            .map_err(|error| at(&path, &io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}

/// Writes a stream into a directory.
#[derive(Debug)]
pub struct Recording {
    dir: PathBuf,
    limit: Option<u64>,
    file: BufWriter<File>,
    /// Number and bytes of each file, oldest first; the last one is being written.
    files: VecDeque<(u64, u64)>,
    removed: u64,
    known: Known,
    info: Info,
}

/// What each file begins with.
#[derive(Debug, Default)]
struct Known {
    guest: Option<Guest>,
    clock: Option<Clock>,
    exports: BTreeMap<u32, Export>,
}

impl Recording {
    /// Begins a recording. The directory is made if it is missing; one with a stream in it is left as it is.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a stream; else what the file system says, with the path.
    pub fn create(dir: &Path, limit: Option<u64>) -> io::Result<Self> {
        fs::create_dir_all(dir).map_err(|error| at(dir, &error))?;
        if !files(dir)?.is_empty() {
            let message = format!("{} has a recording in it already", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let (file, first) = open(dir, limit.map(|_| 1))?;
        let files = VecDeque::from([(first, 0)]);
        let info = Info { began: Moment::now().to_string(), ..Info::default() };
        Ok(Self { dir: dir.into(), limit, file, files, removed: 0, known: Known::default(), info })
    }

    /// Writes a frame with its raw bytes.
    ///
    /// # Errors
    /// What the file system says, with the path. What was written before stays.
    pub fn write(&mut self, frame: &Frame, payload: &[u8]) -> io::Result<()> {
        self.known.learn(frame);
        match frame {
            Frame::Guest(guest) => {
                self.info.guest = guest.clone();
                self.write_info()?;
            }
            Frame::Gone(gone) => {
                (self.info.reason, self.info.cause) = (Some(gone.reason), gone.cause.clone());
            }
            _ => {}
        }
        self.append(&frame.line())?;
        self.append(payload)?;
        let written = self.files.back().map_or(0, |(_, bytes)| *bytes);
        match self.limit {
            Some(limit) if written >= limit / FILES => self.next_file(limit),
            _ => Ok(()),
        }
    }

    /// Hands over to the kernel what is still in the program.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| at(&self.dir, &error))
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.info.ended = Some(Moment::now().to_string());
        self.write_info()
    }

    /// The old one is there until the new one is whole.
    fn write_info(&self) -> io::Result<()> {
        let (path, new) = (self.dir.join(INFO), self.dir.join("info.json.new"));
        fs::write(&new, vesper_api::to_line(&self.info)).map_err(|error| at(&new, &error))?;
        fs::rename(&new, &path).map_err(|error| at(&path, &error))
    }

    /// Bytes in the directory, and bytes that were removed because of the limit.
    pub fn bytes(&self) -> (u64, u64) {
        (self.files.iter().map(|(_, bytes)| bytes).sum(), self.removed)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(|error| at(&self.dir, &error))?;
        if let Some((_, written)) = self.files.back_mut() {
            *written += bytes.len() as u64;
        }
        Ok(())
    }

    fn next_file(&mut self, limit: u64) -> io::Result<()> {
        self.flush()?;
        let last = self.files.back().map_or(0, |(number, _)| *number);
        let (file, number) = open(&self.dir, Some(last + 1))?;
        self.file = file;
        self.files.push_back((number, 0));
        for line in self.known.lines() {
            self.append(&line)?;
        }
        // Room for the file that is being written, too.
        while self.files.len() > 1 && self.bytes().0 + limit / FILES > limit {
            let Some((number, bytes)) = self.files.pop_front() else { break };
            let path = self.dir.join(name(Some(number)));
            fs::remove_file(&path).map_err(|error| at(&path, &error))?;
            self.removed += bytes;
        }
        Ok(())
    }
}

impl Known {
    fn learn(&mut self, frame: &Frame) {
        match frame {
            Frame::Guest(guest) => self.guest = Some(guest.clone()),
            Frame::Clock(clock) => self.clock = Some(*clock),
            // Who begins with this file has not lost what was in the files before.
            Frame::Export(export) => {
                let export = Export { since: Since::Now, ..export.clone() };
                self.exports.insert(export.export, export);
            }
            Frame::End(end) => drop(self.exports.remove(&end.export)),
            _ => {}
        }
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let guest = self.guest.iter().cloned().map(Frame::Guest);
        let exports = self.exports.values().cloned().map(Frame::Export);
        let clock = self.clock.map(Frame::Clock);
        guest.chain(exports).chain(clock).map(|frame| frame.line()).collect()
    }
}

/// The files of the stream in a directory, in their order; none if there is no stream.
///
/// # Errors
/// What the file system says, with the path.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| at(dir, &error))? {
        let path = entry.map_err(|error| at(dir, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("stream").and_then(|rest| rest.strip_suffix(".vsp"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if number.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn open(dir: &Path, number: Option<u64>) -> io::Result<(BufWriter<File>, u64)> {
    let path = dir.join(name(number));
    let file =
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| at(&path, &error))?;
    Ok((BufWriter::with_capacity(64 << 10, file), number.unwrap_or_default()))
}

fn name(number: Option<u64>) -> String {
    number.map_or_else(|| FILE.into(), |number| format!("stream-{number:06}.vsp"))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
