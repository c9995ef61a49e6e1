// SPDX-License-Identifier: MIT OR Apache-2.0
//! The values of a record's payload.

use serde::{Serialize, Serializer};

use crate::schema::{Event, Kind};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
    /// An address or a mask: shown in base 16.
    Hex(u64),
    /// Text as the guest wrote it, with U+FFFD for what is not UTF-8.
    Text(String),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsigned(number) => to.serialize_u64(*number),
            Self::Signed(number) => to.serialize_i64(*number),
            Self::Hex(number) => to.collect_str(&format_args!("{number:#x}")),
            Self::Text(text) => to.serialize_str(text),
        }
    }
}

/// A payload taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// Name and value of each field that is there, in the schema's order.
    pub fields: Vec<(&'a str, Value)>,
    /// The payload ends before its last field does.
    pub incomplete: bool,
}

/// Takes a payload apart. What is behind the last field is padding.
pub fn decode<'a>(event: &'a Event, mut payload: &[u8]) -> Values<'a> {
    let mut values = Values::default();
    for field in &event.fields {
        let value = match field.kind {
            Kind::Unsigned(width) => unsigned(&mut payload, width).map(Value::Unsigned),
            Kind::Hex => unsigned(&mut payload, 8).map(Value::Hex),
            Kind::Signed(width) => unsigned(&mut payload, width).map(|number| {
                // Moved to the top, so that the way back brings the sign along.
                let unused = 64 - 8 * width as u32;
                Value::Signed((number << unused) as i64 >> unused)
            }),
            Kind::Text => unsigned(&mut payload, 2).map(|length| {
                let there = payload.len().min(length as usize);
                values.incomplete |= there < length as usize;
                let (text, rest) = payload.split_at(there);
                payload = rest;
                Value::Text(String::from_utf8_lossy(text).into_owned())
            }),
        };
        let Some(value) = value else {
            values.incomplete = true;
            break;
        };
        values.fields.push((&field.name, value));
    }
    values
}

/// Takes an integer of at most 8 bytes from the front.
pub(crate) fn unsigned(from: &mut &[u8], width: usize) -> Option<u64> {
    let (bytes, rest) = from.split_at_checked(width)?;
    *from = rest;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schema;

    #[test]
    fn every_type_is_read_as_it_is_written() {
        let schema = Schema::parse("e a:u8 b:u16 c:u32 d:u64 e:s8 f:s16 g:s32 h:s64 i:x64 j:str k:str");
        let event = schema.event(1).unwrap();
        let mut payload = vec![1, 2, 1, 3, 0, 0, 1];
        payload.extend_from_slice(&u64::MAX.to_le_bytes());
        payload.push(0xff);
        payload.extend_from_slice(&(-2i16).to_le_bytes());
        payload.extend_from_slice(&(-3i32).to_le_bytes());
        payload.extend_from_slice(&i64::MIN.to_le_bytes());
        payload.extend_from_slice(&0xffff_8000_dead_beef_u64.to_le_bytes());
        payload.extend_from_slice(b"\x03\0a\xffb\0\0\0\0\0");
        let values = decode(event, &payload);
        assert!(!values.incomplete);
        let json: Vec<_> = values
            .fields
            .iter()
            .map(|(_, value)| String::from_utf8(vesper_api::to_line(value)).unwrap())
            .collect();
        let json: Vec<_> = json.iter().map(|line| line.trim_end()).collect();
        let wanted = [
            "1",
            "258",
            "16777219",
            "18446744073709551615",
            "-1",
            "-2",
            "-3",
            "-9223372036854775808",
            "\"0xffff8000deadbeef\"",
            "\"a\u{fffd}b\"",
            "\"\"",
        ];
        assert_eq!(json, wanted);
    }

    #[test]
    fn a_payload_that_ends_early_gives_what_is_there() {
        let schema = Schema::parse("e a:u32 b:str c:u8");
        let event = schema.event(1).unwrap();
        let whole = b"\x01\0\0\0\x04\0abcd\x07";
        for cut in 0..whole.len() {
            let values = decode(event, &whole[..cut]);
            assert!(values.incomplete, "cut at {cut}");
            assert_eq!(
                values.fields.len(),
                match cut {
                    0..4 => 0,
                    4..6 => 1,
                    _ => 2,
                },
                "cut at {cut}"
            );
        }
        assert!(!decode(event, whole).incomplete);
        assert_eq!(decode(event, &whole[..8]).fields[1].1, Value::Text("ab".into()));
    }
}
