// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the backend tells, and whom it concerns here.

use std::time::Instant;

use vesper_xenback::Event;

use super::order::What;
use super::{Desk, Notice};
use crate::events::Note;
use crate::{failures, view};

impl Desk {
    pub(super) fn happened(&mut self, event: Event, now: Instant) {
        match event {
            Event::Finished { id, domid, outcome } => match self.running.remove(&id) {
                Some(order) => {
                    let result = order.ended(outcome, now);
                    self.answer(&order, result, now);
                }
                None => log::warn!("domain {domid}: command {id} ended, but nobody asked for it"),
            },
            Event::GuestAppeared { domid, .. } => {
                self.identify(domid, now);
                self.attach_as_configured(domid);
            }
            Event::GuestGone { domid, .. } => {
                self.no_guest(domid);
                self.probing.forget(domid);
                self.settle(domid, now, |order| Err(order.gone()));
                self.forget_guest(domid);
            }
            Event::WentUnseen { domid, uuid, name } => self.went_unseen(domid, uuid, name),
            Event::Attached { domid } => {
                self.identify(domid, now);
                self.connected(domid);
                self.want_probes(domid, now);
                let Some(info) = self.backend.guest(domid) else { return };
                self.settle(domid, now, |order| match order.what {
                    What::Detach => Err(order.overtaken("attached")),
                    _ => Ok(order.attached(&info, now)),
                });
            }
            Event::Detached { domid } => {
                self.settle(domid, now, |order| match order.what {
                    What::Detach => Ok(order.detached(now)),
                    _ => Err(order.overtaken("detached")),
                });
                self.watch.end(domid);
                self.detached(domid);
            }
            Event::DeviceFailed { domid, reason } => {
                let why = format!("the guest broke the protocol, its device was stopped: {reason}");
                self.events.note(domid, Note::Unreadable(why));
                self.settle(domid, now, |order| Err(failures::stopped(&order.guest, &reason)));
            }
            Event::StoreLost => self.store_lost = true,
            Event::Exported { domid, export, .. } => self.exported(domid, export, now),
            Event::Unexported { domid, export, name, why } => {
                self.files.hide(domid, name.as_str());
                self.no_events(domid, export, name.as_str(), why);
                self.tell(domid, Notice::Unexported(export, view::end_reason(why)));
            }
            Event::Moved { domid } => {
                self.moved(domid, now);
                self.tell(domid, Notice::Moved);
            }
            Event::LastWords { domid, words } => {
                self.read_words(domid, words.clone(), now);
                self.tell(domid, Notice::Words(words));
            }
            Event::Fatal { domid, name, owner, schema, record, .. } => {
                self.fatal(domid, &name, owner, view::cause(schema.as_deref(), &record));
            }
            Event::GuestEnded { domid, cause, .. } => {
                self.event_of_end(domid, cause, now);
                self.guest_ended(domid, cause);
            }
        }
    }
}
