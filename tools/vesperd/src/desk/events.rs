// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the desk tells the thread that makes events, and requests for them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use vesper_api::{Done, EventsFollow, Failure, GuestRef};
use vesper_events::{End, Kind, Meanings, Report, Who};
use vesper_grant::DomId;
use vesper_relay_mirror::Start;
use vesper_stream::{Moment, Schema};
use vesper_xenback::Uuid;
use vesper_xenback::action::listener::{DeadCause, Export, ExportEnd, Words};

use super::order::What;
use super::{Desk, Response};
use crate::clients::ClientId;
use crate::events::{Feed, Meant, Note};
use crate::{resolve, view};

/// How often, while a guest records, is asked what it is called (which xenstore knows, or `xl`), and how its clock runs; and
/// that while it is not known.
const NAME: Duration = Duration::from_secs(30);
const CLOCK: Duration = Duration::from_secs(1);
const NO_CLOCK: Duration = Duration::from_millis(10);

/// What is known of guests for their events.
#[derive(Default)]
pub(super) struct Asked {
    /// When to ask about a guest again: its name, its clock.
    due: HashMap<DomId, (Instant, Instant)>,
    /// Guests with channels that have events: the others cost nothing here, however much they record.
    with_events: HashSet<DomId>,
}

impl Desk {
    /// Events, and then those that come.
    pub(super) fn events(
        &mut self,
        client: ClientId,
        dom: Option<String>,
        since: u64,
        follow: bool,
    ) -> Result<Response, Failure> {
        // This may ask xenstore or `xl`; nobody is to wait for that.
        let found = dom.as_deref().map(|dom| (dom, resolve::resolve(&self.backend, dom)));
        let recent = self.events.recent();
        let meant = match found {
            None => Meant::All,
            Some((_, Ok(info))) => Meant::Uuid(info.uuid.to_string()),
            // It may be gone, and its number another's.
            Some((dom, Err(failure))) => {
                let named = Meant::Named(dom.to_owned());
                if !recent.all().any(|event| named.has(event)) {
                    return Err(failure);
                }
                named
            }
        };
        let (last, gone) = (recent.last(), recent.gone());
        drop(recent);
        log::debug!("client {client} reads events");
        let done = Done::Events(EventsFollow { last, gone });
        Ok(Response::Feed(Ok(done).into(), Feed::new(meant, since, follow)))
    }

    /// Says who a guest is.
    pub(super) fn identify(&mut self, domid: DomId, now: Instant) {
        let Some(info) = self.backend.guest(domid) else { return };
        let who = Who::new(view::guest_ref(&info), info.boot_id);
        self.events.note(domid, Note::Is(who));
        self.tell_time(domid, now + NAME, now);
    }

    /// Says how a guest's clock runs. `name_due` is when its name is to be asked for again.
    fn tell_time(&mut self, domid: DomId, name_due: Instant, now: Instant) {
        let clock = self.clock(domid);
        self.asked.due.insert(domid, (name_due, now + if clock.is_some() { CLOCK } else { NO_CLOCK }));
        if let Some(clock) = clock {
            self.events.note(domid, Note::Clock(clock));
        }
    }

    /// Something moved in a guest's channels.
    pub(super) fn moved(&mut self, domid: DomId, now: Instant) {
        if !self.asked.with_events.contains(&domid) {
            return;
        }
        match self.asked.due.get(&domid) {
            Some((name_due, clock_due)) if *name_due > now => {
                if *clock_due <= now {
                    self.tell_time(domid, *name_due, now);
                }
            }
            _ => self.identify(domid, now),
        }
        self.events.moved(domid);
    }

    /// The guest wrote last words, of which there are few.
    pub(super) fn read_words(&mut self, domid: DomId, words: Words, now: Instant) {
        self.identify(domid, now);
        self.events.note(domid, Note::Words(words));
    }

    /// A channel can be read.
    pub(super) fn read_events(&mut self, domid: DomId, export: &Export, now: Instant) {
        // A foreign module's bytes say nothing here.
        let schema = export.schema.as_deref().map(Schema::parse);
        let meanings = schema.map(|schema| Meanings::of(&schema)).unwrap_or_default();
        if meanings.is_empty() {
            return;
        }
        self.asked.with_events.insert(domid);
        self.watch.begin(domid);
        self.identify(domid, now);
        let reader = export.channel.reader(Start::Oldest);
        self.events.note(domid, Note::Exported(export.clone(), reader, meanings));
        self.backend.wake(domid);
    }

    /// A channel has ended.
    pub(super) fn no_events(&mut self, domid: DomId, number: u32, name: &str, why: ExportEnd) {
        let asked = |what: &What| matches!(what, What::Unload { .. } | What::Detach);
        let mut orders = self.running.values().chain(&self.waiting);
        let was_asked = orders.any(|order| order.is_for(domid) && asked(&order.what));
        let lost = match why {
            ExportEnd::GuestGone => None,
            _ if was_asked => None,
            ExportEnd::Stopped => {
                Some("its module ended it, or was taken out of the guest by the guest itself")
            }
            ExportEnd::Detached => Some("the guest's frontend, or its device, was taken away"),
            ExportEnd::Lost => Some("the guest came back without it"),
        };
        let lost = lost.map(|why| format!("the channel {name} is there no more: {why}"));
        self.events.note(domid, Note::Unexported { number, lost });
    }

    /// The domain has ended.
    pub(super) fn event_of_end(&mut self, domid: DomId, cause: DeadCause, now: Instant) {
        self.watch.end(domid);
        // A crashed one that is kept may have been given another name.
        self.identify(domid, now);
        let end = match cause {
            DeadCause::Destroyed => End::Destroyed,
            DeadCause::Saved => End::Saved,
            DeadCause::Crashed => End::Crashed,
            DeadCause::Watchdog => End::Watchdog,
            DeadCause::PoweredOff => End::PoweredOff,
            DeadCause::Rebooted => End::Rebooted,
            DeadCause::SoftReset | DeadCause::Other(_) => End::ShutDown,
        };
        self.events.note(domid, Note::Ended(Report::ended(end, Moment::now())));
    }

    /// A guest of a predecessor's is gone. It may have ended as somebody had planned.
    pub(super) fn went_unseen(&mut self, domid: DomId, uuid: Uuid, name: String) {
        let again = self.backend.guests().into_iter().find(|info| info.uuid == uuid);
        let again = again
            .map_or_else(String::new, |info| format!("; the guest is there again as domain {}", info.domid));
        let cause = format!("the domain went while no vesperd ran{again}");
        let guest = GuestRef { domid: domid.0, name, uuid: uuid.to_string() };
        self.events.note(domid, Note::Is(Who::new(guest, None)));
        self.events.note(domid, Note::Ended(Report::seen(Kind::GuestGone, cause, Moment::now())));
        self.events.note(domid, Note::Gone);
    }

    /// There is no such domain any more.
    pub(super) fn no_guest(&mut self, domid: DomId) {
        self.watch.end(domid);
        self.asked.due.remove(&domid);
        self.asked.with_events.remove(&domid);
        self.events.note(domid, Note::Gone);
    }

    /// What guests that ended had recorded has been saved.
    pub(super) fn events_are_saved(&mut self) {
        for saved in self.saver.finished() {
            let domid = DomId(saved.guest.domid);
            self.events.note(domid, Note::Saved(saved.guest, saved.dir));
        }
    }
}
