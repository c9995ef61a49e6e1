// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The listener's pages as the kernel module's C part has them (`xenfront/kmod/vesper_wire.h`) are those of this crate.
//!
//! Needs gcc.
#![cfg(not(any(loom, miri)))]

use std::fmt::Write;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use vesper_ring::wire::listener::{
    BEATS, BUFFER_BYTES, BUFFERS, Consumed, ExportInfo, FINAL, GLOBAL, GRANTS, Heartbeat, NO_CPU, NOT_BEGUN,
    PART, Positions, RECORD_OFFSET, RecordHeader, SCHEMA_BYTES, SUBBUFS, WORDS, WordsHeader, record_flags,
    words_state,
};
use vesper_ring::wire::loader::{DIRECTORY_GRANTS, Directory};
use vesper_ring::wire::{NAME_BYTES, PAGE_SIZE};

/// What the headers say: `support/wire_header.c`, compiled with empty files for the kernel's own headers, and run.
fn of_the_headers() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kmod = here.join("../xenfront/kmod");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wire_header-{}", std::process::id()));
    for header in ["vesper_wire.h", "vesper_front.h", "include/vesper/relay.h"] {
        let text = std::fs::read_to_string(kmod.join(header)).expect("a header of the module");
        for line in text.lines() {
            let kernels = line.strip_prefix("#include <").and_then(|rest| rest.strip_suffix('>'));
            if let Some(name) = kernels {
                let empty = scratch.join(name);
                std::fs::create_dir_all(empty.parent().expect("it has one")).expect("a directory");
                std::fs::write(empty, "").expect("an empty header");
            }
        }
    }
    let program = scratch.join("wire_header");
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Werror", "-Wno-unused-function", "-I"])
        .arg(&scratch)
        .arg("-I")
        .arg(&kmod)
        .arg("-o")
        .arg(&program)
        .arg(here.join("tests/support/wire_header.c"))
        .output()
        .expect("gcc runs (package gcc)");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().expect("the program runs");
    std::fs::remove_dir_all(&scratch).expect("the directory can be removed");
    String::from_utf8(output.stdout).expect("ASCII")
}

/// What this crate says, in the same words.
fn of_this_crate() -> String {
    let mut text = String::new();
    macro_rules! line {
        ($($word:expr),+) => { writeln!(text, "{}", [$($word.to_string()),+].join(" ")).expect("a string takes all") };
    }
    macro_rules! fields {
        ($c:literal, $type:ty, $($name:literal $field:ident $bytes:expr),+) => {
            $(line!(format!("{}.{}", $c, $name), offset_of!($type, $field), $bytes);)+
        };
    }
    line!("VESPER_DIRECTORY_REFS", DIRECTORY_GRANTS);
    line!("sizeof(vesper_directory)", size_of::<Directory>());
    fields!("vesper_directory", Directory, "next" next 4, "ref" gref DIRECTORY_GRANTS * 4);

    line!("VESPER_NAME_BYTES", NAME_BYTES);
    line!("VESPER_EXPORT_NAME", NAME_BYTES - 1);
    line!("VESPER_BUFFERS", BUFFERS);
    line!("VESPER_SCHEMA_BYTES", SCHEMA_BYTES);
    line!("VESPER_SUBBUFS", SUBBUFS);
    line!("VESPER_BUFFER_BYTES", BUFFER_BYTES);
    line!("VESPER_GRANTS", GRANTS);
    line!("VESPER_EXPORT_PART", PART);
    line!("VESPER_EXPORT_GLOBAL", GLOBAL);
    line!("VESPER_NO_CPU", NO_CPU);
    line!("sizeof(vesper_export_info)", size_of::<ExportInfo>());
    fields!("vesper_export_info", ExportInfo,
        "name" name NAME_BYTES, "owner" owner NAME_BYTES, "subbuf_size" subbuf_size 4, "subbufs" subbufs 4,
        "buffers" buffers 4, "flags" flags 4, "pages_per_buffer" pages_per_buffer 4,
        "positions_pages" positions_pages 4, "schema_pages" schema_pages 4, "schema_bytes" schema_bytes 4,
        "reserved" reserved 8, "cpu" cpu BUFFERS * 2);

    line!("VESPER_NOT_BEGUN", NOT_BEGUN);
    line!("VESPER_FINAL", FINAL);
    // From this distance on, the guest does not kick.
    let far = (0..32).map(|bit| 1u32 << bit).find(|&wake| !Consumed { consumed: 0, wake }.wakes_idle(0));
    line!("VESPER_DO_NOT_WAKE", far.expect("there is one"));
    line!("sizeof(vesper_positions)", size_of::<Positions>());
    fields!("vesper_positions", Positions,
        "head" head 8, "dropped" dropped 8, "records" records 8, "state" state 8, "total" total 8,
        "padding" padding 8);

    line!("VESPER_URGENT", record_flags::URGENT);
    line!("VESPER_FATAL", record_flags::FATAL);
    line!("VESPER_TRUNCATED", record_flags::TRUNCATED);
    line!("sizeof(vesper_record_head)", size_of::<RecordHeader>());
    fields!("vesper_record_head", RecordHeader,
        "bytes" bytes 4, "type" event 2, "flags" flags 2, "time" time 8, "seq" seq 8);

    line!("VESPER_WORDS", WORDS);
    line!("VESPER_WORDS_FREE", words_state::FREE);
    line!("VESPER_WORDS_BUSY", words_state::WRITING);
    line!("VESPER_WORDS_DONE", words_state::DONE);
    line!("sizeof(vesper_words)", PAGE_SIZE);
    fields!("vesper_words", WordsHeader, "state" state 4, "bytes" bytes 4, "name" name NAME_BYTES);
    line!("vesper_words.record", RECORD_OFFSET, WordsHeader::RECORD_BYTES);

    line!("VESPER_BEATS", BEATS);
    line!("sizeof(vesper_heartbeat)", size_of::<Heartbeat>());
    fields!("vesper_heartbeat", Heartbeat,
        "beat" beat BEATS * 8, "period" period 8, "words_lost" words_lost 8, "connected" connected 8);
    text
}

#[test]
fn the_module_has_the_same_layout() {
    let (theirs, ours) = (of_the_headers(), of_this_crate());
    for (theirs, ours) in theirs.lines().zip(ours.lines()) {
        assert_eq!(theirs, ours, "the module's header, and this crate");
    }
    assert_eq!(theirs.lines().count(), ours.lines().count());
}
