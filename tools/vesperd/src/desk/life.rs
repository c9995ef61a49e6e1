// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a guest is alive: asked until there is a verdict.

use std::time::{Duration, Instant};

use vesper_api::{Alive, Because, Done, Failure, Fault, ModuleState};
use vesper_events::{Failed, Kind};
use vesper_stream::Moment;
use vesper_xenback::GuestInfo;
use vesper_xenback::action::listener::{DeadCause, Verdict, Why};

use super::Desk;
use super::order::{Order, What};
use crate::failures;

/// Shortest pause between two looks at a guest.
const PAUSE: Duration = Duration::from_millis(10);

/// A question that has no verdict yet.
pub(super) struct Judging {
    pub(super) order: Order,
    /// When to look again.
    pub(super) again: Instant,
}

impl Desk {
    /// Looks at the guest. `None`: it has to be looked at again later, which is seen to.
    pub(super) fn judge(&mut self, order: Order, now: Instant) -> Result<Option<Done>, Failure> {
        let verdict =
            self.backend.alive(order.domid).map_err(|error| failures::of_backend(&error, &order.guest))?;
        if matches!(order.what, What::Alive { now: true, .. }) {
            return Ok(Some(Done::Alive(self.judge_at_once(&order, verdict))));
        }
        let (is_alive, because, hung_vcpus) = match verdict {
            Verdict::Undecided { again_ns } => {
                let again = now + Duration::from_nanos(again_ns).max(PAUSE);
                self.judging.push(Judging { order, again });
                return Ok(None);
            }
            Verdict::Alive(why) => (true, alive(why), vec![]),
            Verdict::Hung { vcpus } => (false, Because::Hung, vcpus),
            Verdict::Dead(cause) => (false, dead(cause), vec![]),
        };
        let guest = order.guest.clone();
        let mut answer = Alive { guest, alive: is_alive, because, hung_vcpus, module: None, faults: vec![] };
        if let (What::Alive { module: Some(module), .. }, Some(info)) =
            (&order.what, self.backend.guest(order.domid))
        {
            let state = self.module(&info, module);
            if is_alive {
                let fatal = self.fatal_of(order.domid).iter().any(|fatal| {
                    fatal.owner.as_ref() == Some(&state.name) || state.channels.contains(&fatal.channel)
                });
                let wrong = match (state.loaded || !state.channels.is_empty(), fatal) {
                    (false, _) => Some(Because::NoModule),
                    (true, true) => Some(Because::Fatal),
                    (true, false) => None,
                };
                answer.alive = wrong.is_none();
                answer.because = wrong.unwrap_or(because);
            }
            answer.module = Some(state);
        }
        Ok(Some(Done::Alive(answer)))
    }

    /// What is known of the guest after one look, its faults included. That it hangs takes two looks; so the guest is looked at from
    /// now on, and the event says it.
    fn judge_at_once(&mut self, order: &Order, verdict: Verdict) -> Alive {
        let faults = self.faults(order, Moment::now());
        let ends = |fault: &&Fault| fault.failed.as_deref() == Some(Failed::Guest.name());
        let end = faults.iter().rev().find(ends).map(|fault| match fault.event == Kind::GuestHung.name() {
            true => Because::Hung,
            false => Because::Fatal,
        });
        if !matches!(verdict, Verdict::Dead(_)) {
            self.watch.begin(order.domid);
        }
        let because = match verdict {
            Verdict::Dead(cause) => dead(cause),
            Verdict::Alive(why) => end.unwrap_or(alive(why)),
            Verdict::Undecided { .. } | Verdict::Hung { .. } => end.unwrap_or(Because::Undecided),
        };
        let alive = end.is_none() && !matches!(verdict, Verdict::Dead(_));
        Alive { guest: order.guest.clone(), alive, because, hung_vcpus: vec![], module: None, faults }
    }

    /// What is known of a module, which may be named without what the shipped probes' names begin with.
    fn module(&self, info: &GuestInfo, name: &str) -> ModuleState {
        let channels = self.backend.channels(info.domid);
        let names = [name.to_owned(), format!("vesper_{name}")];
        let is_in = |name: &&String| {
            info.modules.iter().any(|module| module.name.as_str() == **name)
                || channels.iter().any(|channel| channel.export.owner.as_ref() == Some(*name))
        };
        let name = names.iter().find(is_in).unwrap_or(&names[0]).clone();
        let of_it = channels.iter().filter(|channel| channel.export.owner.as_ref() == Some(&name));
        ModuleState {
            loaded: info.modules.iter().any(|module| module.name.as_str() == name),
            channels: of_it.map(|channel| channel.export.name.to_string()).collect(),
            name,
        }
    }

    /// Looks again at guests of which nothing could be said yet.
    pub(super) fn judge_again(&mut self, now: Instant) {
        let (due, rest) =
            std::mem::take(&mut self.judging).into_iter().partition(|judging| judging.again <= now);
        self.judging = rest;
        let due: Vec<Judging> = due;
        for Judging { order, .. } in due {
            let (by, domid) = (order.by.clone(), order.domid);
            if order.deadline <= now {
                let failure = order.timed_out(self.backend.guest(order.domid).as_ref());
                self.answer(&order, Err(failure), now);
                continue;
            }
            match self.judge(order, now) {
                Ok(None) => {}
                Ok(Some(done)) => self.answer_to(&by, domid, Ok(done)),
                Err(failure) => self.answer_to(&by, domid, Err(failure)),
            }
        }
    }
}

fn alive(why: Why) -> Because {
    match why {
        Why::Beating => Because::Beating,
        Why::Paused => Because::Paused,
        Why::Saving => Because::Saving,
        Why::Starved => Because::Starved,
        Why::Silent => Because::NotConnected,
    }
}

fn dead(cause: DeadCause) -> Because {
    match cause {
        DeadCause::Destroyed | DeadCause::Saved => Because::Destroyed,
        DeadCause::Crashed => Because::Crashed,
        DeadCause::PoweredOff | DeadCause::Other(_) => Because::ShutDown,
        DeadCause::Rebooted => Because::Rebooting,
        DeadCause::SoftReset => Because::SoftReset,
        DeadCause::Watchdog => Because::Watchdog,
    }
}
