// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a configuration is not taken.

use std::io;

use vesper_api::{ErrorKind, Failure, Place};

/// Why a configuration is not taken, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}:{column}: {message}; {remedy}")]
    Wrong {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// What to do about it.
        remedy: String,
    },
}

/// As `vesper check-config` tells of it.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Read { .. } => Self::new(ErrorKind::BadRequest, error.to_string())
                .remedy(format!("name a file that is there; without one, {} is checked", crate::PATH)),
            ConfigError::Wrong { path: file, line, column, message, remedy } => {
                let message = format!("{file}:{line}:{column}: {message}");
                let failure = Self::new(ErrorKind::BadRequest, message).remedy(remedy);
                Self { place: Some(Box::new(Place { file, line, column })), ..failure }
            }
        }
    }
}
