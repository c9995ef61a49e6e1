// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of signers, and what is signed with them.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::BadCertificate;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// Fewest bits of an RSA key.
const RSA_BITS: usize = 2048;

/// A signer's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

/// How a module's bytes became what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By the number of the algorithm itself, or of signatures over it.
    ///
    /// `None` if it is neither.
    pub(crate) fn of(algorithm: &ObjectIdentifier) -> Option<(Self, Meant)> {
        use Hash::{Sha256, Sha384, Sha512};
        use Meant::{Digest, Ecdsa, Rsa};

        Some(match algorithm.to_string().as_str() {
            "2.16.840.1.101.3.4.2.1" => (Sha256, Digest),
            "2.16.840.1.101.3.4.2.2" => (Sha384, Digest),
            "2.16.840.1.101.3.4.2.3" => (Sha512, Digest),
            "1.2.840.113549.1.1.11" => (Sha256, Rsa),
            "1.2.840.113549.1.1.12" => (Sha384, Rsa),
            "1.2.840.113549.1.1.13" => (Sha512, Rsa),
            "1.2.840.10045.4.3.2" => (Sha256, Ecdsa),
            "1.2.840.10045.4.3.3" => (Sha384, Ecdsa),
            "1.2.840.10045.4.3.4" => (Sha512, Ecdsa),
            _ => return None,
        })
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// What an algorithm's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    Digest,
    Rsa,
    Ecdsa,
}

impl Key {
    /// That of a certificate.
    ///
    /// # Errors
    /// [`BadCertificate::Key`] or [`BadCertificate::Weak`].
    pub(crate) fn of(info: &SubjectPublicKeyInfoOwned) -> Result<Self, BadCertificate> {
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let broken = |error: &dyn std::fmt::Display| BadCertificate::Key(format!("cannot be used: {error}"));
        let curve =
            info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        match (info.algorithm.oid, curve) {
            (RSA, _) => {
                let key = RsaPublicKey::from_pkcs1_der(bits).map_err(|error| broken(&error))?;
                match key.n().bits() {
                    bits if bits < RSA_BITS => Err(BadCertificate::Weak { bits, least: RSA_BITS }),
                    _ => Ok(Self::Rsa(key)),
                }
            }
            (EC, Some(P256)) => p256::ecdsa::VerifyingKey::from_sec1_bytes(bits)
                .map(Self::P256)
                .map_err(|error| broken(&error)),
            (EC, Some(P384)) => p384::ecdsa::VerifyingKey::from_sec1_bytes(bits)
                .map(Self::P384)
                .map_err(|error| broken(&error)),
            (EC, Some(curve)) => {
                Err(BadCertificate::Key(format!("is on the curve {curve}, not P-256 or P-384")))
            }
            (kind, _) => Err(BadCertificate::Key(format!("is of the kind {kind}, neither RSA nor ECDSA"))),
        }
    }

    /// Whether signatures with this algorithm, over a digest of this kind, are of such a key. Signatures name either the kind of
    /// key only, which for RSA openssl does, or both.
    pub(crate) fn takes(&self, algorithm: &ObjectIdentifier, hash: Hash) -> bool {
        match self {
            Self::Rsa(_) => *algorithm == RSA || Hash::of(algorithm) == Some((hash, Meant::Rsa)),
            Self::P256(_) | Self::P384(_) => Hash::of(algorithm) == Some((hash, Meant::Ecdsa)),
        }
    }

    /// Whether it has signed these bytes.
    pub(crate) fn has_signed(&self, bytes: &[u8], hash: Hash, signature: &[u8]) -> bool {
        let digest = hash.digest(bytes);
        match self {
            Self::Rsa(key) => {
                let scheme = match hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                key.verify(scheme, &digest, signature).is_ok()
            }
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
        }
    }
}
