// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire protocol against Xen's own header `xen/io/xs_wire.h` (package libxen-dev), compiled here and now.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use vesper_xenstore::wire::{ERRORS, HEADER_LEN, Header, Kind, PAYLOAD_MAX};

/// Compiles and runs a program that prints `name=value` for every expression.
fn ask_header(expressions: &[String]) -> BTreeMap<String, u64> {
    let mut source = String::from(
        "#include <errno.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n\
         #include <xen/io/xs_wire.h>\nint main(void)\n{\n",
    );
    for expression in expressions {
        writeln!(source, "\tprintf(\"%s=%llu\\n\", \"{expression}\", (unsigned long long)({expression}));")
            .expect("writing to a string");
    }
    source.push_str(
        "\tfor (size_t at = 0; at < sizeof(xsd_errors) / sizeof(xsd_errors[0]); at++)\n\
         \t\tprintf(\"error %s=%d\\n\", xsd_errors[at].errstring, xsd_errors[at].errnum);\n\treturn 0;\n}\n",
    );
    let dir = tempfile::TempDir::new().expect("temporary directory");
    let (c_file, program) = (dir.path().join("ask.c"), dir.path().join("ask"));
    std::fs::write(&c_file, source).expect("C file");
    let gcc =
        Command::new("gcc").arg("-o").args([&program, &c_file]).output().expect("gcc must be installed");
    assert!(gcc.status.success(), "gcc (is libxen-dev installed?): {}", String::from_utf8_lossy(&gcc.stderr));
    let output = Command::new(&program).output().expect("the compiled program runs");
    String::from_utf8(output.stdout)
        .expect("ASCII")
        .lines()
        .map(|line| line.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

#[test]
fn numbers_are_those_of_the_header() {
    let mut expected: BTreeMap<String, u64> =
        Kind::ALL.iter().map(|&(kind, name)| (name.to_owned(), kind as u32 as u64)).collect();
    expected.insert("sizeof(struct xsd_sockmsg)".into(), HEADER_LEN as u64);
    expected.insert("XENSTORE_PAYLOAD_MAX".into(), PAYLOAD_MAX as u64);
    // Where `Header::encode` puts each field.
    let marks = [("type", 0x11), ("req_id", 0x22), ("tx_id", 0x33), ("len", 0x44)];
    let bytes = Header { kind: 0x11, req_id: 0x22, tx_id: 0x33, len: 0x44 }.encode();
    for (field, mark) in marks {
        let at = bytes.chunks_exact(4).position(|word| word == u32::to_ne_bytes(mark)).expect("every field");
        expected.insert(format!("offsetof(struct xsd_sockmsg, {field})"), 4 * at as u64);
        expected.insert(format!("sizeof(((struct xsd_sockmsg *)0)->{field})"), 4);
    }
    // The ring page that the tests' guests use.
    let ring =
        [("req_cons", 2048), ("req_prod", 2052), ("rsp_cons", 2056), ("rsp_prod", 2060), ("rsp", 1024)];
    for (field, at) in ring {
        expected.insert(format!("offsetof(struct xenstore_domain_interface, {field})"), at);
    }
    let mut found = ask_header(&expected.keys().cloned().collect::<Vec<_>>());
    let errors: BTreeMap<String, u64> =
        ERRORS.iter().map(|&(name, errno)| (format!("error {name}"), errno as u64)).collect();
    expected.extend(errors);
    // Both ways: the header has no error that is missing here.
    for (name, value) in &expected {
        assert_eq!(found.remove(name), Some(*value), "{name}");
    }
    assert!(found.is_empty(), "the header has more: {found:?}");
}

#[test]
fn every_kind_is_found_by_its_number() {
    for &(kind, _) in Kind::ALL {
        assert_eq!(Kind::from_number(kind as u32), Some(kind));
    }
    let known = (0..=u32::from(u16::MAX)).filter(|&number| Kind::from_number(number).is_some()).count();
    assert_eq!(known, Kind::ALL.len());
}
