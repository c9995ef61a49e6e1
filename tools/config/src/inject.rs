// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[inject]`: which modules may be loaded.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;
use vesper_signers::Signer;

use super::ConfigError;
use super::place::Place;
use super::signers;

/// What is in front of a digest's digits.
const SHA256: &str = "sha256:";

/// SHA-256 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// What no digest is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest")]
pub struct NoDigest(String);

/// Which modules may be loaded: any if all are empty, else those that at least one of the lists admits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inject {
    /// Those that are in one of these directories, or below.
    pub directories: Vec<PathBuf>,
    /// Those whose files have these digests.
    pub digests: BTreeSet<Digest>,
    /// Those that one of these has signed.
    pub signers: Vec<Signer>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    directories: Vec<Spanned<PathBuf>>,
    digests: Vec<Spanned<String>>,
    signers: Vec<Spanned<PathBuf>>,
}

impl Section {
    pub(super) fn check(&self, place: &Place<'_>) -> Result<Inject, ConfigError> {
        let remedy = "write \"sha256:\" and 64 hexadecimal digits, as sha256sum FILE shows them";
        let digests = place.each(&self.digests, "inject.digests", remedy, str::parse)?;
        let directories = self.directories.iter().map(|dir| place.absolute(dir, "inject.directories"));
        Ok(Inject {
            directories: directories.collect::<Result<_, _>>()?,
            digests: digests.into_iter().collect(),
            signers: self.signers.iter().map(|file| signers::read(file, place)).collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = String::with_capacity(64);
        self.0.iter().try_for_each(|byte| write!(digits, "{byte:02x}"))?;
        write!(f, "{SHA256}{digits}")
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let wrong = || NoDigest(text.to_owned());
        let digits = text.strip_prefix(SHA256).ok_or_else(wrong)?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8).ok_or_else(wrong);
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(digest))
    }
}
