// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of a fault before it is an event, and how a record becomes that.

use std::collections::BTreeMap;

use vesper_api::{GuestRef, printable};
use vesper_stream::frame::Clock;
use vesper_stream::schema::Event as Shape;
use vesper_stream::value::{self, Value};
use vesper_stream::{Header, Moment, Schema, text};

use crate::{End, Kind, Severity, Source};

/// Most characters of a cause.
pub const CAUSE_MAX: usize = 600;
/// Most lines of a stack, and characters of one.
pub const STACK_MAX: (usize, usize) = (64, 160);
/// A text field of this name is the record's stack.
const STACK: &str = "stack";
/// A text field of this name is the process that it is about, and so much of it is kept.
const PROCESS: &str = "comm";
const PROCESS_MAX: usize = 64;

/// A guest, and which boot of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The guest.
    pub guest: GuestRef,
    /// The boot, where it is known. **Guest text** until it was checked here.
    pub boot_id: Option<String>,
}

impl Who {
    /// A guest; what is no boot id is left out.
    pub fn new(guest: GuestRef, boot_id: Option<String>) -> Self {
        let is_one = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self { guest, boot_id: boot_id.filter(is_one) }
    }
}

/// What is known of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub kind: Kind,
    /// How bad that is.
    pub severity: Severity,
    /// What it is about, if it is not the whole guest: two of the same are one.
    pub subject: Option<String>,
    /// The process that it is about, if it says.
    pub process: Option<String>,
    /// Why.
    pub cause: String,
    /// Where in the guest's kernel.
    pub stack: Vec<String>,
    /// When, on dom0's clock.
    pub time: Moment,
    /// How wrong that may be; `None`: it is when dom0 noticed.
    pub error_ns: Option<u64>,
    /// The domain's end, if that is it.
    pub end: Option<End>,
    /// The record.
    pub source: Option<Source>,
}

impl Report {
    /// What dom0 sees for itself, now.
    pub fn seen(kind: Kind, cause: impl Into<String>, now: Moment) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            subject: None,
            process: None,
            cause: cause.into(),
            stack: Vec::new(),
            time: now,
            error_ns: None,
            end: None,
            source: None,
        }
    }

    /// A domain has ended.
    pub fn ended(end: End, now: Moment) -> Self {
        let (kind, cause) = match end {
            End::Destroyed => (Kind::GuestGone, "the domain was destroyed"),
            End::Saved => (Kind::GuestGone, "the domain was saved, or migrated to another host"),
            End::Crashed => (Kind::GuestCrashed, "the domain crashed"),
            End::Watchdog => (Kind::GuestCrashed, "the domain's watchdog expired"),
            End::PoweredOff => (Kind::GuestGone, "the guest shut down"),
            End::Rebooted => (Kind::GuestGone, "the guest reboots"),
            End::ShutDown | End::Unknown => (Kind::GuestGone, "the domain has ended"),
        };
        // Whoever destroys a domain that runs takes the guest's service away, and may not have meant to.
        let severity = if end == End::Destroyed { Severity::Fatal } else { kind.severity() };
        Self { severity, end: Some(end), ..Self::seen(kind, cause, now) }
    }

    /// The same, about something.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

/// What a record of an event means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is one.
    Raises(Kind),
    /// It tells more of one.
    Explains(Kind),
}

/// The records of a channel that mean something, by the number of their event. In a channel that knows of the guest's end,
/// each may mean that, by its flag.
#[derive(Clone, Debug, Default)]
pub struct Meanings(BTreeMap<u16, (Option<Meaning>, Shape)>);

impl Meanings {
    /// What the schema of a channel says. An event that it marks as the guest's end is a panic unless it says otherwise.
    pub fn of(schema: &Schema) -> Self {
        let meant = |shape: &Shape| {
            let raises = shape.raises.as_deref().and_then(Kind::of_guest);
            let explains = shape.explains.as_deref().and_then(Kind::of_guest);
            let end = (shape.fatal && shape.raises.is_none()).then_some(Kind::GuestPanic);
            raises.or(end).map(Meaning::Raises).or(explains.map(Meaning::Explains))
        };
        let knows_the_end = schema.events().any(|shape| shape.fatal);
        let meant = |(number, shape): (u16, &Shape)| (number, (meant(shape), shape.clone()));
        let may_mean =
            |(_, (meaning, _)): &(u16, (Option<Meaning>, Shape))| knows_the_end || meaning.is_some();
        Self(schema.numbered().map(meant).filter(may_mean).collect())
    }

    /// Whether no record means anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a record means something; the others need not be looked at.
    pub fn has(&self, header: &Header) -> bool {
        self.0.get(&header.event).is_some_and(|(meaning, _)| meaning.is_some() || header.fatal())
    }

    /// What a record means. `now` is its time if the guest's clock is not known yet.
    pub fn read(
        &self,
        header: &Header,
        payload: &[u8],
        source: Source,
        clock: Option<&Clock>,
        now: Moment,
    ) -> Option<(Meaning, Report)> {
        let (meaning, shape) = self.0.get(&header.event)?;
        let by_flag = header.fatal().then_some(Meaning::Raises(Kind::GuestPanic));
        let meaning = meaning.clone().or(by_flag)?;
        let (Meaning::Raises(kind) | Meaning::Explains(kind)) = meaning;
        let values = value::decode(shape, payload);
        let named = |wanted: &str| values.fields.iter().find(|(name, _)| *name == wanted);
        let subject = shape.subject.as_deref().and_then(named).map(|(name, value)| match value {
            Value::Unsigned(number) | Value::Hex(number) => format!("{name}={number}"),
            Value::Signed(number) => format!("{name}={number}"),
            Value::Text(text) => format!("{name}={}", shortened(printable(text), CAUSE_MAX)),
        });
        let stack = match named(STACK) {
            Some((_, Value::Text(text))) => lines(text),
            _ => Vec::new(),
        };
        let process = match named(PROCESS) {
            Some((_, Value::Text(text))) => Some(shortened(printable(text), PROCESS_MAX)),
            _ => None,
        };
        let moment = clock.and_then(|clock| Moment::of(header.time, clock));
        let report = Report {
            kind,
            severity: kind.severity(),
            subject,
            process,
            cause: shortened(text::summary(shape, payload), CAUSE_MAX),
            stack,
            time: moment.unwrap_or(now),
            error_ns: moment.and(clock).map(|clock| clock.error_ns),
            end: None,
            source: Some(source),
        };
        Some((meaning, report))
    }
}

fn lines(text: &str) -> Vec<String> {
    let (lines, length) = STACK_MAX;
    text.lines().take(lines).map(|line| shortened(printable(line), length)).collect()
}

pub(crate) fn shortened(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
