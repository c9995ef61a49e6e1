// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's side of the listener: each thing it may ask, checked, and answered.

use std::time::Instant;

use super::export::Held;
use super::quota::Hold;
use super::{Answer, Ask, ExportEnd, Happening, Link, Listener, Mapped, Offer, Refusal};
use crate::Violation;

impl Listener {
    /// Takes in what the guest asks and answers it through `link`.
    ///
    /// # Errors
    /// [`Violation`] if the guest broke the protocol. The device is to be stopped, and [`Listener::disconnected`] called.
    pub fn asked(&mut self, ask: Ask, link: &mut dyn Link, now: Instant) -> Result<(), Violation> {
        let (number, done) = match ask {
            Ask::Export { number, offer } => {
                self.counters.exports += 1;
                let admitted = self.rate.admit(offer.size(), self.quota.limits(), now);
                (number, admitted.and_then(|()| self.share(number, offer, link, now)))
            }
            Ask::Part { number, offer } => {
                let admitted = self.rate.admit(offer.size(), self.quota.limits(), now);
                (number, admitted.and_then(|()| self.share_part(number, offer, link)))
            }
            Ask::Unexport { number } => (number, self.unshare(number, now)),
            Ask::Time { sent_ns, got_ns, before } => {
                if let Some(before) = before {
                    self.exchanges.completed(before, got_ns);
                }
                let answered_ns = link.answer(Answer::TimeIs { got_ns })?;
                self.exchanges.answered(sent_ns, got_ns, answered_ns);
                return Ok(());
            }
        };
        let status = match done {
            Ok(()) => 0,
            Err(refusal) => {
                self.counters.refused += 1;
                let label = &self.label;
                self.log_limit.warn(now, || format!("{label}: export {number} is not taken: {refusal}"));
                refusal.status()
            }
        };
        link.answer(Answer::Done { status }).map(drop)
    }

    /// Takes over an export or a part of one that a predecessor had mapped; nothing is answered.
    ///
    /// # Errors
    /// [`Refusal`]: it cannot be taken over.
    pub fn take_over(
        &mut self,
        number: u32,
        part: bool,
        offer: Offer,
        link: &mut dyn Link,
        now: Instant,
    ) -> Result<(), Refusal> {
        if part { self.share_part(number, offer, link) } else { self.share(number, offer, link, now) }
    }

    /// Paper: A6 and A7. Nothing is mapped before all that can be known has been checked.
    fn share(&mut self, number: u32, offer: Offer, link: &mut dyn Link, now: Instant) -> Result<(), Refusal> {
        match self.held.get_mut(&number) {
            Some(held) if held.is_mapped() => return Err(Refusal::Exists(held.export.name.clone())),
            Some(held) if held.is_first_part(&offer) => {
                let Mapped { regions, .. } = link.map()?;
                held.resume(0, regions)?;
                let label = &self.label;
                self.log_limit.line(log::Level::Info, now, || {
                    format!("{label}: export {number} ({}) is shared again", offer.name)
                });
                return Ok(());
            }
            Some(_) => self.end_one(number, ExportEnd::Lost, now),
            None => {}
        }
        let namesake =
            self.held.values().find(|held| held.export.name == offer.name).map(|held| held.export.number);
        match namesake {
            Some(other) if self.held[&other].is_mapped() => return Err(Refusal::Exists(offer.name)),
            // It ended while there was no connection.
            Some(other) => self.end_one(other, ExportEnd::Lost, now),
            None => {}
        }
        let hold = self.hold(&offer, true)?;
        let mapped = link.map()?;
        let name = offer.name.clone();
        let held = Held::new(number, offer, mapped, hold, self.lag_limit)?;
        let label = &self.label;
        self.log_limit.line(log::Level::Info, now, || {
            let sizes = held.export.channel.geometry();
            format!("{label}: export {number} ({name}): {sizes:?}")
        });
        self.held.insert(number, held);
        self.happened.push_back(Happening::Exported { number, name });
        Ok(())
    }

    fn share_part(&mut self, number: u32, offer: Offer, link: &mut dyn Link) -> Result<(), Refusal> {
        let held = self.held.get(&number).filter(|held| held.is_mapped()).ok_or(Refusal::Unknown(number))?;
        match held.check_part(&offer)? {
            Some(part) => {
                let Mapped { regions, .. } = link.map()?;
                self.held.get_mut(&number).expect("just found").resume(part, regions)
            }
            None => {
                let hold = self.hold(&offer, false)?;
                let Mapped { regions, .. } = link.map()?;
                self.held.get_mut(&number).expect("just found").extend(offer, regions, hold)
            }
        }
    }

    fn hold(&self, offer: &Offer, first: bool) -> Result<Hold, Refusal> {
        let held = self.held.values().flat_map(Held::holds);
        Hold::take(&self.quota, held, self.held.len(), first, offer.size())
    }

    /// Paper: C5 to C7. What readers have not read is kept for them, and looked through once more.
    fn unshare(&mut self, number: u32, now: Instant) -> Result<(), Refusal> {
        if !self.held.get(&number).is_some_and(Held::is_mapped) {
            return Err(Refusal::Unknown(number));
        }
        self.watch_to_the_end(number, now);
        self.end_one(number, ExportEnd::Stopped, now);
        Ok(())
    }
}
