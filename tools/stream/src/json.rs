// SPDX-License-Identifier: MIT OR Apache-2.0
//! Items for programs: one object a line, each with all that says where and when it happened.

use std::fmt::Write;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::frame::{Cpu, EndReason, GoneReason};
use crate::value::{self, Value};
use crate::{Header, Item, Moment, What};

/// Appends an item to `out`, as one line.
pub fn write(out: &mut Vec<u8>, item: &Item) {
    let guest = &item.guest;
    let export = item.channel.as_ref().map(|channel| &channel.export);
    let line = Line {
        time: item.moment(),
        error_ns: item.moment().and(item.clock).map(|clock| clock.error_ns),
        guest_ns: item.time,
        domid: guest.domid,
        guest: &guest.name,
        uuid: &guest.uuid,
        boot_id: guest.boot_id.as_deref(),
        channel: export.map(|export| export.name.as_str()),
        cpu: item.cpu,
        what: what(item),
    };
    out.extend_from_slice(&vesper_api::to_line(&line));
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_ns: Option<u64>,
    domid: u16,
    guest: &'a str,
    uuid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Cpu,
    #[serde(flatten)]
    what: Said<'a>,
}

#[derive(Serialize)]
#[serde(tag = "item", rename_all = "kebab-case")]
enum Said<'a> {
    Started {
        owner: &'a str,
        cpus: &'a [Cpu],
        #[serde(skip_serializing_if = "Option::is_none")]
        schema: Option<&'a str>,
    },
    Record {
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        number: u16,
        seq: u64,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        urgent: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        fatal: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        last_words: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cut_off: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        fields: Option<Fields<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    },
    Raw {
        bytes: usize,
        hex: String,
    },
    Lost {
        #[serde(skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
        sub_buffers: u64,
        bytes: u64,
        writes: u64,
    },
    Disorder {
        expected: u64,
        found: u64,
    },
    Undecodable {
        bytes: u64,
    },
    Ended {
        reason: EndReason,
        lost: u64,
    },
    Gone {
        reason: GoneReason,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'a str>,
    },
}

/// The values of a record, in the schema's order.
struct Fields<'a>(Vec<(&'a str, Value)>);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn what(item: &Item) -> Said<'_> {
    match &item.what {
        What::Started => {
            let export = item.channel.as_ref().map(|channel| &channel.export);
            Said::Started {
                owner: export.map_or("", |export| &export.owner),
                cpus: export.map_or(&[], |export| &export.cpus),
                schema: export.and_then(|export| export.schema.as_deref()),
            }
        }
        What::Record { header, payload, last_words } => record(item, header, payload, *last_words),
        What::Raw(bytes) => Said::Raw { bytes: bytes.len(), hex: hex(bytes) },
        What::Lost(loss) => Said::Lost {
            records: loss.records,
            sub_buffers: loss.sub_buffers,
            bytes: loss.bytes,
            writes: loss.writes,
        },
        What::Disorder { expected, found } => Said::Disorder { expected: *expected, found: *found },
        What::Undecodable(bytes) => Said::Undecodable { bytes: *bytes },
        What::Ended { reason, lost } => Said::Ended { reason: *reason, lost: *lost },
        What::Gone(gone) => Said::Gone { reason: gone.reason, cause: gone.cause.as_deref() },
    }
}

fn record<'a>(item: &'a Item, header: &Header, payload: &[u8], last_words: bool) -> Said<'a> {
    let event = item.event();
    let values = event.map(|event| value::decode(event, payload));
    let incomplete = values.as_ref().is_some_and(|values| values.incomplete);
    Said::Record {
        event: event.map(|event| event.name.as_str()),
        number: header.event,
        seq: header.seq,
        urgent: header.urgent(),
        fatal: header.fatal() || event.is_some_and(|event| event.fatal),
        last_words,
        cut_off: header.truncated() || incomplete,
        fields: values.map(|values| Fields(values.fields)),
        hex: event.is_none().then(|| hex(payload)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
