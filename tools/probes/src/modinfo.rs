// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a module's file says of itself, as modinfo(8) shows it.

use std::fs;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

/// Largest file that is looked at.
const LIMIT: u64 = 64 << 20;

/// The parts of `.modinfo` that are shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ModuleInfo {
    pub(crate) name: String,
    /// Release of the kernel that it was built for: the first word of its vermagic.
    pub(crate) kernel: String,
    pub(crate) description: String,
    /// Parameters with what is said of them.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Reads a module's file; `None` if it is none.
pub(crate) fn read(path: &Path) -> Option<ModuleInfo> {
    let file = fs::metadata(path).ok()?;
    // A pipe would wait for somebody who writes.
    if !file.is_file() || file.len() > LIMIT {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let elf: ElfFile64<'_, object::Endianness> = ElfFile64::parse(&*bytes).ok()?;
    of(elf.section_by_name(".modinfo")?.data().ok()?)
}

fn of(section: &[u8]) -> Option<ModuleInfo> {
    let mut info = ModuleInfo::default();
    for tag in section.split(|byte| *byte == 0) {
        let tag = String::from_utf8_lossy(tag);
        match tag.split_once('=') {
            Some(("name", name)) => info.name = name.into(),
            Some(("description", text)) => info.description = text.into(),
            Some(("vermagic", text)) => info.kernel = text.split(' ').next().unwrap_or_default().into(),
            Some(("parm", text)) => {
                let (name, what) = text.split_once(':').unwrap_or((text, ""));
                info.parameters.push((name.into(), what.into()));
            }
            _ => {}
        }
    }
    (!info.name.is_empty() && !info.kernel.is_empty()).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_of_a_module_are_read() {
        let info = of(b"license=GPL\0description=panics\0\0parm=events:which (charp)\0parmtype=events:charp\0name=vesper_panic\0vermagic=6.1.0 SMP \0").unwrap();
        assert_eq!(
            (info.name.as_str(), info.kernel.as_str(), info.description.as_str()),
            ("vesper_panic", "6.1.0", "panics")
        );
        assert_eq!(info.parameters, [("events".into(), "which (charp)".into())]);
        assert_eq!(of(b"license=GPL\0"), None);
    }
}
