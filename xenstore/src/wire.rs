// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire protocol of xenstored: `xen/io/xs_wire.h`, `docs/misc/xenstore.txt` of Xen.
//!
//! A message is a header of four 32-bit words in the machine's byte order (type, request id, transaction id,
//! length) and at most [`PAYLOAD_MAX`] bytes. Replies carry the request's id; a watch event comes unasked.

/// Bytes of a header: `sizeof(struct xsd_sockmsg)`.
pub const HEADER_LEN: usize = 4 * size_of::<u32>();

/// Largest payload: `XENSTORE_PAYLOAD_MAX`. xenstored ends a connection that sends more.
pub const PAYLOAD_MAX: usize = 4096;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $c_name:literal;)*) => {
        /// Type of a message: `enum xsd_sockmsg_type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Kind { $($(#[$doc])* $name = $number,)* }

        impl Kind {
            /// Every type with its name in `xs_wire.h`.
            pub const ALL: &[(Kind, &str)] = &[$((Kind::$name, $c_name),)*];

            /// The type with this number, if this crate knows it.
            pub fn from_number(number: u32) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Children of a node.
    Directory = 1, "XS_DIRECTORY";
    /// Value of a node.
    Read = 2, "XS_READ";
    /// Permissions of a node.
    GetPerms = 3, "XS_GET_PERMS";
    /// Register a watch.
    Watch = 4, "XS_WATCH";
    /// Remove a watch.
    Unwatch = 5, "XS_UNWATCH";
    /// Start a transaction.
    TransactionStart = 6, "XS_TRANSACTION_START";
    /// Commit or abort a transaction.
    TransactionEnd = 7, "XS_TRANSACTION_END";
    /// Make a domain known.
    Introduce = 8, "XS_INTRODUCE";
    /// Forget a domain.
    Release = 9, "XS_RELEASE";
    /// Home directory of a domain.
    GetDomainPath = 10, "XS_GET_DOMAIN_PATH";
    /// Write a node.
    Write = 11, "XS_WRITE";
    /// Create a node.
    Mkdir = 12, "XS_MKDIR";
    /// Remove a node.
    Rm = 13, "XS_RM";
    /// Set the permissions of a node.
    SetPerms = 14, "XS_SET_PERMS";
    /// A watch fired (from xenstored only).
    WatchEvent = 15, "XS_WATCH_EVENT";
    /// The request failed (from xenstored only).
    Error = 16, "XS_ERROR";
    /// Whether a domain is known.
    IsDomainIntroduced = 17, "XS_IS_DOMAIN_INTRODUCED";
    /// A part of a long list of children.
    DirectoryPart = 22, "XS_DIRECTORY_PART";
}

/// The error names that xenstored sends, with Linux's numbers: `xsd_errors[]`.
pub const ERRORS: &[(&str, i32)] = &[
    ("EINVAL", libc::EINVAL),
    ("EACCES", libc::EACCES),
    ("EEXIST", libc::EEXIST),
    ("EISDIR", libc::EISDIR),
    ("ENOENT", libc::ENOENT),
    ("ENOMEM", libc::ENOMEM),
    ("ENOSPC", libc::ENOSPC),
    ("EIO", libc::EIO),
    ("ENOTEMPTY", libc::ENOTEMPTY),
    ("ENOSYS", libc::ENOSYS),
    ("EROFS", libc::EROFS),
    ("EBUSY", libc::EBUSY),
    ("EAGAIN", libc::EAGAIN),
    ("EISCONN", libc::EISCONN),
    ("E2BIG", libc::E2BIG),
    ("EPERM", libc::EPERM),
];

/// A header as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the message type.
    pub kind: u32,
    /// Request id, chosen by the client and echoed.
    pub req_id: u32,
    /// Transaction, 0 for none.
    pub tx_id: u32,
    /// Bytes of payload that follow.
    pub len: u32,
}

impl Header {
    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        for (place, word) in bytes.chunks_exact_mut(4).zip([self.kind, self.req_id, self.tx_id, self.len]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// Reads the bytes on the wire. Any bytes are a header; the fields are not checked.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Header {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Header { kind: word(0), req_id: word(4), tx_id: word(8), len: word(12) }
    }
}

/// A whole message with its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message type.
    pub kind: Kind,
    /// Request id.
    pub req_id: u32,
    /// Transaction id.
    pub tx_id: u32,
    /// At most [`PAYLOAD_MAX`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let len = self.payload.len() as u32;
        let header = Header { kind: self.kind as u32, req_id: self.req_id, tx_id: self.tx_id, len };
        [&header.encode(), self.payload.as_slice()].concat()
    }
}

/// Why a byte stream is not one of messages. There is no way to find the next message after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The type is not one that this crate knows.
    #[error("message type {0} is unknown")]
    Kind(u32),
    /// The length is above [`PAYLOAD_MAX`].
    #[error("message length {0} is above {PAYLOAD_MAX}")]
    Length(u32),
}

/// Cuts a byte stream into messages, however the bytes are split over reads. Holds one message at most.
#[derive(Debug, Default)]
pub struct Parser {
    partial: Vec<u8>,
}

impl Parser {
    /// Takes the next bytes of the stream and hands every message that is now whole to `sink`. After an error
    /// the stream is lost: do not call again.
    pub fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Frame)) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            self.take(&mut bytes, HEADER_LEN);
            let Some(header) = self.partial.first_chunk::<HEADER_LEN>() else { return Ok(()) };
            let header = Header::decode(header);
            let kind = Kind::from_number(header.kind).ok_or(Malformed::Kind(header.kind))?;
            if header.len as usize > PAYLOAD_MAX {
                return Err(Malformed::Length(header.len));
            }
            let whole = HEADER_LEN + header.len as usize;
            self.take(&mut bytes, whole);
            if self.partial.len() == whole {
                let payload = self.partial[HEADER_LEN..].to_vec();
                self.partial.clear();
                sink(Frame { kind, req_id: header.req_id, tx_id: header.tx_id, payload });
            }
        }
        Ok(())
    }

    /// Moves bytes over until `self.partial` has `until` bytes or there are no more.
    fn take(&mut self, bytes: &mut &[u8], until: usize) {
        let wanted = until.saturating_sub(self.partial.len()).min(bytes.len());
        let (now, later) = bytes.split_at(wanted);
        self.partial.extend_from_slice(now);
        *bytes = later;
    }
}
