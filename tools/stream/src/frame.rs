// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: one JSON line each; `data` and `words` are followed by as many raw bytes as they say.
//!
//! A stream and a file of `vesper record` are the same frames. A reader passes over frames and fields that it does not
//! know.

use serde::{Deserialize, Serialize};
use vesper_api::channel::Since;

/// Longest line of a frame, the newline included, in bytes.
pub const LINE_MAX: usize = 64 << 10;
/// Most raw bytes of one frame.
pub const PAYLOAD_MAX: usize = 1 << 20;

/// The CPU of a buffer; `None` for the one buffer of a global channel.
pub type Cpu = Option<u16>;

/// One frame. The raw bytes of `data` and `words` come after its line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Frame {
    /// Which guest everything after it is of.
    Guest(Guest),
    /// A channel of it; before the first data of that channel.
    Export(Export),
    /// From here on the guest's clock is translated so.
    Clock(Clock),
    /// What a buffer holds next.
    Data(Data),
    /// The data before it, which was `unsure`, is what the guest wrote.
    Sure {},
    /// The data before it, which was `unsure`, is worthless: the guest wrote over it while it was sent.
    Torn {},
    /// Something is missing here.
    Lost(Lost),
    /// A last word.
    Words(Words),
    /// All that was there when the stream was asked for has been sent.
    CaughtUp {},
    /// Nothing more comes of a channel.
    End(End),
    /// Nothing more comes of the guest: the last frame.
    Gone(Gone),
    /// A frame of a newer version.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Which guest. All but `boot_id` and `kernel` come from nodes that dom0 owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Domain number at that time.
    pub domid: u16,
    /// Name; empty when it has none.
    pub name: String,
    /// UUID in the usual form, lower case.
    pub uuid: String,
    /// What the frontend calls this boot; the same through suspend and migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Release of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// A channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its number, by which later frames name it; never used again while the guest's frontend is loaded.
    pub export: u32,
    /// Its name.
    pub name: String,
    /// The module that exported it; empty when that is not known.
    #[serde(default)]
    pub owner: String,
    /// Bytes of a sub-buffer.
    pub subbuf_size: u32,
    /// Sub-buffers of each buffer.
    pub subbufs: u32,
    /// The CPU of each buffer.
    pub cpus: Vec<Cpu>,
    /// What its records are made of; without one it is a foreign module's, and its bytes are what that module wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What the reader began with: `now` means that records before the first one are not meant, so they are not lost.
    #[serde(default, skip_serializing_if = "Since::is_boot")]
    pub since: Since,
}

/// dom0's real time = the guest's time + offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Nanoseconds to add.
    pub offset_ns: i64,
    /// How wrong that may be, in nanoseconds either way.
    pub error_ns: u64,
}

/// Whole records, or a foreign module's bytes. Begins and, unless `more`, ends at a position that the guest published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The channel.
    pub export: u32,
    /// The buffer.
    pub cpu: Cpu,
    /// Raw bytes that follow.
    pub bytes: usize,
    /// It was cut: the next data of this buffer goes on where this ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Sent out of the guest's own pages: the frame behind it, `sure` or `torn`, says what it is worth. Never in a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

/// What is missing. What the guest says of it is passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The channel.
    pub export: u32,
    /// The buffer.
    pub cpu: Cpu,
    /// Sub-buffers that were overwritten before they were read.
    #[serde(default)]
    pub sub_buffers: u64,
    /// Bytes that were not read, as far as that is known.
    #[serde(default)]
    pub bytes: u64,
    /// Writes that a full buffer refused.
    #[serde(default)]
    pub writes: u64,
}

/// A record that the guest put where nothing can swallow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The channel whose schema it follows, if that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<u32>,
    /// That channel's name.
    pub name: String,
    /// Raw bytes that follow: one record.
    pub bytes: usize,
}

/// The end of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The channel.
    pub export: u32,
    /// Each buffer's totals.
    #[serde(default)]
    pub cpus: Vec<Totals>,
    /// Why.
    pub reason: EndReason,
}

/// What a buffer's guest says of it in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The buffer.
    pub cpu: Cpu,
    /// Sequence numbers given out; 0 for a foreign module.
    pub records: u64,
    /// Writes that a full buffer refused.
    pub dropped: u64,
}

/// Why a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EndReason {
    /// Its module closed it.
    Stopped,
    /// The guest went away.
    GuestGone,
    /// The guest was detached.
    Detached,
    /// The connection to the guest was lost.
    Lost,
    /// A reason that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// The end of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Why.
    pub reason: GoneReason,
    /// What the guest said of it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What became of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GoneReason {
    /// It was destroyed.
    Destroyed,
    /// It crashed.
    Crashed,
    /// It was shut down or rebooted.
    ShutDown,
    /// It was suspended and taken away: it goes on from its save, or on another host.
    Saved,
    /// It was detached.
    Detached,
    /// It goes on; vesperd does not.
    DaemonStopped,
    /// A reason that a newer version knows.
    #[serde(other)]
    Unknown,
}

impl Frame {
    /// Raw bytes that follow the line.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Data(data) => data.bytes,
            Self::Words(words) => words.bytes,
            _ => 0,
        }
    }

    /// The frame's line, the newline included, never longer than [`LINE_MAX`]: a schema is left out whose spelling would
    /// make it so (one of control characters only).
    pub fn line(&self) -> Vec<u8> {
        let line = vesper_api::to_line(self);
        match self {
            Self::Export(export) if line.len() > LINE_MAX => {
                vesper_api::to_line(&Self::Export(Export { schema: None, ..export.clone() }))
            }
            _ => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spelling of every frame. A change here makes old files unreadable.
    #[test]
    fn frames_are_spelled_so() {
        let table = [
            r#"{"frame":"guest","domid":3,"name":"web1","uuid":"c3b7a1de-0b57-4b5a-9c11-2f8a64e9a001","boot_id":"6f1d4a0b2c9e4f7786aa05d1c3b2e4f1","kernel":"6.1.0-56-amd64"}"#,
            r#"{"frame":"export","export":1,"name":"panic","owner":"vesper_panic","subbuf_size":65536,"subbufs":4,"cpus":[0,1],"schema":"panic! cpu:u32\n"}"#,
            r#"{"frame":"export","export":2,"name":"g","owner":"","subbuf_size":65536,"subbufs":4,"cpus":[null],"since":"now"}"#,
            r#"{"frame":"clock","offset_ns":-5,"error_ns":120000}"#,
            r#"{"frame":"data","export":1,"cpu":0,"bytes":4096}"#,
            r#"{"frame":"data","export":1,"cpu":null,"bytes":4096,"more":true}"#,
            r#"{"frame":"data","export":1,"cpu":0,"bytes":4096,"unsure":true}"#,
            r#"{"frame":"sure"}"#,
            r#"{"frame":"torn"}"#,
            r#"{"frame":"lost","export":1,"cpu":0,"sub_buffers":2,"bytes":131072,"writes":7}"#,
            r#"{"frame":"words","export":1,"name":"panic","bytes":512}"#,
            r#"{"frame":"words","name":"panic","bytes":512}"#,
            r#"{"frame":"caught-up"}"#,
            r#"{"frame":"end","export":1,"cpus":[{"cpu":0,"records":9,"dropped":7}],"reason":"guest-gone"}"#,
            r#"{"frame":"gone","reason":"shut-down","cause":"panic: out of memory"}"#,
        ];
        for line in table {
            let frame: Frame = vesper_api::from_line(line.as_bytes()).expect(line);
            assert_eq!(String::from_utf8(frame.line()).unwrap(), format!("{line}\n"));
        }
        let newer: Frame = vesper_api::from_line(br#"{"frame":"smell","of":"napalm"}"#).unwrap();
        assert_eq!(newer, Frame::Unknown);
    }

    #[test]
    fn no_line_is_longer_than_readers_take() {
        for character in ["\u{1}", "\"", "x", "\n"] {
            let schema = Some(character.repeat(16 << 10));
            let frame =
                Frame::Export(Export { cpus: (0..512).map(Some).collect(), schema, ..Export::default() });
            assert!(frame.line().len() <= LINE_MAX, "{character:?}");
        }
    }
}
