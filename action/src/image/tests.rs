// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that are modules, and every way not to be one.

use std::io::Write;

use object::write::{Object, StandardSegment, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use proptest::prelude::*;

use super::*;

const VERMAGIC: &str = "6.1.0-1-amd64 SMP preempt mod_unload modversions ";
const LIMIT: u64 = 1 << 20;

/// An object file with the sections of a module; `modinfo` as it is written in C, entries closed by zeros.
fn object(
    architecture: Architecture,
    endianness: Endianness,
    modinfo: Option<&str>,
    this_module: usize,
) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, architecture, endianness);
    let segment = object.segment_name(StandardSegment::Data).to_vec();
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let offset = object.append_section_data(text, &[0xc3; 600], 16);
    object.add_symbol(Symbol {
        name: b"init_module".to_vec(),
        value: offset,
        size: 600,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    if let Some(modinfo) = modinfo {
        let section = object.add_section(segment.clone(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        object.append_section_data(section, modinfo.as_bytes(), 1);
    }
    if this_module > 0 {
        let section = object.add_section(segment, b".gnu.linkonce.this_module".to_vec(), SectionKind::Data);
        object.append_section_data(section, &vec![0; this_module], 64);
    }
    object.write().unwrap()
}

fn module_with(modinfo: &str) -> Vec<u8> {
    object(Architecture::X86_64, Endianness::Little, Some(modinfo), 896)
}

fn module() -> Vec<u8> {
    module_with(&format!("license=GPL\0depends=\0name=vesper_answer\0vermagic={VERMAGIC}\0"))
}

/// A module whose first section says that it is as long as the whole file.
fn with_section_beyond_the_end() -> Vec<u8> {
    let mut file = module();
    let headers = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
    // sh_size of section header 1.
    let size = headers + 64 + 32;
    let whole = file.len() as u64;
    file[size..size + 8].copy_from_slice(&whole.to_le_bytes());
    file
}

/// A file on its whole way.
fn prepare(file: impl Into<Arc<[u8]>>, limit: u64) -> Result<ModuleImage, ImageError> {
    examine(unpack(file, limit)?)
}

fn message(file: Vec<u8>) -> String {
    prepare(file, LIMIT).expect_err("taken as a module").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame of `blocks` blocks of 128 KiB zeros each: 4 bytes a block (RFC 8878, 3.1.1.2, RLE_Block).
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    // Magic; no checksum, no content size; window descriptor 0x38: 2^(10+7) bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..blocks {
        let last = u32::from(block + 1 == blocks);
        let header = ((128 << 10) << 3) | (1 << 1) | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn a_module_is_taken_as_it_is() {
    let file = module();
    let image = prepare(file.clone(), LIMIT).unwrap();
    assert_eq!(image.name.as_str(), "vesper_answer");
    assert_eq!(image.vermagic, VERMAGIC.trim_end());
    assert_eq!(*image.bytes, *file);
}

/// What was checked for a signature is what is sent, and not what that would decompress to.
#[test]
fn a_file_is_decompressed_once() {
    let once = gzip(&module());
    assert!(*unpack(gzip(&once), LIMIT).unwrap() == *once, "it was decompressed twice");
    assert!(matches!(prepare(gzip(&once), LIMIT), Err(ImageError::NotElf { .. })));
}

#[test]
fn compressed_modules_become_the_same_image() {
    let file = module();
    for (format, packed) in [("gzip", gzip(&file)), ("xz", xz(&file))] {
        assert_eq!(*prepare(packed, LIMIT).unwrap().bytes, *file, "{format}");
    }
}

/// The same module packed by `xz --check=crc32 --lzma2=dict=1MiB` (as the kernel's own build does), by
/// `zstd --ultra -20` and by `gzip`.
#[test]
fn files_of_the_usual_tools_are_unpacked() {
    let files: [&[u8]; 3] = [
        include_bytes!("testdata/module.ko.xz"),
        include_bytes!("testdata/module.ko.zst"),
        include_bytes!("testdata/module.ko.gz"),
    ];
    let images = files.map(|file| prepare(file.to_vec(), LIMIT).unwrap());
    assert_eq!(images[0].name.as_str(), "vesper_packed");
    assert_eq!(images[0].bytes, images[1].bytes);
    assert_eq!(images[0].bytes, images[2].bytes);
}

#[test]
fn what_is_no_module_is_refused_with_what_was_found() {
    let big_endian = object(Architecture::PowerPc64, Endianness::Big, Some("name=x\0"), 64);
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "the file is empty"),
        ("text", b"#!/bin/sh\n".to_vec(), "not an ELF file: it starts with 23 21 2f 62"),
        ("one byte", vec![0x7f], "not an ELF file: it starts with 7f"),
        ("only the magic", b"\x7fELF".to_vec(), "the class is 0, not 2 (64-bit)"),
        (
            "32 bit",
            object(Architecture::I386, Endianness::Little, Some("name=x\0"), 64),
            "the class is 1, not 2 (64-bit)",
        ),
        ("big endian", big_endian, "the byte order is 2, not 1 (little endian)"),
        (
            "arm64",
            object(Architecture::Aarch64, Endianness::Little, Some("name=x\0"), 64),
            "the machine is 183, not 62 (x86-64)",
        ),
        (
            "executable",
            {
                let mut file = module();
                file[16] = 2;
                file
            },
            "the type is 2, not 1 (relocatable)",
        ),
        (
            "no section headers",
            {
                let mut file = module();
                file[40..48].fill(0);
                file[60..62].fill(0);
                file
            },
            "no section headers",
        ),
        (
            "a section beyond the end",
            with_section_beyond_the_end(),
            "section .text: Invalid ELF section size or offset",
        ),
        (
            "no .modinfo",
            object(Architecture::X86_64, Endianness::Little, None, 64),
            "it has no section .modinfo",
        ),
        (
            "no this_module",
            object(Architecture::X86_64, Endianness::Little, Some("name=x\0vermagic=y\0"), 0),
            "it has no section .gnu.linkonce.this_module",
        ),
        ("no name", module_with("license=GPL\0vermagic=y\0"), "it has no name in .modinfo"),
        ("no vermagic", module_with("license=GPL\0name=y\0"), "it has no vermagic in .modinfo"),
        ("empty name", module_with("name=\0vermagic=y\0"), "a module name cannot be empty"),
        ("slash in the name", module_with("name=../x\0vermagic=y\0"), "\"../x\" holds a character"),
        (
            "name of 56 bytes",
            module_with(&format!("name={}\0vermagic=y\0", "n".repeat(56))),
            "at most 55 bytes, this one has 56",
        ),
        (
            "the frontend",
            module_with("name=vesper_front\0vermagic=y\0"),
            "vesper_front cannot be loaded through itself",
        ),
        ("above the limit", vec![0x7f; LIMIT as usize + 1], "larger than the limit of 1048576 bytes"),
        ("gzip of nothing", gzip(b""), "the file is empty"),
        ("gzip of text", gzip(b"hello"), "not an ELF file: it starts with 68 65 6c 6c"),
        (
            "gzip cut off",
            {
                let mut file = gzip(&module());
                file.truncate(100);
                file
            },
            "the gzip data is damaged or cut off",
        ),
        (
            "xz cut off",
            {
                let mut file = xz(&module());
                file.truncate(100);
                file
            },
            "the xz data is damaged or cut off",
        ),
        (
            "zstd cut off",
            include_bytes!("testdata/module.ko.zst")[..100].to_vec(),
            "the zstd data is damaged or cut off",
        ),
        (
            "zstd with a wrong checksum",
            {
                let mut file = include_bytes!("testdata/module.ko.zst").to_vec();
                *file.last_mut().unwrap() ^= 1;
                file
            },
            "the zstd data is damaged or cut off: the checksum does not match",
        ),
    ];
    for (case, file, wanted) in table {
        let said = message(file);
        assert!(said.contains(wanted), "{case}: said {said:?}, not {wanted:?}");
    }
}

#[test]
fn a_module_cut_anywhere_is_refused() {
    let file = module();
    for part in 0..64 {
        let cut = file.len() * part / 64;
        let said = message(file[..cut].to_vec());
        assert!(!said.is_empty(), "cut at {cut}");
    }
    // And by its last byte only.
    message(file[..file.len() - 1].to_vec());
}

#[test]
fn a_signature_behind_the_object_is_no_damage() {
    let mut file = module();
    file.extend_from_slice(b"signature~Module signature appended~\n");
    assert_eq!(prepare(file.clone(), LIMIT).unwrap().bytes.len(), file.len());
}

#[test]
fn decompression_stops_at_the_limit() {
    let zeros = vec![0; 64 << 20];
    let bombs = [("gzip", gzip(&zeros)), ("xz", xz(&zeros)), ("zstd", zstd_bomb(1 << 17))];
    for (format, bomb) in bombs {
        assert!(bomb.len() as u64 <= LIMIT, "{format}: the bomb is not small: {} bytes", bomb.len());
        assert_eq!(super::decompress::tests::unpacked(&bomb, LIMIT), LIMIT as usize + 1, "{format}");
        let said = message(bomb);
        assert!(said.contains("larger than the limit of 1048576 bytes"), "{format}: {said}");
    }
}

#[test]
fn a_compressed_file_of_exactly_the_limit_is_taken() {
    let file = module();
    let limit = file.len() as u64;
    assert!(prepare(gzip(&file), limit).is_ok());
    assert!(matches!(prepare(gzip(&file), limit - 1), Err(ImageError::TooLarge { .. })));
}

#[test]
fn vermagic_must_be_the_guests() {
    let image = prepare(module(), LIMIT).unwrap();
    image.check_for(VERMAGIC).unwrap();
    image.check_for(VERMAGIC.trim_end()).unwrap();
    let said = image.check_for("6.12.1-amd64 SMP preempt mod_unload modversions ").unwrap_err().to_string();
    assert!(said.contains(VERMAGIC.trim_end()) && said.contains("6.12.1-amd64 SMP"), "{said}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(start in 0usize..5, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let start: &[u8] = [&b""[..], b"\x7fELF\x02\x01\x01", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"][start];
        let _ = prepare([start, &bytes].concat(), 4096);
    }

    #[test]
    fn a_flipped_byte_never_panics(which in 0usize..4, position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut file = match which {
            0 => module(),
            1 => include_bytes!("testdata/module.ko.xz").to_vec(),
            2 => include_bytes!("testdata/module.ko.zst").to_vec(),
            _ => include_bytes!("testdata/module.ko.gz").to_vec(),
        };
        let position = position.index(file.len());
        file[position] = byte;
        let _ = prepare(file, 1 << 16);
    }
}

/// An object file that is nothing but section headers, which all have the same name, that of the whole string table.
fn sections_with_one_name(sections: u64, name: usize) -> Vec<u8> {
    let names = 64 + sections as usize * 64;
    let mut file = vec![0; names + name + 1];
    file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let mut put = |at: usize, value: u64, bytes: usize| {
        file[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    };
    put(16, 1, 2); // e_type: relocatable
    put(18, 62, 2); // e_machine: x86-64
    put(20, 1, 4); // e_version
    put(40, 64, 8); // e_shoff
    put(52, 64, 2); // e_ehsize
    put(58, 64, 2); // e_shentsize
    put(62, 1, 2); // e_shstrndx
    // e_shnum 0: the number is the size of section 0.
    put(64 + 32, sections, 8);
    put(128 + 4, 3, 4); // sh_type: string table
    put(128 + 24, names as u64, 8);
    put(128 + 32, name as u64 + 1, 8);
    file[names..names + name].fill(b'x');
    file
}

/// Every section's name was read to its end once: 524,288 times 31 MiB.
#[test]
fn an_image_that_would_take_long_to_look_at_is_refused() {
    let said = |sections, name| {
        prepare(sections_with_one_name(sections, name), 64 << 20).expect_err("taken as a module").to_string()
    };
    assert_eq!(
        said(524_288, 31 << 20),
        "not a kernel module: it has 524288 sections, at most 65535 are taken"
    );
    assert_eq!(
        said(65_535, 1 << 20),
        "not a kernel module: it has 1048577 bytes of section names, at most 1048576 are taken"
    );
    // The most that is taken is looked at quickly.
    let missing = "not a kernel module: it has no section .gnu.linkonce.this_module";
    assert_eq!(said(65_535, (1 << 20) - 1), missing);
}

#[test]
fn names_of_sections_end_with_a_zero() {
    let mut file = sections_with_one_name(3, 10);
    *file.last_mut().unwrap() = b'x';
    assert_eq!(
        message(file),
        "the file is cut off or damaged: names of the sections: they do not end with a zero"
    );
    let mut file = sections_with_one_name(3, 10);
    file[64 + 2 * 64] = 11; // sh_name of section 2
    assert_eq!(
        message(file),
        "the file is cut off or damaged: name of section 2: it is beyond the names of the sections"
    );
}
