// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged signatures and certificates, and bytes that are neither: none is taken, and none does harm.

mod support;

use proptest::prelude::*;
use support::{file, signed, signers};
use vesper_signers::{Signer, Unsigned, signer_of};

fn any_signature() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        "sha256",
        "sha512",
        "key-id",
        "p256",
        "p384",
        "other",
        "content",
        "two",
        "attributes",
    ])
    .prop_map(signed)
}

/// As the tests of this file list them.
fn listed() -> Vec<Signer> {
    signers(&["rsa.pem", "p256.pem", "p384.pem"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// One bit anywhere: nobody has signed that. The bytes between the module and the signature itself are not signed, and some of them say
    /// nothing; whoever has signed it is the same then.
    #[test]
    fn any_other_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8, which in 0..4_usize) {
        let whole = signed(["sha256", "key-id", "p256", "p384"][which]);
        let listed = listed();
        let signer = signer_of(&whole, &listed);
        prop_assert!(signer.is_ok());
        let (module, end) = (file("module.ko").len(), whole.len());
        for (of, at) in [("module", at.index(module)), ("signature", end - 41 - at.index(60)), ("end", end - 40 + at.index(40))] {
            let mut image = whole.clone();
            image[at] ^= 1_u8 << bit;
            prop_assert!(signer_of(&image, &listed).is_err(), "bit {bit} of byte {at}: the {of}");
        }
        let mut image = whole.clone();
        image[module + at.index(end - module)] ^= 1_u8 << bit;
        if let Ok(other) = signer_of(&image, &listed) {
            prop_assert_eq!(Ok(other), signer);
        }
    }

    /// The same, and no panic, with less of the file, several other bytes, and any length said.
    #[test]
    fn damaged_signatures_are_refused(
        image in any_signature(),
        cut in any::<prop::sample::Index>(),
        begin in any::<bool>(),
        others in prop::collection::vec((0..800_usize, any::<u8>()), 1..8),
        length in prop_oneof![Just(None), any::<u32>().prop_map(Some), (0..3000_u32).prop_map(Some)],
    ) {
        let cut = cut.index(image.len());
        let part = if begin { &image[cut + 1..] } else { &image[..cut] };
        prop_assert!(signer_of(part, &listed()).is_err(), "cut at {cut}");
        let mut image = image;
        let end = image.len();
        for (from_end, byte) in others {
            image[end - 1 - from_end] = byte;
        }
        if let Some(length) = length {
            image[end - 32..end - 28].copy_from_slice(&length.to_be_bytes());
        }
        // Whether it is still one does not matter here.
        let _ = signer_of(&image, &listed());
    }

    /// Lengths inside the DER, of one byte and of several.
    #[test]
    fn lengths_in_a_signature_are_not_believed(
        image in any_signature(),
        at in any::<prop::sample::Index>(),
        length in prop::sample::select(vec![&[0x80][..], &[0x7f], &[0x82, 0xff, 0xff], &[0x84, 0xff, 0xff, 0xff, 0xff], &[0x84, 0x7f, 0xff, 0xff, 0xff]]),
    ) {
        let begin = file("module.ko").len();
        let mut image = image;
        let at = begin + at.index(image.len() - begin - 40 - length.len());
        image[at..at + length.len()].copy_from_slice(length);
        let _ = signer_of(&image, &listed());
    }

    #[test]
    fn any_bytes_are_no_signature(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let length = (bytes.len() as u32).to_be_bytes();
        let image = [&bytes[..], &[0, 0, 2, 0, 0, 0, 0, 0], &length, b"~Module signature appended~\n"].concat();
        prop_assert!(signer_of(&image, &listed()).is_err());
        prop_assert!(Signer::new(&bytes).is_err());
    }

    #[test]
    fn damaged_certificates_do_no_harm(
        which in 0..3_usize,
        others in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = file(["rsa.der", "rsa.pem", "p384.pem"][which]);
        prop_assert!(which > 0 || Signer::new(&bytes[..cut.index(bytes.len())]).is_err());
        for (at, byte) in others {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(signer) = Signer::new(&bytes) {
            let _ = signer_of(&signed("sha256"), &[signer]);
        }
    }
}

/// Much in a signature's sets does not keep the daemon busy.
#[test]
fn a_signature_with_many_members_is_refused_soon() {
    let began = std::time::Instant::now();
    // SignedData whose digest algorithms are as many empty sequences as fit, wrongly sorted as far as possible.
    let of =
        |tag: u8, content: &[u8]| [&[tag, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat();
    let members: Vec<u8> = (0..2300_u16)
        .rev()
        .flat_map(|number| {
            let oid = [0x2a, (number / 128) as u8 | 0x80, (number % 128) as u8];
            [&[0x30, 5, 6, 3][..], &oid].concat()
        })
        .collect();
    let data = of(0x30, &[&[2, 1, 1][..], &of(0x31, &members)].concat());
    let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let info = of(0x30, &[&oid[..], &of(0xa0, &data)].concat());
    assert!(info.len() < 16 << 10);
    let length = (info.len() as u32).to_be_bytes();
    let image = [&info[..], &[0, 0, 2, 0, 0, 0, 0, 0], &length, b"~Module signature appended~\n"].concat();
    assert!(matches!(signer_of(&image, &listed()), Err(Unsigned::Unreadable(_))));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
