// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures that sign-file made, and some that it does not make; certificates.

mod support;

use support::{file, path, signed, signers};
use vesper_signers::{BadCertificate, Signer, Unsigned, signer_of};

/// Who has signed it, or why nobody has.
fn said(image: &[u8], signers: &[Signer]) -> String {
    signer_of(image, signers).map_or_else(|error| error.to_string(), |signer| signer.name().to_owned())
}

#[test]
fn what_sign_file_signs_is_its_signer_s() {
    let all = signers(&["other.pem", "p256.pem", "p384-text.pem", "rsa.der"]);
    for (signature, wanted) in [
        ("sha256", "CN=test rsa,O=VESPER"),
        ("sha384", "CN=test rsa,O=VESPER"),
        ("sha512", "CN=test rsa,O=VESPER"),
        ("key-id", "CN=test rsa,O=VESPER"),
        ("by-openssl", "CN=test rsa,O=VESPER"),
        ("other", "CN=test other,O=VESPER"),
        ("p256", "CN=test p256,O=VESPER"),
        ("p384", "CN=test p384,O=VESPER"),
        ("p384-sha256", "CN=test p384,O=VESPER"),
    ] {
        assert_eq!(said(&signed(signature), &all), wanted, "{signature}");
    }
    assert_eq!(signers(&["rsa.pem", "p384.pem"]), signers(&["rsa.der", "p384-text.pem"]));
}

#[test]
fn who_is_not_listed_is_named() {
    let one = signers(&["rsa.pem"]);
    let serial = " of CN=test other,O=VESPER, whose certificate is not in inject.signers";
    let stranger = said(&signed("other"), &one);
    assert!(stranger.starts_with("it is signed by the holder of serial "), "{stranger}");
    assert!(stranger.ends_with(serial), "{stranger}");
    let stranger = said(&signed("other-key-id"), &one);
    assert!(stranger.starts_with("it is signed by the key "), "{stranger}");
    assert!(stranger.matches(':').count() == 19, "{stranger}");
    assert_eq!(signer_of(&file("module.ko"), &one), Err(Unsigned::NotSigned));
    assert!(matches!(signer_of(&signed("sha256"), &[]), Err(Unsigned::Stranger(_))));
}

/// Whoever can make a certificate can give it any name.
#[test]
fn a_name_is_not_enough() {
    let wanted = "the signature of CN=test rsa,O=VESPER does not fit its bytes: the file was changed after it was signed, or signed with another key";
    assert_eq!(said(&signed("twin"), &signers(&["rsa.pem"])), wanted);
    let both = signers(&["rsa.pem", "twin.pem"]);
    assert_eq!(signer_of(&signed("twin"), &both), Ok(&both[1]));
    assert_eq!(signer_of(&signed("sha256"), &both), Ok(&both[0]));
}

#[test]
fn the_signature_at_the_end_counts_and_is_of_all_before_it() {
    let both = signers(&["rsa.pem", "other.pem"]);
    let twice = [signed("sha256"), file("other.sig")].concat();
    assert!(matches!(signer_of(&twice, &both), Err(Unsigned::Changed(_))));
    let longer = [b"x".to_vec(), signed("sha256")].concat();
    assert!(matches!(signer_of(&longer, &both), Err(Unsigned::Changed(_))));
    let behind = [signed("sha256"), b"\0".to_vec()].concat();
    assert_eq!(signer_of(&behind, &both), Err(Unsigned::NotSigned));
}

#[test]
fn other_signatures_are_refused_with_what_they_are() {
    let all = signers(&["rsa.pem", "other.pem"]);
    for (signature, wanted) in [
        (
            "sha1",
            "its signature has an unknown algorithm: the digest 1.3.14.3.2.26 is not SHA-256, SHA-384 or SHA-512",
        ),
        ("attributes", "it has signed attributes; sign-file makes no such signature"),
        ("content", "it has content of its own; sign-file makes no such signature"),
        ("two", "2 have signed it; sign-file makes no such signature"),
    ] {
        let said = said(&signed(signature), &all);
        assert!(said.ends_with(wanted), "{signature}: {said}");
    }
    // The key that is named is not of the kind that the signature is.
    let mut other = signed("sha256");
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let at = other.windows(rsa.len()).rposition(|bytes| bytes == rsa).unwrap();
    other[at + 8] = 12;
    let wanted = "its signature has an unknown algorithm: 1.2.840.113549.1.1.12 does not go with its digest and the key of CN=test rsa,O=VESPER";
    assert_eq!(said(&other, &all), wanted);
}

#[test]
fn a_certificate_that_is_none_or_too_weak_is_refused() {
    let said = |bytes: &[u8]| Signer::new(bytes).unwrap_err();
    let weak = BadCertificate::Weak { bits: 1024, least: 2048 };
    assert_eq!(said(&file("weak.pem")), weak);
    assert_eq!(weak.to_string(), "a certificate whose RSA key has 1024 bits; 2048 are wanted at least");
    let wanted = "a certificate whose key is on the curve 1.3.132.0.35, not P-256 or P-384";
    assert_eq!(said(&file("p521.pem")).to_string(), wanted);
    let wanted = "a certificate whose key is of the kind 1.3.101.112, neither RSA nor ECDSA";
    assert_eq!(said(&file("ed25519.pem")).to_string(), wanted);
    assert_eq!(said(&[file("rsa.pem"), file("p384.pem")].concat()), BadCertificate::Several(2));
    for bytes in [
        &b""[..],
        b"-----BEGIN ",
        b"group = 1",
        &file("rsa.der")[1..],
        &file("sha256.sig"),
        &file("module.ko"),
    ] {
        assert!(matches!(said(bytes), BadCertificate::Unreadable(_)));
    }
}

/// What editors, `openssl x509 -text` and `openssl pkcs12` leave around a certificate.
#[test]
fn text_around_a_certificate_does_not_matter() {
    let pem = String::from_utf8(file("rsa.pem")).unwrap();
    let wanted = signers(&["rsa.der"]);
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    for (what, text) in [
        ("a blank line behind", format!("{pem}\n")),
        ("text behind", format!("{pem}of the kernel team\n")),
        ("text before", format!("Certificate:\n    Subject: -----BEGIN CERTIFICATE-----\n\n{pem}")),
        ("no end of the last line", pem.trim_end().to_owned()),
        ("lines of another system", pem.replace('\n', "\r\n")),
        ("blanks at ends of lines", pem.replace('\n', " \n")),
        ("another block before", format!("{request}{pem}")),
        ("another block behind", format!("{pem}{request}")),
    ] {
        let found = Signer::new(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, wanted[0], "{what}");
    }
    let said = |text: &str| Signer::new(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(said(request), "no X.509 certificate: there is a CERTIFICATE REQUEST in it");
    assert_eq!(said(&format!("{pem}{request}{pem}")), "2 certificates");
    assert!(said(pem.split("-----END").next().unwrap()).starts_with("no X.509 certificate: "));
}

/// A key has no business in dom0.
#[test]
fn a_private_key_is_refused_by_name() {
    let pem = String::from_utf8(file("rsa.pem")).unwrap();
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let key = format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
        let wanted = format!("a file with a private key in it ({kind})");
        for text in [format!("{key}{pem}"), format!("{pem}{key}"), format!("{key}{pem}{pem}"), key] {
            assert_eq!(Signer::new(text.as_bytes()).unwrap_err().to_string(), wanted);
        }
    }
}

/// A certificate's name is somebody else's text.
#[test]
fn names_do_nothing_to_a_terminal() {
    let mut image = signed("other");
    let at = image.windows(10).rposition(|bytes| bytes == b"test other").unwrap();
    image[at..at + 9].copy_from_slice("\u{9b}2J\x1b\n\u{202e}".as_bytes());
    let said = said(&image, &signers(&["rsa.pem"]));
    assert!(said.contains("CN=\\u{9b}2J\\1b\\0a\\u{202e}r,O=VESPER"), "{said}");
}

/// Beside the fixtures: what this machine's own sign-file makes, where it and openssl are.
#[test]
fn a_module_signed_here_and_now_is_its_signer_s() {
    use std::process::Command;

    let tools: Vec<_> = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|dir| dir.path().join("scripts/sign-file"))
        .filter(|tool| tool.exists())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let [key, certificate, out] = ["key", "certificate", "out.ko"].map(|name| dir.path().join(name));
    let openssl = Command::new("openssl")
        .args([
            "req", "-new", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=here", "-outform", "DER",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if tools.is_empty() || !openssl.is_ok_and(|done| done.status.success()) {
        eprintln!("there is no sign-file or no openssl here: nothing was signed");
        return;
    }
    let signer = [Signer::new(&std::fs::read(&certificate).unwrap()).unwrap()];
    for tool in tools {
        for options in [&["sha256"][..], &["sha384"], &["sha512"], &["-k", "sha256"]] {
            let mut sign = Command::new(&tool);
            sign.args(options).args([&key, &certificate, &path("module.ko"), &out]);
            assert!(sign.status().unwrap().success(), "{sign:?}");
            assert_eq!(said(&std::fs::read(&out).unwrap(), &signer), "CN=here", "{sign:?}");
        }
    }
}
