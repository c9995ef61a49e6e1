// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ELF side of a module: what `elf_validity_check` (`kernel/module/main.c`) wants, as far as a file can tell.

use object::elf::{self, FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable};
use object::{LittleEndian, SectionIndex};

use super::ImageError;

/// Most sections: what `e_shnum` can count. More are told in another way (gABI, `SHN_LORESERVE`), and no module has them.
const SECTIONS_MAX: usize = 65_535;

/// Most bytes of `.shstrtab`.
const NAMES_MAX: u64 = 1 << 20;

/// Bytes of a section's name in a message.
const NAME_SHOWN: usize = 64;

/// What an image says of itself.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) vermagic: String,
}

/// Checks that the bytes are a whole relocatable x86-64 object with the sections of a module.
pub(super) fn examine(bytes: &[u8]) -> Result<Facts, ImageError> {
    let header = header(bytes)?;
    let sections =
        header.sections(LittleEndian, bytes).map_err(|error| incomplete("section headers", error))?;
    if sections.is_empty() {
        return Err(ImageError::Missing { what: "section headers" });
    }
    few(sections.len() as u64, SECTIONS_MAX as u64, "sections")?;
    let names = Names::of(header, &sections, bytes)?;
    whole(&sections, &names, bytes)?;

    section(&sections, &names, bytes, ".gnu.linkonce.this_module")?
        .filter(|data| !data.is_empty())
        .ok_or(ImageError::Missing { what: "section .gnu.linkonce.this_module" })?;
    if !sections.iter().any(|section| section.sh_type(LittleEndian) == elf::SHT_SYMTAB) {
        return Err(ImageError::Missing { what: "symbol table (was it stripped?)" });
    }
    let modinfo = section(&sections, &names, bytes, ".modinfo")?
        .ok_or(ImageError::Missing { what: "section .modinfo" })?;
    let name = tag(modinfo, "name").ok_or(ImageError::Missing { what: "name in .modinfo" })?;
    let vermagic = tag(modinfo, "vermagic").ok_or(ImageError::Missing { what: "vermagic in .modinfo" })?;
    Ok(Facts { name, vermagic: vermagic.trim_end().to_owned() })
}

/// The ELF header, with every field that tells what kind of file this is.
fn header(bytes: &[u8]) -> Result<&FileHeader64<LittleEndian>, ImageError> {
    if !bytes.starts_with(&elf::ELFMAG) {
        let start: Vec<_> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return Err(ImageError::NotElf { start: start.join(" ") });
    }
    let ident = |index: usize| bytes.get(index).copied().unwrap_or(0);
    must(u16::from(ident(4)), u16::from(elf::ELFCLASS64.0), "the class", "2 (64-bit)")?;
    must(u16::from(ident(5)), u16::from(elf::ELFDATA2LSB.0), "the byte order", "1 (little endian)")?;
    let header =
        FileHeader64::<LittleEndian>::parse(bytes).map_err(|error| incomplete("ELF header", error))?;
    must(header.e_machine(LittleEndian).0, elf::EM_X86_64.0, "the machine", "62 (x86-64)")?;
    must(header.e_type(LittleEndian).0, elf::ET_REL.0, "the type", "1 (relocatable)")?;
    Ok(header)
}

fn must(found: u16, value: u16, field: &'static str, wanted: &'static str) -> Result<(), ImageError> {
    if found == value {
        return Ok(());
    }
    Err(ImageError::Kind { field, found: found.to_string(), wanted })
}

fn few(found: u64, most: u64, what: &'static str) -> Result<(), ImageError> {
    if found <= most { Ok(()) } else { Err(ImageError::TooMany { what, found, most }) }
}

/// The names of the sections, `.shstrtab`.
///
/// It ends with a zero, as the kernel wants it, so every offset within it is that of a name; none is read to its end,
/// since all sections may have the same long one.
struct Names<'a>(&'a [u8]);

impl<'a> Names<'a> {
    fn of(
        header: &FileHeader64<LittleEndian>,
        sections: &Sections<'a>,
        bytes: &'a [u8],
    ) -> Result<Self, ImageError> {
        let incomplete = |error| incomplete("names of the sections", error);
        let index = header.shstrndx(LittleEndian, bytes).map_err(incomplete)?;
        let section = sections.section(SectionIndex(index as usize)).map_err(incomplete)?;
        few(section.sh_size(LittleEndian), NAMES_MAX, "bytes of section names")?;
        let names = section.data(LittleEndian, bytes).map_err(incomplete)?;
        if names.last() != Some(&0) {
            let what = "names of the sections: they do not end with a zero".to_owned();
            return Err(ImageError::Incomplete { what });
        }
        Ok(Self(names))
    }

    /// What begins with the name of a section, and the zero after it.
    fn at(&self, section: &SectionHeader64<LittleEndian>) -> Option<&'a [u8]> {
        self.0.get(section.sh_name(LittleEndian) as usize..).filter(|name| !name.is_empty())
    }

    fn is(&self, section: &SectionHeader64<LittleEndian>, name: &str) -> bool {
        let rest = self.at(section).and_then(|found| found.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Every section with bytes in the file has them there, and every section has a name.
fn whole(sections: &Sections<'_>, names: &Names<'_>, bytes: &[u8]) -> Result<(), ImageError> {
    for (index, section) in sections.iter().enumerate() {
        let Some(name) = names.at(section) else {
            let what = format!("name of section {index}: it is beyond the names of the sections");
            return Err(ImageError::Incomplete { what });
        };
        section.data(LittleEndian, bytes).map_err(|error| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = &name[..name.len().min(NAME_SHOWN)];
            incomplete(&format!("section {}", String::from_utf8_lossy(name)), error)
        })?;
    }
    Ok(())
}

type Sections<'a> = SectionTable<'a, FileHeader64<LittleEndian>>;

fn section<'a>(
    sections: &Sections<'a>,
    names: &Names<'_>,
    bytes: &'a [u8],
    name: &str,
) -> Result<Option<&'a [u8]>, ImageError> {
    let Some(section) = sections.iter().find(|section| names.is(section, name)) else { return Ok(None) };
    section.data(LittleEndian, bytes).map(Some).map_err(|error| incomplete(&format!("section {name}"), error))
}

/// The value of the first `key=value` of `.modinfo`, whose entries end with zeros.
fn tag(modinfo: &[u8], key: &str) -> Option<String> {
    modinfo.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

fn incomplete(what: &str, error: object::read::Error) -> ImageError {
    ImageError::Incomplete { what: format!("{what}: {error}") }
}
