// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The pages of an export: descriptor, directory, what lies where.
#![cfg(not(loom))]

use proptest::prelude::*;
use vesper_ring::wire::listener::{
    BUFFERS, BadExport, Chain, Descriptor, Export, ExportInfo, ExportName, GLOBAL, GRANTS, Geometry, NO_CPU,
};
use vesper_ring::wire::{BadName, NAME_BYTES, Name, PAGE_SIZE, bytes_of, from_bytes};

fn name(text: &str) -> ExportName {
    ExportName::new(text).expect("a good name")
}

/// The EXPORT that goes with the descriptor.
fn export(descriptor: &Descriptor) -> Export {
    Export { export: 1, gref: 8, directory: 9, grants: descriptor.grants(), part: false }
}

/// Sizes of all magnitudes, the limits among them.
fn geometry(buffers: u32) -> impl Strategy<Value = Geometry> {
    let subbufs = prop_oneof![1u32..9, (0u32..17).prop_map(|log| 1 << log), 1u32..=65536];
    (subbufs, any::<u32>(), 0u32..26).prop_map(move |(subbufs, size, log)| {
        let most = (32 << 20) / subbufs;
        Geometry::new(1 + size % most.min(1 << log), subbufs, buffers).expect("within the limits")
    })
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let cpus = prop_oneof![
        Just(vec![]),
        proptest::collection::btree_set(0u16..NO_CPU, 1..20).prop_map(|cpus| cpus.into_iter().collect()),
        Just((0..512).collect::<Vec<u16>>()),
    ];
    cpus.prop_flat_map(|cpus| {
        let geometry = geometry(cpus.len().max(1) as u32);
        (Just(cpus), geometry, "[A-Za-z0-9_-]{1,55}", proptest::option::of("[!-.0-~]{3,55}"), 0u32..=16384)
    })
    .prop_filter_map("too many pages", |(cpus, geometry, text, owner, schema)| {
        let owner = owner.map(|owner| Name::new(&owner).expect("a good name"));
        Descriptor::new(name(&text), owner, geometry, &cpus, schema).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 1000 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_descriptor_that_was_made_comes_back(descriptor in descriptor()) {
        let info: ExportInfo = from_bytes(bytes_of(&descriptor.info())).unwrap();
        prop_assert_eq!(info.check(&export(&descriptor)), Ok(descriptor));
    }

    #[test]
    fn no_bit_of_a_descriptor_goes_unseen(descriptor in descriptor(), bit in 0..size_of::<ExportInfo>() * 8, early in 0..152usize * 8) {
        for bit in [bit, early] {
            let mut bytes = bytes_of(&descriptor.info()).to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other: ExportInfo = from_bytes(&bytes).unwrap();
            let other = other.check(&export(&descriptor));
            prop_assert_ne!(&other, &Ok(descriptor.clone()));
            // What passes all the same says what it says.
            if let Ok(other) = other {
                prop_assert!(bytes_of(&other.info()) == bytes, "{other:?}");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), size_of::<ExportInfo>()), small in any::<[u16; 8]>(), grants: u32) {
        let mut info: ExportInfo = from_bytes(&bytes).unwrap();
        let export = Export { export: 1, gref: 1, directory: 1, grants, part: false };
        let _ = info.check(&export);
        // Further in.
        (info.name, info.owner, info.reserved) = (*name("a").as_wire(), [0; NAME_BYTES], 0);
        (info.flags, info.buffers, info.cpu) = (u32::from(small[0] & 1), u32::from(small[1] % 4), [0; BUFFERS as usize]);
        (info.subbuf_size, info.subbufs) = (small[2].into(), small[3].into());
        (info.pages_per_buffer, info.positions_pages) = (small[4].into(), small[5].into());
        (info.schema_pages, info.schema_bytes) = (u32::from(small[6] % 8), small[7].into());
        info.cpu[1] = small[0];
        let _ = info.check(&export);
    }

    /// Nothing overlaps, nothing lies outside, and what is counted is what there is.
    #[test]
    fn everything_has_its_place(geometry in geometry(7), number: u64) {
        let bytes = u64::from(geometry.subbuf_size()) * u64::from(geometry.subbufs());
        prop_assert_eq!(u64::from(geometry.buffer_bytes()), bytes);
        prop_assert_eq!(u64::from(geometry.pages_per_buffer()), bytes.div_ceil(PAGE_SIZE as u64));
        let stride = (64 + 8 * geometry.subbufs() as usize).next_multiple_of(64);
        prop_assert_eq!(geometry.stride() as usize, stride);
        for buffer in 0..7 {
            prop_assert_eq!(geometry.positions(buffer), Some(buffer as usize * stride));
        }
        prop_assert_eq!(geometry.positions(7), None);
        prop_assert_eq!(geometry.positions_pages() as usize, (7 * stride).div_ceil(PAGE_SIZE));
        let place = (u128::from(number) % u128::from(geometry.subbufs())) as usize;
        prop_assert_eq!(geometry.sub(number), 64 + 8 * place);
        prop_assert!(geometry.sub(number) + 8 <= stride);
        prop_assert_eq!(geometry.bytes(number), place * geometry.subbuf_size() as usize);
        let own = geometry.positions_pages() + 1 + 7 * geometry.pages_per_buffer();
        prop_assert_eq!(geometry.grants(0), u64::from(own));
        prop_assert_eq!(geometry.grants(4097), u64::from(own) + 2);
    }

    #[test]
    fn ranges_follow_each_other(descriptor in descriptor()) {
        prop_assert_eq!(descriptor.positions().start, 0);
        prop_assert_eq!(descriptor.positions().end, descriptor.consumed().start);
        prop_assert_eq!(descriptor.consumed().len(), 1);
        prop_assert_eq!(descriptor.consumed().end, descriptor.schema().start);
        prop_assert_eq!(descriptor.schema().len(), (descriptor.schema_bytes() as usize).div_ceil(PAGE_SIZE));
        prop_assert_eq!(descriptor.schema().end, descriptor.data().start);
        prop_assert_eq!(descriptor.data().len() as u32, descriptor.geometry().data_pages());
        prop_assert_eq!(descriptor.data().end as u32, descriptor.grants());
        prop_assert!(descriptor.grants() <= GRANTS);
        prop_assert_eq!(descriptor.cpus().count() as u32, descriptor.geometry().buffers());
    }

    /// However the grants are spread, the chain gives them in order and ends by itself.
    #[test]
    fn a_chain_lists_all_grants(grants in prop_oneof![1u32..5, 1020u32..1030, 2040u32..2050, 1u32..=65536], first: u32) {
        let grants_of = |page: u32| (page * 1023..grants.min((page + 1) * 1023)).map(|n| 1 + (first.wrapping_add(n) >> 1));
        let mut chain = Chain::new(&Export { export: 1, gref: 1, directory: 500, grants, part: false });
        let mut listed = vec![];
        for page in 0..grants.div_ceil(1023) {
            prop_assert_eq!(chain.page(), Some(500 + page));
            let next = if grants_of(page + 1).next().is_some() { 501 + page } else { 0 };
            listed.extend(chain.list(&directory(next, grants_of(page))).unwrap());
        }
        prop_assert_eq!(chain.page(), None);
        let all: Vec<u32> = (0..grants.div_ceil(1023)).flat_map(grants_of).collect();
        prop_assert_eq!(listed, all);
    }
}

fn directory(next: u32, grants: impl Iterator<Item = u32>) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    for (to, from) in page.chunks_exact_mut(4).zip(std::iter::once(next).chain(grants)) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    page
}

#[test]
fn a_chain_that_is_none_is_refused() {
    let export = Export { export: 1, gref: 1, directory: 5, grants: 1024, part: false };
    let full = |next| directory(next, 1..=1023);
    let refusal = |pages: &[[u8; PAGE_SIZE]]| {
        let mut chain = Chain::new(&export);
        let refused = pages.iter().find_map(|page| chain.list(page).err());
        assert_eq!(chain.page(), None, "it goes on after {refused:?}");
        refused
    };
    assert_eq!(refusal(&[full(0)]), Some(BadExport::ShortDirectory));
    assert_eq!(refusal(&[full(6), directory(7, 1..=1)]), Some(BadExport::LongDirectory(7)));
    assert_eq!(refusal(&[full(6), directory(0, 0..=0)]), Some(BadExport::NoGrant));
    assert_eq!(refusal(&[directory(6, (1..=1023).map(|n| n % 1023))]), Some(BadExport::NoGrant));
    assert_eq!(
        refusal(&[full(6), directory(0, [1, 0].into_iter())]),
        None,
        "what lies behind is not looked at"
    );
    assert_eq!(
        refusal(&[full(5), full(0)]),
        None,
        "a page may be listed again: it is the guest's own affair"
    );
}

#[test]
fn each_bad_descriptor_has_its_refusal() {
    let geometry = Geometry::new(4096, 8, 2).unwrap();
    let owner = Some(Name::new("probe").unwrap());
    let good = Descriptor::new(name("panic"), owner, geometry, &[0, 3], 100).unwrap();
    let info = good.info();
    let one = Geometry::new(4096, 8, 1).unwrap();
    let global = Descriptor::new(name("panic"), owner, one, &[], 100).unwrap().info();
    let with = |first: &[u8]| {
        let mut name = [0; NAME_BYTES];
        name[..first.len()].copy_from_slice(first);
        name
    };
    let cpus = |first: &[u16]| {
        let mut cpu = [0; BUFFERS as usize];
        cpu[..first.len()].copy_from_slice(first);
        cpu
    };
    let size = |subbuf_size, subbufs| BadExport::Size { subbuf_size, subbufs };
    let pages = |field, says, needs| BadExport::Pages { field, says, needs };
    let cases = [
        ("no name", ExportInfo { name: with(b""), ..info }, BadExport::Name(BadName::Empty)),
        ("a dot", ExportInfo { name: with(b"a.b"), ..info }, BadExport::Name(BadName::Byte(b'.'))),
        ("a slash", ExportInfo { name: with(b"a/b"), ..info }, BadExport::Name(BadName::Byte(b'/'))),
        ("open name", ExportInfo { name: [b'a'; 56], ..info }, BadExport::Name(BadName::TooLong)),
        ("bad owner", ExportInfo { owner: with(b"a b"), ..info }, BadExport::Owner(BadName::Byte(b' '))),
        ("flags", ExportInfo { flags: 2, ..info }, BadExport::Flags(2)),
        ("reserved", ExportInfo { reserved: 1, ..info }, BadExport::Unused("reserved")),
        ("no sub-buffer", ExportInfo { subbufs: 0, ..info }, size(4096, 0)),
        ("no bytes", ExportInfo { subbuf_size: 0, ..info }, size(0, 8)),
        ("too many", ExportInfo { subbuf_size: 1, subbufs: 65537, ..info }, size(1, 65537)),
        ("too large", ExportInfo { subbuf_size: (4 << 20) + 1, ..info }, size((4 << 20) + 1, 8)),
        ("overflow", ExportInfo { subbuf_size: 1 << 31, ..info }, size(1 << 31, 8)),
        ("no buffer", ExportInfo { buffers: 0, cpu: cpus(&[]), ..info }, BadExport::Buffers(0)),
        ("513 buffers", ExportInfo { buffers: 513, ..info }, BadExport::Buffers(513)),
        ("CPU twice", ExportInfo { cpu: cpus(&[3, 3]), ..info }, BadExport::Cpu(3)),
        ("CPUs descending", ExportInfo { cpu: cpus(&[3, 0]), ..info }, BadExport::Cpu(0)),
        ("a CPU that is none", ExportInfo { cpu: cpus(&[3, NO_CPU]), ..info }, BadExport::Cpu(NO_CPU)),
        ("CPU of no buffer", ExportInfo { cpu: cpus(&[0, 3, 4]), ..info }, BadExport::Unused("cpu")),
        ("global of two", ExportInfo { flags: GLOBAL, ..info }, BadExport::Cpu(0)),
        ("global of a CPU", ExportInfo { cpu: cpus(&[1]), ..global }, BadExport::Cpu(1)),
        ("not global", ExportInfo { flags: 0, ..global }, BadExport::Cpu(NO_CPU)),
        ("schema too large", ExportInfo { schema_bytes: 16385, ..info }, BadExport::Schema(16385)),
        ("schema pages", ExportInfo { schema_pages: 0, ..info }, pages("schema_pages", 0, 1)),
        ("buffer pages", ExportInfo { pages_per_buffer: 9, ..info }, pages("pages_per_buffer", 9, 8)),
        ("positions", ExportInfo { positions_pages: 2, ..info }, pages("positions_pages", 2, 1)),
        (
            "more pages than one EXPORT takes",
            ExportInfo {
                subbuf_size: 32 << 20,
                subbufs: 1,
                buffers: 8,
                cpu: cpus(&[0, 1, 2, 3, 4, 5, 6, 7]),
                ..info
            },
            pages("grants", 65536, 8 * 8192 + 3),
        ),
    ];
    for (what, info, refusal) in cases {
        assert_eq!(info.check(&export(&good)), Err(refusal), "{what}");
        assert!(!refusal.to_string().is_empty());
    }
    let fewer = Export { grants: 18, ..export(&good) };
    assert_eq!(info.check(&fewer), Err(pages("grants", 18, 19)));
}

#[test]
fn a_part_is_like_its_export() {
    let geometry = Geometry::new(4096, 8, 1).unwrap();
    let make = |text, owner: Option<&str>, geometry, cpus: &[u16], schema| {
        let owner = owner.map(|owner| Name::new(owner).unwrap());
        Descriptor::new(name(text), owner, geometry, cpus, schema).unwrap()
    };
    let first = make("panic", Some("probe"), geometry, &[0], 100);
    let other = |subbuf_size, subbufs| Geometry::new(subbuf_size, subbufs, 1).unwrap();
    let cases = [
        ("", make("panic", Some("probe"), geometry, &[1], 0)),
        ("name", make("panic2", Some("probe"), geometry, &[1], 0)),
        ("owner", make("panic", None, geometry, &[1], 0)),
        ("sub-buffer size", make("panic", Some("probe"), other(2048, 8), &[1], 0)),
        ("number of sub-buffers", make("panic", Some("probe"), other(4096, 4), &[1], 0)),
        ("schema", make("panic", Some("probe"), geometry, &[1], 1)),
        ("set of CPUs", make("panic", Some("probe"), geometry, &[], 0)),
    ];
    for (what, part) in cases {
        let expected = if what.is_empty() { Ok(()) } else { Err(BadExport::Part(what)) };
        assert_eq!(part.check_part_of(&first), expected);
    }
}

#[test]
fn a_name_of_an_export_is_stricter() {
    assert_eq!(name("vesper_Probe-1").as_str(), "vesper_Probe-1");
    assert_eq!(ExportName::new(&"x".repeat(55)).map(|name| name.as_str().len()), Ok(55));
    assert_eq!(ExportName::new(&"x".repeat(56)), Err(BadName::TooLong));
    assert_eq!(ExportName::new(""), Err(BadName::Empty));
    for byte in 1..=127u8 {
        let good = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let text = String::from_utf8(vec![b'a', byte]).unwrap();
        assert_eq!(ExportName::new(&text).is_ok(), good, "{text:?}");
    }
}
