// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a file is refused before it is sent.

use crate::InvalidName;

/// Why a file is no module for this guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// The file, or what it decompresses to, is above the limit.
    #[error("the image is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, bytes.
        limit: u64,
    },
    /// It starts like a compressed file and cannot be decompressed.
    #[error("the {format} data is damaged or cut off: {reason}")]
    Compressed {
        /// `xz`, `zstd` or `gzip`.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// It starts neither like an ELF file nor like a compressed one.
    #[error("not an ELF file: it starts with {start}, not 7f 45 4c 46")]
    NotElf {
        /// The first bytes, in hexadecimal.
        start: String,
    },
    /// An ELF file of a kind that no module for these guests is.
    #[error("not a kernel module for x86-64: {field} is {found}, not {wanted}")]
    Kind {
        /// Which field of the ELF header.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What a module's holds.
        wanted: &'static str,
    },
    /// Some part of it lies beyond the end of the file.
    #[error("the file is cut off or damaged: {what}")]
    Incomplete {
        /// Which part.
        what: String,
    },
    /// More of something than any module has, and than can be looked at in good time.
    #[error("not a kernel module: it has {found} {what}, at most {most} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it has.
        found: u64,
        /// How many are taken.
        most: u64,
    },
    /// An object file without something that every module has.
    #[error("not a kernel module: it has no {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// The name it gives itself cannot be one.
    #[error("the module's name is not usable: {0}")]
    Name(#[from] InvalidName),
    /// It is VESPER's own frontend.
    #[error("vesper_front cannot be loaded through itself")]
    Frontend,
    /// It was built for another kernel.
    #[error(
        "the module was built for another kernel:\n  module's vermagic: {module}\n  guest's vermagic:  {guest}"
    )]
    Vermagic {
        /// The module's.
        module: String,
        /// The guest's.
        guest: String,
    },
}

/// Why a list of parameters is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// Nothing before the `=`, or a name with a blank or a quote in it.
    #[error("{0:?} is not of the form PARAM=VALUE")]
    Form(String),
    /// A zero byte, or a newline, which no kernel parameter can hold.
    #[error("{0:?} holds a control character")]
    Control(String),
    /// Quotes that the kernel would not read as they are meant.
    #[error("the quotes in {0:?} cannot be passed on: the kernel knows only a whole value in double quotes")]
    Quotes(String),
    /// More than [`super::ARGS_MAX`] bytes together.
    #[error("the parameters have {0} bytes together, at most {max} can be passed", max = super::ARGS_MAX)]
    TooLong(usize),
}
