// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `data/make.sh` has made.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use vesper_signers::Signer;

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn file(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The holders of these certificates.
pub fn signers(files: &[&str]) -> Vec<Signer> {
    files
        .iter()
        .map(|name| Signer::new(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// The module with a signature behind it.
pub fn signed(signature: &str) -> Vec<u8> {
    [file("module.ko"), file(&format!("{signature}.sig"))].concat()
}
