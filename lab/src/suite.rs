// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Xen versions of the lab and the Debian suites they come from.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;

/// A Xen version that the lab can boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Xen {
    /// Xen 4.17, Debian 12.
    V4_17,
    /// Xen 4.20, Debian 13.
    V4_20,
}

impl Xen {
    /// All of them, the default first.
    pub const ALL: [Xen; 2] = [Xen::V4_17, Xen::V4_20];

    /// The version as the packages spell it.
    pub fn version(self) -> &'static str {
        match self {
            Xen::V4_17 => "4.17",
            Xen::V4_20 => "4.20",
        }
    }

    /// The Debian suite that has it.
    pub fn suite(self) -> &'static str {
        match self {
            Xen::V4_17 => "bookworm",
            Xen::V4_20 => "trixie",
        }
    }

    /// The kernel series that dom0 runs (see [`crate::kernel`]).
    pub fn dom0_kernel(self) -> &'static str {
        match self {
            Xen::V4_17 => "6.1",
            Xen::V4_20 => "6.12",
        }
    }

    /// The packages that are unpacked for dom0. `libgcc-s1`: xl's threads abort without its library, which no
    /// binary names.
    pub fn packages(self) -> Vec<String> {
        let v = self.version();
        let mut all = vec![format!("xen-utils-{v}"), format!("xen-hypervisor-{v}-amd64")];
        all.extend(["xenstore-utils", "busybox-static", "libgcc-s1"].map(String::from));
        all
    }
}

impl fmt::Display for Xen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())
    }
}

impl FromStr for Xen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::ALL.into_iter().find(|xen| xen.version() == text) {
            Some(xen) => Ok(xen),
            None => {
                bail!("no Xen {text} in the lab; there is 4.17 (Debian bookworm) and 4.20 (Debian trixie)")
            }
        }
    }
}
