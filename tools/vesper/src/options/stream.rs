// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of the commands that read what guests record.

use std::path::PathBuf;

use clap::ValueEnum;
use vesper_api::{Request, Since};
use vesper_stream::store::LIMIT_MIN;

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One line for each record, for people
    Text,
    /// One JSON object a line
    Json,
    /// The bytes that the guest wrote, of one channel
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Begin {
    /// With the oldest record that is still there
    Boot,
    /// With the next record
    Now,
}

// Which records. No doc comment: it would be the help of each command that has this.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// Guest (domid, name or UUID), and a channel of it unless all are meant
    #[arg(value_name = "DOM[/NAME]")]
    from: String,
    /// Where to begin
    #[arg(long, value_enum, default_value = "boot")]
    since: Begin,
}

impl Source {
    /// The guest, and the channel.
    pub(crate) fn parts(&self) -> (&str, Option<&str>) {
        // No channel's name has a slash in it; a guest's may.
        match self.from.rsplit_once('/') {
            Some((dom, channel)) => (dom, Some(channel)),
            None => (&self.from, None),
        }
    }

    pub(crate) fn request(&self, follow: bool) -> Request {
        let (dom, channel) = self.parts();
        let since = match self.since {
            Begin::Boot => Since::Boot,
            Begin::Now => Since::Now,
        };
        Request::Stream { dom: dom.to_owned(), channel: channel.map(str::to_owned), since, follow }
    }
}

#[derive(clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) source: Source,
    /// How records are shown [default: text, or json with --json]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Go on with what comes, until the guest ends or ^C
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(clap::Args)]
pub(crate) struct Record {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Where to; made if it is missing
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Keep the newest so many bytes only, with K, M or G for units of 1024: at least 16M
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) size_limit: Option<u64>,
}

#[derive(clap::Args)]
pub(crate) struct Replay {
    /// A directory that vesper record has written, or one below /var/lib/vesper
    pub(crate) dir: PathBuf,
    /// How records are shown [default: text, or json with --json]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes
        .filter(|bytes| *bytes >= LIMIT_MIN)
        .ok_or_else(|| format!("a number of bytes is wanted, {} (16M) or more", LIMIT_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("16777216"), Ok(16 << 20));
        assert_eq!((bytes("16M"), bytes("16384k"), bytes("2G")), (Ok(16 << 20), Ok(16 << 20), Ok(2 << 30)));
        for bad in ["", "M", "15M", "-1", "16MiB", "1e9", "99999999999999999999G", "16é"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_channel_is_behind_the_last_slash() {
        let parts = |from: &str| {
            let source = Source { from: from.into(), since: Begin::Boot };
            let (dom, channel) = source.parts();
            (dom.to_owned(), channel.map(str::to_owned))
        };
        assert_eq!(parts("web1"), ("web1".into(), None));
        assert_eq!(parts("3/panic"), ("3".into(), Some("panic".into())));
        assert_eq!(parts("a/b/panic"), ("a/b".into(), Some("panic".into())));
    }
}
