// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a module's signature is one of a listed signer.

use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerInfo};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::Signer;
use crate::appended::{Appended, split};
use crate::certificate::label;
use crate::key::{Hash, Meant};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// Why a module is nobody's who is listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It has no signature at its end.
    #[error("it is not signed")]
    NotSigned,
    /// What is there is none that sign-file makes.
    #[error("its signature cannot be read: {0}")]
    Unreadable(String),
    /// It is made with something else than SHA-256, SHA-384 or SHA-512, or its key's algorithm.
    #[error("its signature has an unknown algorithm: {0}")]
    Algorithm(String),
    /// Somebody else has signed it.
    #[error("it is signed by {0}, whose certificate is not in inject.signers")]
    Stranger(String),
    /// The signer is listed, the signature is another's or of other bytes.
    #[error(
        "the signature of {0} does not fit its bytes: the file was changed after it was signed, or signed with another key"
    )]
    Changed(String),
}

/// Who of the signers has signed a module's image, decompressed: it is the signature at its end that counts, over all bytes
/// before it.
///
/// # Errors
/// [`Unsigned`] if none has.
pub fn signer_of<'a>(image: &[u8], signers: &'a [Signer]) -> Result<&'a Signer, Unsigned> {
    let Appended { module, pkcs7 } = split(image)?;
    let signature = parse(pkcs7)?;
    // Several may have one name and number: a tool's defaults.
    let named: Vec<_> = signers.iter().filter(|signer| signer.is(&signature.sid)).collect();
    let name = match named.first() {
        Some(first) => first.name().to_owned(),
        None => return Err(Unsigned::Stranger(label(&signature.sid))),
    };
    let hash = match Hash::of(&signature.digest_alg.oid) {
        Some((hash, Meant::Digest)) => hash,
        _ => {
            let digest = signature.digest_alg.oid;
            return Err(Unsigned::Algorithm(format!(
                "the digest {digest} is not SHA-256, SHA-384 or SHA-512"
            )));
        }
    };
    let algorithm = &signature.signature_algorithm.oid;
    let mut able = named.into_iter().filter(|signer| signer.key.takes(algorithm, hash)).peekable();
    if able.peek().is_none() {
        let wrong = format!("{algorithm} does not go with its digest and the key of {name}");
        return Err(Unsigned::Algorithm(wrong));
    }
    able.find(|signer| signer.key.has_signed(module, hash, signature.signature.as_bytes()))
        .ok_or(Unsigned::Changed(name))
}

/// The one signature in a PKCS#7, of bytes that are not in it, with no attributes.
fn parse(pkcs7: &[u8]) -> Result<SignerInfo, Unsigned> {
    let other = |what: &str| Unsigned::Unreadable(format!("{what}; sign-file makes no such signature"));
    let broken = |error: x509_cert::der::Error| Unsigned::Unreadable(error.to_string());
    let info = ContentInfo::from_der(pkcs7).map_err(broken)?;
    if info.content_type != SIGNED_DATA {
        return Err(other(&format!("{} is not SignedData", info.content_type)));
    }
    let data: SignedData = info.content.decode_as().map_err(broken)?;
    if data.encap_content_info.econtent_type != DATA || data.encap_content_info.econtent.is_some() {
        return Err(other("it has content of its own"));
    }
    let mut signers = data.signer_infos.0.into_vec();
    match (signers.pop(), signers.len()) {
        // Attributes would be what is signed, and not the module.
        (Some(signer), 0) if signer.signed_attrs.is_some() => Err(other("it has signed attributes")),
        (Some(signer), 0) => Ok(signer),
        (None, _) => Err(other("nobody has signed it")),
        (Some(_), more) => Err(other(&format!("{} have signed it", more + 1))),
    }
}
