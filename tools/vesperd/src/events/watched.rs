// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest, and its channels that tell of faults.

use vesper_events::{Book, Meaning, Meanings, Report, Source, Who};
use vesper_grant::DomId;
use vesper_relay_mirror::{Next, Reader};
use vesper_stream::frame::Clock;
use vesper_stream::{Header, Moment, record};
use vesper_xenback::action::listener::{Export, SLOTS, Words};

use super::{Heard, records};

/// Records of one guest that are looked at before others have their turn.
const BUDGET: u32 = 4096;

/// A guest.
pub(super) struct Watched {
    pub(super) who: Who,
    pub(super) clock: Option<Clock>,
    channels: Vec<Channel>,
    /// Last words of channels that are not known yet.
    words: Vec<Words>,
    /// Places of those that have been read.
    heard: Vec<u32>,
    /// The domain has ended; told when all that it recorded has been read.
    ending: Option<Report>,
    /// Writes and sub-buffers of those channels that could not be read, and were not told of yet.
    pub(super) lost: u64,
}

struct Channel {
    export: Export,
    reader: Reader,
    meanings: Meanings,
    ended: bool,
    /// It ended and should not have.
    lost: Option<String>,
}

impl Watched {
    pub(super) fn new(who: Who) -> Self {
        Self {
            who,
            clock: None,
            channels: Vec::new(),
            words: Vec::new(),
            heard: Vec::new(),
            ending: None,
            lost: 0,
        }
    }

    /// Who it is now. Another boot's last words are not this one's.
    pub(super) fn is(&mut self, who: Who) {
        if who.boot_id.is_some() && who.boot_id != self.who.boot_id {
            self.words.clear();
            self.heard.clear();
        }
        let boot_id = who.boot_id.or(self.who.boot_id.take());
        self.who = Who { guest: who.guest, boot_id };
    }

    /// A channel can be read.
    pub(super) fn exported(
        &mut self,
        export: Export,
        reader: Reader,
        meanings: Meanings,
        now: Moment,
        book: &mut Book,
    ) {
        self.channels.push(Channel { export, reader, meanings, ended: false, lost: None });
        for words in std::mem::take(&mut self.words) {
            self.words(words, now, book);
        }
    }

    /// A channel has ended. What is left of it is read first.
    pub(super) fn unexported(&mut self, number: u32, lost: Option<String>) {
        let meant = |channel: &&mut Channel| channel.export.number == number && !channel.ended;
        if let Some(channel) = self.channels.iter_mut().find(meant) {
            (channel.ended, channel.lost) = (true, lost);
        }
    }

    /// The domain has ended. What it recorded is read first.
    pub(super) fn ended(&mut self, report: Report) {
        self.channels.iter_mut().for_each(|channel| channel.ended = true);
        self.ending = Some(report);
    }

    /// Whether a channel tells of faults.
    pub(super) fn has_probes(&self) -> bool {
        self.channels.iter().any(|channel| !channel.ended)
    }

    /// Last words. They are of a channel whose schema says what they mean; a daemon that takes a guest over may hear of them
    /// before it hears of that.
    pub(super) fn words(&mut self, words: Words, now: Moment, book: &mut Book) {
        let Some(header) = record::header(&words.record) else {
            self.heard.push(words.slot);
            return;
        };
        let of = |channel: &&Channel| Some(&channel.export.name) == words.name.as_ref();
        let Some(channel) = self.channels.iter().rev().find(of) else {
            if self.words.len() < SLOTS as usize {
                self.words.push(words);
            }
            return;
        };
        let (export, seq) = (&channel.export, header.seq);
        let source = Source {
            channel: export.name.to_string(),
            export: export.number,
            cpu: None,
            seq,
            last_words: true,
        };
        let payload = words.record.get(record::HEADER..).unwrap_or_default();
        // A predecessor may have told of them and not come to saying that they need not be heard again.
        if book.has_read(&self.who, &source) {
            self.tell(&channel.meanings, &header, payload, source, now, book);
        }
        self.heard.push(words.slot);
    }

    /// Takes the last words that have been read since. Those that wait for their channel are heard again by a successor.
    pub(super) fn heard(&mut self, domid: DomId) -> impl Iterator<Item = Heard> {
        let boot_id = self.who.boot_id.clone();
        let heard = std::mem::take(&mut self.heard).into_iter();
        heard.filter_map(move |slot| Some(Heard { domid, boot_id: boot_id.clone()?, slot }))
    }

    /// Reads what is there, up to a budget. True: there is more.
    pub(super) fn read(&mut self, now: Moment, book: &mut Book) -> bool {
        let mut budget = BUDGET;
        let mut channels = std::mem::take(&mut self.channels);
        let mut lost = Vec::new();
        channels.retain_mut(|channel| {
            let is_over = self.read_channel(channel, &mut budget, now, book);
            if is_over && let Some(why) = channel.lost.take() {
                let report = Report::seen(vesper_events::Kind::ProbeLost, why, now);
                lost.push(report.about(format!("channel={}", channel.export.name)));
            }
            !is_over
        });
        self.channels = channels;
        for report in lost {
            book.report(&self.who, report, now.nanos);
        }
        if budget == 0 {
            return true;
        }
        if let Some(report) = self.ending.take() {
            book.report(&self.who, report, now.nanos);
        }
        false
    }

    /// True: nothing more comes of it.
    fn read_channel(
        &mut self,
        channel: &mut Channel,
        budget: &mut u32,
        now: Moment,
        book: &mut Book,
    ) -> bool {
        // Its module may have closed it; that it has ended is told later, with the reason.
        let mut all_over = channel.ended;
        for buffer in 0..channel.reader.channel().buffers() {
            while *budget > 0 {
                match channel.reader.next(buffer) {
                    Next::Data(piece) => {
                        let Ok(found) = records::look(&piece, &channel.meanings, budget) else {
                            // It is told as lost next.
                            *budget -= 1;
                            continue;
                        };
                        channel.reader.advance(&piece, found.bytes);
                        for (header, payload) in found.records {
                            let known = channel.export.cpus.get(buffer).copied();
                            let source = Source {
                                channel: channel.export.name.to_string(),
                                export: channel.export.number,
                                cpu: known.flatten(),
                                seq: header.seq,
                                last_words: false,
                            };
                            // A buffer that came later has no name here, so its records may be told again by a
                            // successor; a buffer is read once by each.
                            if known.is_none() || book.has_read(&self.who, &source) {
                                self.tell(&channel.meanings, &header, &payload, source, now, book);
                            }
                        }
                    }
                    Next::Lost(lost) => {
                        *budget -= 1;
                        self.lost += lost.writes + lost.sub_buffers;
                    }
                    Next::Nothing => {
                        all_over &= channel.ended;
                        break;
                    }
                    Next::End => break,
                }
            }
        }
        all_over && *budget > 0
    }

    fn tell(
        &self,
        meanings: &Meanings,
        header: &Header,
        payload: &[u8],
        source: Source,
        now: Moment,
        book: &mut Book,
    ) {
        match meanings.read(header, payload, source, self.clock.as_ref(), now) {
            Some((Meaning::Raises(_), report)) => book.report(&self.who, report, now.nanos),
            Some((Meaning::Explains(_), report)) => book.explain(&self.who, report, now.nanos),
            None => {}
        }
    }
}
