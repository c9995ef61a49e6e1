// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a stream's bytes to what is printed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Instant;

use vesper_stream::frame::{Frame, GoneReason};
use vesper_stream::merge::WINDOW;
use vesper_stream::{Decoder, Entry, Item, Merger, Parser, What, json, text};

use crate::options::Format;
use crate::say;

/// What has come of a stream, as far as it has not been printed.
pub(super) struct View {
    format: Format,
    only: Option<Only>,
    /// It comes from the daemon, and not out of a file.
    live: bool,
    parser: Parser,
    decoder: Decoder,
    merger: Merger,
    items: Vec<Item>,
    line: Vec<u8>,
    /// When a loss that the daemon told is shown even if no record shows it.
    overdue: Option<Instant>,
    /// Everything that was there at the beginning has come.
    pub(super) caught_up: bool,
    /// The guest's end has come.
    pub(super) gone: Option<GoneReason>,
}

impl View {
    /// Of what the daemon sends.
    pub(super) fn live(format: Format) -> Self {
        Self { live: true, ..Self::of_file(format, None) }
    }

    /// Of what was written, of the channel of this name or of all.
    pub(super) fn of_file(format: Format, channel: Option<&str>) -> Self {
        Self {
            format,
            live: false,
            only: channel.map(|name| Only { name: name.to_owned(), exports: BTreeSet::new() }),
            parser: Parser::new(),
            decoder: Decoder::new(),
            merger: Merger::new(),
            items: Vec::new(),
            line: Vec::new(),
            overdue: None,
            caught_up: false,
            gone: None,
        }
    }

    /// Takes bytes that have come now, and prints what is due. They are gone from `bytes` then.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>, out: &mut impl Write, now: Instant) -> io::Result<()> {
        self.parser.push(bytes);
        bytes.clear();
        while let Some(entry) = self.parser.next_entry() {
            if self.only.as_mut().is_some_and(|only| !only.is_meant(&entry)) {
                continue;
            }
            self.look(&entry, now);
            if let (Format::Raw, Entry::Frame(Frame::Data(_), payload)) = (self.format, &entry) {
                out.write_all(payload)?;
            }
            self.decoder.decode(entry, &mut self.items);
            // The merge bounds what is held, so it is asked often.
            self.print(out, now)?;
        }
        out.flush()
    }

    /// Prints what is due without anything having come.
    pub(super) fn tick(&mut self, out: &mut impl Write, now: Instant) -> io::Result<()> {
        if self.overdue.take_if(|due| *due <= now).is_some() {
            self.decoder.overdue(&mut self.items);
        }
        self.print(out, now)?;
        out.flush()
    }

    /// When [`View::tick`] has something to print; `None`: only when something comes.
    pub(super) fn due(&mut self) -> Option<Instant> {
        self.merger.next_due().into_iter().chain(self.overdue).min()
    }

    /// Nothing more comes: prints all that is left.
    pub(super) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Some(entry) = self.parser.finish() {
            self.decoder.decode(entry, &mut self.items);
        }
        self.decoder.overdue(&mut self.items);
        self.merger.finish();
        self.print(out, Instant::now())?;
        out.flush()
    }

    fn look(&mut self, entry: &Entry, now: Instant) {
        match entry {
            Entry::Frame(Frame::Lost(_), _) => self.overdue = Some(now + WINDOW),
            Entry::Frame(Frame::CaughtUp {}, _) => {
                self.caught_up = true;
                if self.live {
                    self.merger.go_live();
                }
            }
            Entry::Frame(Frame::Gone(gone), _) => self.gone = Some(gone.reason),
            _ => {}
        }
    }

    fn print(&mut self, out: &mut impl Write, now: Instant) -> io::Result<()> {
        for item in self.items.drain(..) {
            match (self.format, &item.what) {
                // Written already, as it came.
                (Format::Raw, What::Raw(_) | What::Record { last_words: false, .. }) => {}
                // The rest is for people.
                (Format::Raw, _) => say(&lines(&item)),
                _ => self.merger.push(item, now),
            }
        }
        while let Some(item) = self.merger.pop(now) {
            if self.format == Format::Json {
                self.line.clear();
                json::write(&mut self.line, &item);
                out.write_all(&self.line)?;
            } else {
                out.write_all(lines(&item).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The frames of one channel.
struct Only {
    name: String,
    exports: BTreeSet<u32>,
}

impl Only {
    fn is_meant(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Frame(Frame::Export(export), _) => {
                if export.name == self.name {
                    self.exports.insert(export.export);
                }
                export.name == self.name
            }
            Entry::Frame(Frame::Data(data), _) => self.exports.contains(&data.export),
            Entry::Frame(Frame::Lost(lost), _) => self.exports.contains(&lost.export),
            Entry::Frame(Frame::End(end), _) => self.exports.contains(&end.export),
            Entry::Frame(Frame::Words(words), _) => words.name == self.name,
            _ => true,
        }
    }
}

fn lines(item: &Item) -> String {
    let mut lines = String::new();
    text::write(&mut lines, item);
    lines
}
