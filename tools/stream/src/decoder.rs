// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames to what is shown. Knows no probe: what a record means is in the schema of its channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::Seen;
use crate::frame::{Clock, Cpu, Data, End, Export, Frame, Guest, Lost, Words};
use crate::{Account, Channel, Entry, Item, Record, Records, Schema, What};

/// Channels that are remembered, those that ended included: last words may still be of them.
const CHANNELS: usize = 256;
/// Most bytes of a piece that came in several frames: the largest buffer that a guest may have.
const JOINED_MAX: usize = 32 << 20;

/// Takes the frames of one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    guest: Arc<Guest>,
    clock: Option<Clock>,
    channels: BTreeMap<u32, Known>,
}

#[derive(Debug)]
struct Known {
    channel: Arc<Channel>,
    buffers: BTreeMap<Cpu, Buffer>,
}

#[derive(Debug)]
struct Buffer {
    account: Account,
    /// What has come of a piece that is not whole yet.
    joined: Vec<u8>,
    /// Where the last record belongs.
    order: u64,
}

impl Decoder {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// The guest, once it has been named.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// What there is to show of a frame, appended to `out`.
    pub fn decode(&mut self, entry: Entry, out: &mut Vec<Item>) {
        let (frame, payload) = match entry {
            Entry::Frame(frame, payload) => (frame, payload),
            Entry::Unreadable(bytes) => return out.push(self.item(None, None, What::Undecodable(bytes))),
        };
        match frame {
            Frame::Guest(guest) => self.guest = Arc::new(guest),
            Frame::Clock(clock) => self.clock = Some(clock),
            Frame::Export(export) => out.extend(self.export(export)),
            Frame::Data(data) => self.data(&data, payload, out),
            Frame::Words(words) => out.push(self.words(words, &payload)),
            Frame::Lost(lost) => self.lost(&lost, out),
            Frame::End(end) => self.end(&end, out),
            Frame::Gone(gone) => {
                self.overdue(out);
                out.push(self.item(None, None, What::Gone(gone)));
            }
            // The parser takes in what is said of data.
            Frame::CaughtUp {} | Frame::Sure {} | Frame::Torn {} | Frame::Unknown => {}
        }
    }

    /// Losses that no record has shown for a while: call it when nothing comes.
    pub fn overdue(&mut self, out: &mut Vec<Item>) {
        let mut found = Vec::new();
        for known in self.channels.values_mut() {
            for (cpu, buffer) in &mut known.buffers {
                let loss = buffer.account.overdue();
                found.extend(loss.map(|loss| (known.channel.clone(), *cpu, buffer.order, loss)));
            }
        }
        for (channel, cpu, order, loss) in found {
            out.push(self.ordered(channel, cpu, order, What::Lost(loss)));
        }
    }

    fn export(&mut self, export: Export) -> Option<Item> {
        let number = export.export;
        let schema = export.schema.as_deref().map(Schema::parse);
        let cpus = export.cpus.clone();
        let account = || if export.since.is_boot() { Account::from_boot() } else { Account::from_now() };
        let buffer = || Buffer { account: account(), joined: Vec::new(), order: 0 };
        let channel = Arc::new(Channel { export: export.clone(), schema });
        let before = self.channels.get_mut(&number).filter(|known| known.channel.export.name == export.name);
        if let Some(known) = before {
            // Said again: it has more buffers now, or a file of a recording begins. The books go on.
            known.channel = channel;
            for cpu in cpus {
                known.buffers.entry(cpu).or_insert_with(buffer);
            }
            return None;
        }
        let buffers = cpus.into_iter().map(|cpu| (cpu, buffer())).collect();
        self.channels.insert(number, Known { channel: channel.clone(), buffers });
        if self.channels.len() > CHANNELS {
            self.channels.pop_first();
        }
        Some(self.item(Some(channel), None, What::Started))
    }

    fn data(&mut self, data: &Data, payload: Vec<u8>, out: &mut Vec<Item>) {
        let Some((channel, buffer)) = self.buffer(data.export, data.cpu) else {
            let channel = self.channels.get(&data.export).map(|known| known.channel.clone());
            return out.push(self.item(channel, data.cpu, What::Undecodable(payload.len() as u64)));
        };
        if channel.schema.is_none() {
            return out.push(self.item(Some(channel), data.cpu, What::Raw(payload)));
        }
        let piece = if data.more || !buffer.joined.is_empty() {
            buffer.joined.extend_from_slice(&payload);
            if data.more && buffer.joined.len() <= JOINED_MAX {
                return;
            }
            std::mem::take(&mut buffer.joined)
        } else {
            payload
        };
        self.piece(channel, data.cpu, &piece, false, out);
    }

    fn lost(&mut self, lost: &Lost, out: &mut Vec<Item>) {
        let Some((channel, buffer)) =
            self.buffer(lost.export, lost.cpu).filter(|(channel, _)| channel.schema.is_some())
        else {
            // Nothing numbers what is written there, so there is nothing to wait for.
            let channel = self.channels.get(&lost.export).map(|known| known.channel.clone());
            let mut account = Account::from_now();
            account.lost(lost);
            let loss = account.overdue().map(What::Lost);
            return out.extend(loss.map(|what| self.item(channel, lost.cpu, what)));
        };
        // The rest of a piece was overwritten: what is whole of it counts.
        let joined = std::mem::take(&mut buffer.joined);
        self.piece(channel, lost.cpu, &joined, true, out);
        if let Some((_, buffer)) = self.buffer(lost.export, lost.cpu) {
            buffer.account.lost(lost);
        }
    }

    /// The records of a piece; what is behind the last whole one is undecodable unless it is known to be `cut`.
    fn piece(&mut self, channel: Arc<Channel>, cpu: Cpu, piece: &[u8], cut: bool, out: &mut Vec<Item>) {
        let Some((_, buffer)) = self.buffer(channel.export.export, cpu) else { return };
        let first = out.len();
        // Gathered first: an item needs what the decoder knows beside its buffer.
        let mut found = Vec::new();
        for record in Records::of(piece) {
            match record {
                Ok(record) => buffer.record(record, &mut found),
                Err(_) if cut => {}
                Err(bytes) => found.push((buffer.order, None, What::Undecodable(bytes.0 as u64))),
            }
        }
        for (order, time, what) in found {
            let item = self.ordered(channel.clone(), cpu, order, what);
            out.push(Item { time: time.or(item.time), ..item });
        }
        if let Some(item) = out.get_mut(first) {
            item.first = true;
        }
    }

    fn words(&mut self, words: Words, payload: &[u8]) -> Item {
        let known = words.export.and_then(|number| self.channels.get(&number));
        let known = known
            .or_else(|| self.channels.values().rev().find(|known| known.channel.export.name == words.name));
        let channel = known.map_or_else(
            || {
                let export = Export { name: words.name, ..Export::default() };
                Arc::new(Channel { export, schema: None })
            },
            |known| known.channel.clone(),
        );
        match Records::of(payload).next() {
            Some(Ok(Record { header, payload })) => {
                let what = What::Record { header, payload: payload.to_vec(), last_words: true };
                let time = Some(header.time);
                Item { time, order: time, ..self.item(Some(channel), None, what) }
            }
            _ => self.item(Some(channel), None, What::Undecodable(payload.len() as u64)),
        }
    }

    fn end(&mut self, end: &End, out: &mut Vec<Item>) {
        let Some(known) = self.channels.get_mut(&end.export) else { return };
        let channel = known.channel.clone();
        let (mut lost, mut last, mut found) = (0u64, 0, Vec::new());
        for (cpu, mut buffer) in std::mem::take(&mut known.buffers) {
            last = last.max(buffer.order);
            if !buffer.joined.is_empty() {
                found.push((cpu, buffer.order, What::Undecodable(buffer.joined.len() as u64)));
            }
            let records = end.cpus.iter().find(|totals| totals.cpu == cpu).map(|totals| totals.records);
            let loss = match records {
                Some(records) if channel.schema.is_some() => buffer.account.ended(records),
                _ => buffer.account.overdue(),
            };
            found.extend(loss.map(|loss| (cpu, buffer.order, What::Lost(loss))));
            lost = lost.saturating_add(buffer.account.lost_records());
        }
        for (cpu, order, what) in found {
            out.push(self.ordered(channel.clone(), cpu, order, what));
        }
        let reason = end.reason;
        out.push(self.ordered(channel, None, last, What::Ended { reason, lost }));
    }

    fn buffer(&mut self, export: u32, cpu: Cpu) -> Option<(Arc<Channel>, &mut Buffer)> {
        let known = self.channels.get_mut(&export)?;
        Some((known.channel.clone(), known.buffers.get_mut(&cpu)?))
    }

    fn item(&self, channel: Option<Arc<Channel>>, cpu: Cpu, what: What) -> Item {
        let (guest, clock) = (self.guest.clone(), self.clock);
        Item { guest, channel, cpu, time: None, clock, order: None, first: false, what }
    }

    /// Something that belongs to a place in a buffer, and has that place's time.
    fn ordered(&self, channel: Arc<Channel>, cpu: Cpu, order: u64, what: What) -> Item {
        let time = (order > 0).then_some(order);
        Item { order: Some(order), time, ..self.item(Some(channel), cpu, what) }
    }
}

impl Buffer {
    /// Takes a record; what there is to show of it goes to `out`, with its place and its own time.
    fn record(&mut self, Record { header, payload }: Record<'_>, out: &mut Vec<(u64, Option<u64>, What)>) {
        self.order = self.order.max(header.time);
        match self.account.seen(header.seq) {
            Seen::Next => {}
            Seen::After(loss) => out.push((self.order, None, What::Lost(loss))),
            Seen::Back(expected) => {
                out.push((self.order, None, What::Disorder { expected, found: header.seq }));
            }
        }
        let what = What::Record { header, payload: payload.to_vec(), last_words: false };
        out.push((self.order, Some(header.time), what));
    }
}
