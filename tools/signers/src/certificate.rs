// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates of those who may sign.

use std::fmt::Display;

use cms::cert::IssuerAndSerialNumber;
use cms::signed_data::SignerIdentifier;
use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::key::Key;

/// What a file of PEM has in it.
const PEM: &[u8] = b"-----BEGIN ";

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
    /// Takes the bytes of a file: one certificate, in PEM or DER.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn new(file: &[u8]) -> Result<Self, BadCertificate> {
        let unreadable = |error: x509_cert::der::Error| BadCertificate::Unreadable(error.to_string());
        let certificate = match file.windows(PEM.len()).filter(|text| *text == PEM).count() {
            0 => Certificate::from_der(file),
            1 => Certificate::from_pem(file),
            count => return Err(BadCertificate::Several(count)),
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
