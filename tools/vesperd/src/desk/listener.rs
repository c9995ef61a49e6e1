// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the desk does about channels: who shares which, streams of them, and what becomes of them in the end.

use std::collections::HashMap;
use std::time::Instant;

use vesper_api::{Channels, Done, ErrorKind, Failure, Since, Streaming};
use vesper_grant::DomId;
use vesper_relay_mirror::Start;
use vesper_stream::frame::{self, EndReason, Gone, GoneReason};
use vesper_xenback::action::listener::{DeadCause, Export, ExportName, Words};
use vesper_xenback::{DeviceState, GuestInfo};

use super::{Desk, Response};
use crate::clients::ClientId;
use crate::failures::{self, label};
use crate::saver::{Found, Job};
use crate::streams::{Flow, Stream, Wanted};
use crate::{resolve, view};

/// Something that streams of a guest are told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// There is something to read.
    Moved,
    /// A channel can be read.
    Exported(Export),
    /// A channel has ended.
    Unexported(u32, EndReason),
    /// The guest wrote last words.
    Words(Words),
    /// The guest's frontend was loaded anew.
    Booted(frame::Guest),
    /// Nothing more comes of the guest.
    Gone(Gone, EndReason),
}

/// What is remembered of guests that share channels.
#[derive(Default)]
pub(super) struct Known {
    /// Who they are, for when they are gone.
    guests: HashMap<DomId, frame::Guest>,
    /// What they recorded of their end, and in which channel.
    fatal: HashMap<DomId, Vec<Fatal>>,
    /// Clients that want what is being saved of a guest, by its name.
    pub(super) waiting: Vec<(ClientId, String)>,
}

/// Records that report the end of a guest which are remembered; it has one end.
const FATAL_MAX: usize = 16;

pub(super) struct Fatal {
    pub(super) channel: String,
    pub(super) owner: Option<String>,
    cause: String,
}

impl Desk {
    pub(super) fn channels(&mut self, dom: Option<&str>) -> Result<Done, Failure> {
        let guests = match dom {
            Some(dom) => {
                let info = resolve::resolve(&self.backend, dom)?;
                if info.device != Some(DeviceState::Connected) && self.backend.channels(info.domid).is_empty()
                {
                    return Err(not_connected(&info));
                }
                vec![info]
            }
            None => self.backend.guests(),
        };
        let shown = |info: &GuestInfo| {
            let listener = self.backend.listener(info.domid);
            view::channels(info, &self.backend.channels(info.domid), listener.as_ref())
        };
        let guests = guests.iter().map(shown).filter(|guest| dom.is_some() || !guest.channels.is_empty());
        Ok(Done::Channels(Channels { guests: guests.collect() }))
    }

    pub(super) fn stream(
        &mut self,
        client: ClientId,
        dom: &str,
        channel: Option<String>,
        since: Since,
        follow: bool,
    ) -> Result<Response, Failure> {
        let info = match resolve::resolve(&self.backend, dom) {
            Ok(info) => info,
            Err(failure) if failure.kind == ErrorKind::NoSuchGuest => {
                return self.saved(client, dom, failure);
            }
            Err(failure) => return Err(failure),
        };
        let exports: Vec<_> =
            self.backend.channels(info.domid).into_iter().map(|channel| channel.export).collect();
        let is_over = info.domain.as_ref().is_some_and(|domain| domain.shutdown.is_some());
        if exports.is_empty() && (is_over || info.device != Some(DeviceState::Connected)) {
            return self.saved(client, &info.uuid.to_string(), not_connected(&info));
        }
        let names: Vec<_> = exports.iter().map(|export| export.name.to_string()).collect();
        if let Some(channel) = &channel
            && !names.contains(channel)
        {
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            let message =
                format!("{} shares no channel {channel}; it shares: {there}", label(&view::guest_ref(&info)));
            return Err(Failure::new(ErrorKind::NoSuchChannel, message).guest(view::guest_ref(&info)));
        }
        let mut flow = Flow::new(Wanted { channel, follow }, view::stream_guest(&info));
        let start = if since.is_boot() { Start::Oldest } else { Start::Now };
        for export in &exports {
            if flow.means(export.name.as_str()) {
                flow.add(view::export(export, since), export.channel.reader(start));
            }
        }
        if let Some(listener) = self.backend.listener(info.domid) {
            listener.clock.iter().for_each(|clock| flow.clock(view::clock(clock)));
            if since.is_boot() {
                listener.words.iter().for_each(|words| add_words(&mut flow, words));
            }
        }
        self.backend.wake(info.domid);
        log::info!("client {client} reads {}", label(&view::guest_ref(&info)));
        let done = Done::Streaming(Streaming { guest: view::guest_ref(&info), channels: names });
        Ok(Response::Stream(Ok(done).into(), Box::new(Stream::new(info.domid, flow))))
    }

    /// What was saved of a guest that is gone, or the failure if there is nothing.
    fn saved(&mut self, client: ClientId, dom: &str, failure: Failure) -> Result<Response, Failure> {
        match self.saver.find(dom) {
            Found::Saved(saved) => Ok(Response::Reply(Ok(Done::Saved(saved)).into())),
            Found::Coming => {
                self.known.waiting.push((client, dom.to_owned()));
                Ok(Response::Later)
            }
            Found::Nothing => Err(failure),
        }
    }

    /// Something has been saved: who waits for it is told.
    pub(super) fn look_at_saved(&mut self) {
        self.saver.drain_wake();
        self.events_are_saved();
        for (client, dom) in std::mem::take(&mut self.known.waiting) {
            let failure = || failures::nothing_saved(&dom);
            match self.saved(client, &dom, failure()) {
                Ok(Response::Reply(reply)) => self.answer_with(client, reply),
                Ok(_) => {}
                Err(failure) => self.answer_with(client, Err(failure).into()),
            }
        }
    }

    /// The channel that has more buffers than a stream knows of, as it is now.
    pub(crate) fn export(&self, domid: DomId, number: u32) -> Option<frame::Export> {
        let channels = self.backend.channels(domid);
        let channel = channels.iter().find(|channel| channel.export.number == number)?;
        Some(view::export(&channel.export, Since::Boot))
    }

    /// How the guest's clock is translated now.
    pub(crate) fn clock(&self, domid: DomId) -> Option<frame::Clock> {
        self.backend.listener(domid)?.clock.as_ref().map(view::clock)
    }

    /// Readers of this guest's channels have moved on: it is told what need not be kept.
    pub(crate) fn moved_on(&mut self, domid: DomId) {
        self.backend.wake(domid);
    }

    pub(super) fn exported(&mut self, domid: DomId, number: u32, now: Instant) {
        self.remember(domid);
        let channels = self.backend.channels(domid);
        let export =
            channels.into_iter().map(|channel| channel.export).find(|export| export.number == number);
        // Not there: it has ended meanwhile, which the next event says.
        if let Some(export) = export {
            self.files.show(domid, &export);
            self.read_events(domid, &export, now);
            self.tell(domid, Notice::Exported(export));
        }
    }

    /// The guest's device is connected, maybe to another frontend than before.
    pub(super) fn connected(&mut self, domid: DomId) {
        let before = self.known.guests.get(&domid).map(|guest| guest.boot_id.clone());
        self.remember(domid);
        let Some(guest) = self.known.guests.get(&domid) else { return };
        if before.is_some_and(|boot_id| boot_id != guest.boot_id) {
            let guest = guest.clone();
            self.known.fatal.remove(&domid);
            self.tell(domid, Notice::Booted(guest));
        }
    }

    fn remember(&mut self, domid: DomId) {
        if let Some(info) = self.backend.guest(domid) {
            self.known.guests.insert(domid, view::stream_guest(&info));
        }
    }

    /// A record reports the guest's end. By now the channel may be gone, and the guest.
    pub(super) fn fatal(&mut self, domid: DomId, name: &ExportName, owner: Option<String>, cause: String) {
        let who = self.known.guests.get(&domid).map_or_else(String::new, |guest| guest.name.clone());
        log::warn!("{who} ({domid}) reports its end in {name}: {cause}");
        let seen = self.known.fatal.entry(domid).or_default();
        if seen.len() < FATAL_MAX {
            seen.push(Fatal { channel: name.to_string(), owner, cause });
        }
    }

    /// What the guest recorded of its end.
    pub(super) fn fatal_of(&self, domid: DomId) -> &[Fatal] {
        self.known.fatal.get(&domid).map_or(&[], Vec::as_slice)
    }

    /// The guest has ended: what is left of it is saved, and its streams end.
    pub(super) fn guest_ended(&mut self, domid: DomId, cause: DeadCause) {
        self.files.hide_guest(domid);
        let (reason, more) = view::end_of(cause);
        let said = self.known.fatal.remove(&domid).and_then(|seen| seen.into_iter().next());
        let gone = Gone { reason, cause: said.map(|fatal| fatal.cause).or(more.map(str::to_owned)) };
        if let Some(remains) = self.backend.remains(domid)
            && let Some(guest) = self.known.guests.get(&domid).cloned()
            && !(remains.exports.is_empty() && remains.words.is_empty())
        {
            let guest = frame::Guest { boot_id: remains.boot_id, ..guest };
            let mut flow = Flow::new(Wanted { channel: None, follow: true }, guest.clone());
            remains.clock.iter().for_each(|clock| flow.clock(view::clock(clock)));
            let mut bytes = 0;
            for (export, reader) in remains.exports {
                bytes += u64::from(export.channel.geometry().data_pages()) * 4096;
                flow.add(view::export(&export, Since::Boot), reader);
            }
            remains.words.iter().for_each(|words| add_words(&mut flow, words));
            flow.gone(gone.clone(), EndReason::GuestGone);
            self.saver.save(Job { guest, flow, bytes });
        }
        self.tell(domid, Notice::Gone(gone, EndReason::GuestGone));
    }

    pub(super) fn forget_guest(&mut self, domid: DomId) {
        self.files.hide_guest(domid);
        self.known.guests.remove(&domid);
        self.known.fatal.remove(&domid);
        let gone = Gone { reason: GoneReason::Destroyed, cause: None };
        // Those that were told before take no second one.
        self.tell(domid, Notice::Gone(gone, EndReason::GuestGone));
    }

    pub(super) fn detached(&mut self, domid: DomId) {
        self.files.hide_guest(domid);
        let gone = Gone { reason: GoneReason::Detached, cause: None };
        self.tell(domid, Notice::Gone(gone, EndReason::Detached));
    }
}

fn not_connected(info: &GuestInfo) -> Failure {
    let guest = view::guest_ref(info);
    let error = match &info.device {
        None => vesper_xenback::Error::NotAttached(info.domid),
        Some(DeviceState::Failed { reason }) => return failures::stopped(&guest, reason),
        Some(_) => vesper_xenback::Error::NotConnected(info.domid),
    };
    failures::of_backend(&error, &guest)
}

pub(crate) fn add_words(flow: &mut Flow, words: &Words) {
    flow.words(words.name.as_ref().map_or("", ExportName::as_str), &words.record);
}
