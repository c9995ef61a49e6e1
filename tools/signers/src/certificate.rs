// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates of those who may sign.

use std::fmt::Display;

use cms::cert::IssuerAndSerialNumber;
use cms::signed_data::SignerIdentifier;
use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::key::Key;

/// What a line begins and ends with where a block of PEM begins or ends.
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// A block that is a certificate.
const CERTIFICATE: &[u8] = b"CERTIFICATE";

/// Most characters of a name that are shown.
const SHOWN: usize = 200;

/// Who may sign: a certificate that root has listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its subject, for people.
    name: String,
    issued: IssuerAndSerialNumber,
    key_id: Option<SubjectKeyIdentifier>,
    pub(crate) key: Key,
}

/// Why a file is not taken as a signer's certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is something else, or broken.
    #[error("no X.509 certificate: {0}")]
    Unreadable(String),
    /// A private key is in it, beside the certificate or instead of it: of which kind.
    #[error("a file with a private key in it ({0})")]
    PrivateKey(String),
    /// There are several in it.
    #[error("{0} certificates")]
    Several(usize),
    /// Its key is of another kind than modules are signed with here.
    #[error("a certificate whose key {0}")]
    Key(String),
    /// Its key is too small.
    #[error("a certificate whose RSA key has {bits} bits; {least} are wanted at least")]
    Weak {
        /// How many it has.
        bits: usize,
        /// How many it would have to have.
        least: usize,
    },
}

impl Signer {
    /// Takes the bytes of a file: one certificate, in PEM or DER. Text and other blocks around one in PEM do not matter, as for openssl;
    /// but for a private key, which should not be here at all.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn new(file: &[u8]) -> Result<Self, BadCertificate> {
        let unreadable = |error: x509_cert::der::Error| BadCertificate::Unreadable(error.to_string());
        let certificate = match block(file)? {
            Some(block) => Certificate::from_pem(block),
            None => Certificate::from_der(file),
        };
        let certificate = certificate.map_err(unreadable)?.tbs_certificate;
        let key = Key::of(&certificate.subject_public_key_info)?;
        let key_id = certificate.get().map_err(unreadable)?.map(|(_, key_id)| key_id);
        let name = shown(&certificate.subject);
        let issued =
            IssuerAndSerialNumber { issuer: certificate.issuer, serial_number: certificate.serial_number };
        Ok(Self { name, issued, key_id, key })
    }

    /// Its subject, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is whom a signature names.
    pub(crate) fn is(&self, named: &SignerIdentifier) -> bool {
        match named {
            SignerIdentifier::IssuerAndSerialNumber(issued) => *issued == self.issued,
            SignerIdentifier::SubjectKeyIdentifier(key_id) => self.key_id.as_ref() == Some(key_id),
        }
    }
}

/// The one certificate's lines of a file with blocks of PEM; `None` if there is no block in it.
///
/// # Errors
/// [`BadCertificate`] if there is a private key, or another number of certificates.
fn block(file: &[u8]) -> Result<Option<Vec<u8>>, BadCertificate> {
    let lines: Vec<_> = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect();
    let labels: Vec<_> = lines.iter().filter_map(|line| label_of(line, BEGIN)).collect();
    let text = |label: &[u8]| shown(&String::from_utf8_lossy(label));
    if let Some(key) = labels.iter().find(|label| label.ends_with(b"PRIVATE KEY")) {
        return Err(BadCertificate::PrivateKey(text(key)));
    }
    let Some(first) = labels.first() else { return Ok(None) };
    match labels.iter().filter(|label| **label == CERTIFICATE).count() {
        0 => return Err(BadCertificate::Unreadable(format!("there is a {} in it", text(first)))),
        1 => {}
        count => return Err(BadCertificate::Several(count)),
    }
    let from = lines.iter().skip_while(|line| label_of(line, BEGIN) != Some(CERTIFICATE));
    let mut block = Vec::new();
    for line in from {
        block.extend_from_slice(line);
        block.push(b'\n');
        if label_of(line, END).is_some() {
            break;
        }
    }
    Ok(Some(block))
}

/// Of which kind the block is that this line begins, or ends.
fn label_of<'a>(line: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(mark)?.strip_suffix(DASHES)
}

/// Whom a signature names, for people.
pub(crate) fn label(named: &SignerIdentifier) -> String {
    match named {
        SignerIdentifier::IssuerAndSerialNumber(issued) => {
            format!("the holder of serial {} of {}", issued.serial_number, shown(&issued.issuer))
        }
        SignerIdentifier::SubjectKeyIdentifier(key_id) => {
            let digits: Vec<_> = key_id.0.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
            format!("the key {}", shown(&digits.join(":")))
        }
    }
}

/// Text that somebody else wrote: bounded, and with nothing in it that a terminal obeys.
fn shown(text: &dyn Display) -> String {
    let text = text.to_string();
    let shown = text.chars().take(SHOWN).map(|char| match char {
        // Of names, that have been escaped once.
        '\\' | '\'' | '"' => char.to_string(),
        char => char.escape_debug().to_string(),
    });
    shown.collect()
}
