// SPDX-License-Identifier: MIT OR Apache-2.0
//! One export: its mirror, its parts, what of the quota it holds, and the look-out for records that report the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vesper_relay_mirror::{BadRegions, Channel, Geometry, Next, Reader, Regions, Start};

use super::fatal::{FatalEvents, walk};
use super::quota::{Hold, Size};
use super::{ExportName, FatalRecord, Mapped, Offer, Refusal};

/// An export, as those who read it see it. Clones are the same export.
#[derive(Clone)]
pub struct Export {
    /// Its number, which is the guest's. With the guest's boot id it says which export this is, over every reconnect.
    pub number: u32,
    /// Its name.
    pub name: ExportName,
    /// The module that exported it. **Guest text.**
    pub owner: Option<String>,
    /// The CPU of each buffer of the channel, in its order; `None` for one that all CPUs share. Parts that come later
    /// are at the end of a later clone.
    pub cpus: Vec<Option<u16>>,
    /// The text that describes its records; `None`: they are the module's own affair. **Guest text.**
    pub schema: Option<Arc<str>>,
    /// The records.
    pub channel: Arc<Channel>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "export {} ({})", self.number, self.name)
    }
}

/// What became of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportEnd {
    /// The guest stopped exporting it.
    Stopped,
    /// The guest ended.
    GuestGone,
    /// The frontend or the device was taken away.
    Detached,
    /// The guest came back without it.
    Lost,
}

/// An export that the guest has, shared now or to be shared again.
pub(super) struct Held {
    pub(super) export: Export,
    parts: Vec<Part>,
    watch: Option<Watch>,
    /// When something was last seen to move.
    pub(super) moved_at: Option<Instant>,
}

/// What was announced together.
struct Part {
    geometry: Geometry,
    cpus: Vec<Option<u16>>,
    mapped: bool,
    hold: Hold,
}

/// The look-out for records that report the end.
struct Watch {
    reader: Reader,
    events: FatalEvents,
}

/// What one turn of looking out came to.
pub(super) struct Watched {
    /// Records that report the end.
    pub(super) found: Vec<FatalRecord>,
    /// The budget is used up and there may be more.
    pub(super) more: bool,
}

impl Held {
    /// A new export, from its first part.
    pub(super) fn new(
        number: u32,
        offer: Offer,
        mapped: Mapped,
        hold: Hold,
        lag_limit: Duration,
    ) -> Result<Self, Refusal> {
        let channel = Channel::new(offer.geometry, mapped.regions, lag_limit).map_err(unusable)?;
        let schema =
            (!mapped.schema.is_empty()).then(|| Arc::from(String::from_utf8_lossy(&mapped.schema).as_ref()));
        let events = schema.as_deref().map(FatalEvents::of).filter(|events| !events.is_empty());
        let watch = events.map(|events| Watch { reader: channel.watcher(Start::Oldest), events });
        let part = Part { geometry: offer.geometry, cpus: offer.cpus.clone(), mapped: true, hold };
        let export =
            Export { number, name: offer.name, owner: offer.owner, cpus: offer.cpus, schema, channel };
        Ok(Self { export, parts: vec![part], watch, moved_at: None })
    }

    /// What of the quota it holds.
    pub(super) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.parts.iter().map(|part| &part.hold)
    }

    /// Whether any part of it is shared now.
    pub(super) fn is_mapped(&self) -> bool {
        self.parts.iter().any(|part| part.mapped)
    }

    /// Whether what is offered is the export that was shared before the connection was lost.
    pub(super) fn is_first_part(&self, offer: &Offer) -> bool {
        let Export { name, owner, schema, .. } = &self.export;
        let first = &self.parts[0];
        (name, owner) == (&offer.name, &offer.owner)
            && (first.geometry, &first.cpus) == (offer.geometry, &offer.cpus)
            && schema.is_some() == (offer.schema_bytes > 0)
    }

    /// Whether what is offered may be a part of it; `Some` with its number if it was one before the connection was lost.
    pub(super) fn check_part(&self, offer: &Offer) -> Result<Option<usize>, Refusal> {
        let Export { name, owner, .. } = &self.export;
        let first = self.parts[0].geometry;
        let sizes = |geometry: &Geometry| (geometry.subbuf_size(), geometry.subbufs());
        let alike = (name, owner) == (&offer.name, &offer.owner) && sizes(&first) == sizes(&offer.geometry);
        let global = self.export.cpus.contains(&None) || offer.cpus.contains(&None);
        if !alike || global || offer.schema_bytes > 0 {
            return Err(Refusal::Unusable("a part that is not like its export".into()));
        }
        let known = (1..self.parts.len()).find(|&at| self.parts[at].cpus == offer.cpus);
        if let Some(at) = known.filter(|&at| !self.parts[at].mapped) {
            return Ok(Some(at));
        }
        match offer.cpus.iter().any(|cpu| self.export.cpus.contains(cpu)) {
            true => Err(Refusal::Unusable("a part with a CPU that is there already".into())),
            false => Ok(None),
        }
    }

    /// Maps a part again.
    pub(super) fn resume(&mut self, part: usize, regions: Regions) -> Result<(), Refusal> {
        self.export.channel.resume(part, regions).map_err(unusable)?;
        self.parts[part].mapped = true;
        Ok(())
    }

    /// Adds a part.
    pub(super) fn extend(&mut self, offer: Offer, regions: Regions, hold: Hold) -> Result<(), Refusal> {
        self.export.channel.add_part(offer.geometry, regions).map_err(unusable)?;
        self.export.cpus.extend(&offer.cpus);
        self.parts.push(Part { geometry: offer.geometry, cpus: offer.cpus, mapped: true, hold });
        Ok(())
    }

    /// The connection is lost: unmapped at once.
    pub(super) fn suspend(&mut self) {
        self.export.channel.suspend();
        for part in &mut self.parts {
            part.mapped = false;
        }
    }

    /// Looks where the guest is; true if anything moved since the last call, whoever saw it first.
    pub(super) fn update(&mut self, now: Instant) -> bool {
        let moved = self.export.channel.update().moved;
        if moved {
            self.moved_at = Some(now);
        }
        moved
    }

    /// Looks through what is new for records that report the end, at most `budget` of them, which it takes down by
    /// those read.
    pub(super) fn watch(&mut self, budget: &mut u32) -> Watched {
        let mut watched = Watched { found: Vec::new(), more: false };
        let Some(Watch { reader, events }) = &mut self.watch else { return watched };
        for buffer in 0..self.export.channel.buffers() {
            loop {
                if *budget == 0 {
                    watched.more = true;
                    return watched;
                }
                let piece = match reader.next(buffer) {
                    Next::Data(piece) => piece,
                    // Whoever reads it is told; here nothing can be done about it.
                    Next::Lost(_) => {
                        *budget -= 1;
                        continue;
                    }
                    Next::Nothing | Next::End => break,
                };
                let mut found = Vec::new();
                let walked = piece.inspect(|raw| {
                    walk(
                        piece.len(),
                        events,
                        *budget,
                        |at| raw.bytes_at(at).map(u64::from_le_bytes),
                        |record| found.push(record),
                    )
                });
                *budget -= walked.map_or(1, |walked| walked.records.max(1));
                // Overwritten: what was found is worthless, and the next turn of the loop is told of the loss.
                if let Ok(walked) = walked {
                    reader.advance(&piece, walked.bytes);
                    let cpu = self.export.cpus.get(buffer).copied().flatten();
                    watched.found.extend(found.into_iter().map(|record| FatalRecord { cpu, ..record }));
                }
            }
        }
        watched
    }
}

impl Offer {
    pub(super) fn size(&self) -> Size {
        let positions = u64::from(self.geometry.positions_pages());
        Size { data: self.geometry.data_pages().into(), rest: positions + 1 }
    }
}

fn unusable(error: BadRegions) -> Refusal {
    Refusal::Unusable(error.to_string())
}
