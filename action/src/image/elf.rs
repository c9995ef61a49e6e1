// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ELF side of a module: what `elf_validity_check` (`kernel/module/main.c`) wants, as far as a file can tell.

use object::LittleEndian;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable};

use super::ImageError;

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
    whole(&sections, bytes)?;

    section(&sections, bytes, ".gnu.linkonce.this_module")?
        .filter(|data| !data.is_empty())
        .ok_or(ImageError::Missing { what: "section .gnu.linkonce.this_module" })?;
    if !sections.iter().any(|section| section.sh_type(LittleEndian) == elf::SHT_SYMTAB) {
        return Err(ImageError::Missing { what: "symbol table (was it stripped?)" });
    }
    let modinfo =
        section(&sections, bytes, ".modinfo")?.ok_or(ImageError::Missing { what: "section .modinfo" })?;
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

/// Every section with bytes in the file has them there, and every name can be read.
fn whole(sections: &Sections<'_>, bytes: &[u8]) -> Result<(), ImageError> {
    for (index, section) in sections.iter().enumerate() {
        let name = sections
            .section_name(LittleEndian, section)
            .map_err(|error| incomplete(&format!("name of section {index}"), error))?;
        section
            .data(LittleEndian, bytes)
            .map_err(|error| incomplete(&format!("section {}", String::from_utf8_lossy(name)), error))?;
    }
    Ok(())
}

type Sections<'a> = SectionTable<'a, FileHeader64<LittleEndian>>;

fn section<'a>(sections: &Sections<'a>, bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, ImageError> {
    let found: Option<(_, &SectionHeader64<LittleEndian>)> =
        sections.section_by_name(LittleEndian, name.as_bytes());
    let Some((_, section)) = found else { return Ok(None) };
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
