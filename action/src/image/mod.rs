// SPDX-License-Identifier: MIT OR Apache-2.0
//! Module images: everything that can be refused before a guest is bothered.
//!
//! * A file is read once, into private memory, and bounded before and after decompression.
//! * What passes is what a kernel would at least look at: a whole x86-64 ELF object with the sections of a module.
//!   Whether the guest's kernel *takes* it is for that kernel to say.
//! * Every refusal names what was found beside what was wanted.
//!
//! [`unpack`] decompresses a file's bytes, and [`examine`] makes a [`ModuleImage`] of what comes out; [`ModuleImage::check_for`] compares it
//! with one guest; [`join_args`] makes the parameter string. The slow part (the first two) belongs in a worker thread.

mod args;
mod decompress;
mod elf;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use args::{ARGS_MAX, join_args};
pub use error::{ArgsError, ImageError};

use crate::ModuleName;

/// Most bytes of an image, decompressed, unless the configuration says otherwise: 64 MiB.
pub const DEFAULT_LIMIT: u64 = 64 << 20;

/// The frontend module itself, which is neither loaded nor unloaded through VESPER.
pub const FRONTEND_MODULE: &str = "vesper_front";

/// A module image that has passed every check that needs no guest.
#[derive(Clone)]
pub struct ModuleImage {
    /// The module's name, from `name=` of its `.modinfo`.
    pub name: ModuleName,
    /// Its vermagic, without blanks at the end.
    pub vermagic: String,
    /// The image, decompressed.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for ModuleImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?} ({} bytes)", self.name, self.vermagic, self.bytes.len())
    }
}

impl ModuleImage {
    /// Compares the image with the kernel of one guest, which published `guest_vermagic`.
    ///
    /// Both strings must be equal (blanks at the end apart). A kernel with `modversions` would look past the release,
    /// the first word, and compare each symbol's checksum instead (`same_magic`, `kernel/module/version.c`); here a module
    /// of another release is refused, because it was not built for this kernel.
    ///
    /// # Errors
    /// [`ImageError::Vermagic`] with both strings.
    pub fn check_for(&self, guest_vermagic: &str) -> Result<(), ImageError> {
        let guest = guest_vermagic.trim_end();
        if self.vermagic == guest {
            return Ok(());
        }
        Err(ImageError::Vermagic { module: self.vermagic.clone(), guest: guest.to_owned() })
    }
}

/// Decompresses (`.ko.xz`, `.ko.zst`, `.ko.gz`, told by their first bytes) the bytes of a file, once: what comes out is what is sent.
///
/// `limit` bounds both the file and what it decompresses to, in bytes.
///
/// # Errors
/// [`ImageError`] says what is wrong with the file.
pub fn unpack(file: impl Into<Arc<[u8]>>, limit: u64) -> Result<Arc<[u8]>, ImageError> {
    let file = file.into();
    if file.is_empty() {
        return Err(ImageError::Empty);
    }
    if file.len() as u64 > limit {
        return Err(ImageError::TooLarge { limit });
    }
    decompress::decompress(file, limit)
}

/// Checks the bytes of a module, decompressed.
///
/// # Errors
/// [`ImageError`] says which check failed, and with what value.
pub fn examine(bytes: Arc<[u8]>) -> Result<ModuleImage, ImageError> {
    let facts = elf::examine(&bytes)?;
    let name = ModuleName::new(&facts.name)?;
    if name.as_str() == FRONTEND_MODULE {
        return Err(ImageError::Frontend);
    }
    Ok(ModuleImage { name, vermagic: facts.vermagic, bytes })
}
