// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be asked of a guest, and which command a message belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fmt, fs, io};

use crate::ModuleName;

/// One command of an application.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Load a module into the guest's kernel.
    Load {
        /// The module's name as the guest's kernel will know it.
        name: ModuleName,
        /// The module's image: a relocatable ELF file, not compressed, checked by the caller.
        image: Arc<[u8]>,
        /// The parameters as `init_module(2)` takes them, without a closing zero.
        args: Arc<[u8]>,
    },
    /// Unload a module, in two steps.
    Unload {
        /// The module's name as the guest's kernel knows it.
        name: ModuleName,
    },
}

impl Command {
    /// The module that the command is about.
    pub fn name(&self) -> &ModuleName {
        match self {
            Self::Load { name, .. } | Self::Unload { name } => name,
        }
    }

    /// `load` or `unload`, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Unload { .. } => "unload",
        }
    }

    /// Bytes that the guest fetches: the image followed by the arguments.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::Load { image, args, .. } => image.len() as u64 + args.len() as u64,
            Self::Unload { .. } => 0,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({} bytes)", self.verb(), self.name(), self.data_bytes())
    }
}

/// Which command a message belongs to: the daemon's run and a number within it. Unique over all guests of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId {
    /// Random number of the daemon's run, never 0.
    pub run: u64,
    /// Counts the commands of that run, from 1.
    pub seq: u64,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.seq)
    }
}

/// The daemon's run: where command ids come from. A result of another run is never taken for one of this.
#[derive(Debug)]
pub struct Run {
    nonce: u64,
    issued: AtomicU64,
}

impl Run {
    /// A new run with a random nonce.
    ///
    /// # Errors
    /// When `/dev/urandom` cannot be read.
    pub fn new() -> io::Result<Arc<Self>> {
        use io::Read as _;
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self::with_nonce(u64::from_ne_bytes(bytes)))
    }

    /// A run with a given nonce (0 becomes 1); for tests that need to repeat themselves.
    pub fn with_nonce(nonce: u64) -> Arc<Self> {
        Arc::new(Self { nonce: nonce.max(1), issued: AtomicU64::new(0) })
    }

    /// The run's random number.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The next command's id.
    pub(crate) fn issue(&self) -> CommandId {
        CommandId { run: self.nonce, seq: self.issued.fetch_add(1, Relaxed) + 1 }
    }

    /// Whether `id` claims to be of this run and cannot be: this run never issued it.
    pub(crate) fn never_issued(&self, id: CommandId) -> bool {
        id.run == self.nonce && (id.seq == 0 || id.seq > self.issued.load(Relaxed))
    }
}
