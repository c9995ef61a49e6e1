// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the records of a channel are made of, as its module says: one event a line, numbered from 1.
//!
//! ```text
//! # comments are not counted
//! panic! event=guest-panic cpu:u32 pid:u32 comm:str message:str stack:str log:str
//! signal pid:u32 comm:str sig:u32 sender_pid:u32 sender_comm:str
//! ```
//!
//! A line that cannot be read keeps its number, so that the other events mean what they say. Words with `=` are attributes: what
//! dom0 makes of such a record. Those that are not known are passed over.

/// The events of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    events: Vec<Result<Event, Problem>>,
}

/// One kind of record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// It reports the end of the guest.
    pub fatal: bool,
    /// `event=`: each record is an event of this kind, for dom0 to act on (`docs/events.md`).
    pub raises: Option<String>,
    /// `explains=`: a record tells more of an event of this kind that has the same subject.
    pub explains: Option<String>,
    /// `subject=`: the field that says what such an event is about; two with the same value are one.
    pub subject: Option<String>,
    /// What its payload holds, in this order.
    pub fields: Vec<Field>,
}

/// One value of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// How it is laid out.
    pub kind: Kind,
}

/// The layouts of values. Integers are little endian and not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned, of so many bytes.
    Unsigned(usize),
    /// Signed, of so many bytes.
    Signed(usize),
    /// 8 bytes, shown in base 16.
    Hex,
    /// Two bytes with the length, then so many bytes of text.
    Text,
}

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has no event's name at its beginning.
    #[error("{0:?} is no name of an event: [a-z][a-z0-9_]{{0,31}}, with a ! behind it if it is fatal")]
    Event(String),
    /// Not `NAME:TYPE`.
    #[error("{0:?} is no field: NAME:TYPE, the name [a-z][a-z0-9_]{{0,31}}")]
    Field(String),
    /// No such type.
    #[error("{0:?} has a type that is not known")]
    Type(String),
    /// Two fields have this name.
    #[error("it has two fields of the name {0}")]
    Twice(String),
    /// Not `NAME=VALUE`, or there already.
    #[error("{0:?} is no attribute, or a second one of that name: NAME=VALUE, the value [a-z0-9_-]{{1,32}}")]
    Attribute(String),
    /// No field has the name that `subject=` has.
    #[error("its subject {0:?} is none of its fields")]
    Subject(String),
}

impl Schema {
    /// Takes the text of a schema. Every line counts, if only as one that cannot be read ([`Schema::problems`]).
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { events: lines.map(event).collect() }
    }

    /// The event of a record's type.
    pub fn event(&self, number: u16) -> Option<&Event> {
        self.events.get(usize::from(number).checked_sub(1)?)?.as_ref().ok()
    }

    /// The events that can be read.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().flatten()
    }

    /// The same, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u16, &Event)> {
        (1..=u16::MAX).zip(&self.events).filter_map(|(number, event)| Some((number, event.as_ref().ok()?)))
    }

    /// What cannot be read, with the number that the event would have.
    pub fn problems(&self) -> impl Iterator<Item = (usize, &Problem)> {
        self.events.iter().enumerate().filter_map(|(at, event)| Some((at + 1, event.as_ref().err()?)))
    }
}

fn event(line: &str) -> Result<Event, Problem> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let name = first.strip_suffix('!').unwrap_or(first);
    if !is_name(name) {
        return Err(Problem::Event(first.into()));
    }
    let mut event = Event { name: name.into(), fatal: first.ends_with('!'), ..Event::default() };
    for word in words {
        if let Some((name, value)) = word.split_once('=') {
            event.attribute(name, value).ok_or_else(|| Problem::Attribute(word.into()))?;
            continue;
        }
        let field = field(word)?;
        if event.fields.iter().any(|other| other.name == field.name) {
            return Err(Problem::Twice(field.name));
        }
        event.fields.push(field);
    }
    match &event.subject {
        Some(subject) if !event.fields.iter().any(|field| field.name == *subject) => {
            Err(Problem::Subject(subject.clone()))
        }
        _ => Ok(event),
    }
}

impl Event {
    /// Takes an attribute in.
    fn attribute(&mut self, name: &str, value: &str) -> Option<()> {
        if !is_name(name) || !is_value(value) {
            return None;
        }
        let known = match name {
            "event" => &mut self.raises,
            "explains" => &mut self.explains,
            "subject" => &mut self.subject,
            _ => return Some(()),
        };
        known.replace(value.into()).is_none().then_some(())
    }
}

fn field(word: &str) -> Result<Field, Problem> {
    let (name, kind) = word.split_once(':').ok_or_else(|| Problem::Field(word.into()))?;
    if !is_name(name) {
        return Err(Problem::Field(word.into()));
    }
    let kind = match kind {
        "u8" => Kind::Unsigned(1),
        "u16" => Kind::Unsigned(2),
        "u32" => Kind::Unsigned(4),
        "u64" => Kind::Unsigned(8),
        "s8" => Kind::Signed(1),
        "s16" => Kind::Signed(2),
        "s32" => Kind::Signed(4),
        "s64" => Kind::Signed(8),
        "x64" => Kind::Hex,
        "str" => Kind::Text,
        _ => return Err(Problem::Type(word.into())),
    };
    Ok(Field { name: name.into(), kind })
}

/// `[a-z][a-z0-9_]{0,31}`.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && text.len() <= 32
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `[a-z0-9_-]{1,32}`.
fn is_value(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_by_line_without_comments() {
        let schema = Schema::parse(
            "# what it is\npanic! cpu:u32 comm:str\n# more\nBad line\nsignal pid:u32 at:x64 by:s64\n",
        );
        let panic = schema.event(1).unwrap();
        assert!(panic.fatal && panic.name == "panic");
        assert_eq!(panic.fields[1], Field { name: "comm".into(), kind: Kind::Text });
        assert_eq!(schema.event(2), None);
        assert_eq!(schema.event(3).unwrap().fields.len(), 3);
        assert!(!schema.event(3).unwrap().fatal);
        assert_eq!(schema.event(0).or(schema.event(4)).or(schema.event(u16::MAX)), None);
        assert_eq!(schema.problems().collect::<Vec<_>>(), [(2, &Problem::Event("Bad".into()))]);
        assert_eq!(schema.events().count(), 2);
    }

    #[test]
    fn attributes_say_what_dom0_makes_of_a_record() {
        let schema =
            Schema::parse("kill event=guest-oom colour=red subject=pid pid:u32\nsig explains=x_y pid:u32");
        let kill = schema.event(1).unwrap();
        assert_eq!((kill.raises.as_deref(), kill.subject.as_deref()), (Some("guest-oom"), Some("pid")));
        assert_eq!((kill.explains.as_deref(), kill.fields.len()), (None, 1));
        let signal = schema.event(2).unwrap();
        assert_eq!((signal.raises.as_deref(), signal.explains.as_deref()), (None, Some("x_y")));
    }

    #[test]
    fn a_line_that_is_no_event_says_why() {
        let long = "x".repeat(33);
        let table = [
            ("", "\"\" is no name of an event"),
            ("!", "\"!\" is no name of an event"),
            ("9a", "\"9a\" is no name of an event"),
            ("a!!", "\"a!!\" is no name of an event"),
            (&long, "is no name of an event"),
            ("a b", "\"b\" is no field"),
            ("a b:", "\"b:\" has a type that is not known"),
            ("a :u8", "\":u8\" is no field"),
            ("a b:u128", "\"b:u128\" has a type"),
            ("a b:u8 b:str", "two fields of the name b"),
            ("a event= b:u8", "\"event=\" is no attribute"),
            ("a =x", "\"=x\" is no attribute"),
            ("a event=X", "\"event=X\" is no attribute"),
            ("a event=x=y", "\"event=x=y\" is no attribute"),
            ("a event=x event=x", "a second one of that name"),
            ("a subject=b c:u8", "its subject \"b\" is none of its fields"),
        ];
        for (line, wanted) in table {
            let said = event(line).expect_err(line).to_string();
            assert!(said.contains(wanted), "{line:?}\n  said   {said}\n  wanted {wanted}");
        }
        assert!(event(&long[1..]).is_ok());
    }
}
