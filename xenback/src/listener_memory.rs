// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts of the nodes `listener-exports` and `listener-heard`: what a restarted daemon must know of a guest whose
//! listener ring it takes over.
//!
//! `listener-exports`: first `ring GREF PORT`, the ring that it is about; then a line for each export or part of one,
//! `export NUMBER GREF DIRECTORY GRANTS 0|1`, as the guest announced it (1: a part); then `end`. `listener-heard`:
//! `heard BITS FATAL BOOTID`, the places of last words of the frontend with that boot id that need not be heard again, and
//! the guest's clock in the newest record that reported the end.

use std::fmt::Write as _;

use vesper_action::listener::{Heard, Memory};
use vesper_ring::wire::listener::Export;

use crate::line::Ends;

/// Most bytes of the node: what one xenstore message carries, less its path.
const MAX: usize = 3500;
const END: &str = "end\n";

pub(crate) fn encode(ends: Ends, exports: &[Export]) -> String {
    let mut text = format!("ring {} {}\n", ends.ring, ends.port);
    for Export { export, gref, directory, grants, part } in exports {
        let _ = writeln!(text, "export {export} {gref} {directory} {grants} {}", u8::from(*part));
        if text.len() + END.len() > MAX {
            // Without an end it is not taken, and the guest announces its exports anew.
            text.truncate(MAX);
            return text;
        }
    }
    text + END
}

pub(crate) fn decode(bytes: &[u8], ends: Ends) -> Option<Vec<Export>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix(END)?;
    let mut lines = text.lines();
    if lines.next()? != format!("ring {} {}", ends.ring, ends.port) {
        return None;
    }
    lines.map(line).collect()
}

fn line(line: &str) -> Option<Export> {
    let numbers: Vec<u32> =
        line.strip_prefix("export ")?.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let &[export, gref, directory, grants, part @ (0 | 1)] = numbers.as_slice() else { return None };
    Some(Export { export, gref, directory, grants, part: part == 1 })
}

pub(crate) fn encode_heard(memory: &Memory, boot_id: &str) -> String {
    format!("heard {} {} {boot_id}", memory.heard.bits(), memory.fatal_ns)
}

pub(crate) fn decode_heard(bytes: &[u8], boot_id: &str) -> Option<Memory> {
    let mut words = std::str::from_utf8(bytes).ok()?.strip_prefix("heard ")?.splitn(3, ' ');
    let (bits, fatal) = (words.next()?, words.next()?);
    let memory = Memory { heard: Heard::from_bits(bits.parse().ok()?), fatal_ns: fatal.parse().ok()? };
    (words.next()? == boot_id).then_some(memory)
}

#[cfg(test)]
mod tests {
    use vesper_grant::{GrantRef, Port};

    use super::*;

    const ENDS: Ends = Ends { ring: GrantRef(9), port: Port(4) };

    fn export(export: u32, part: bool) -> Export {
        Export { export, gref: u32::MAX, directory: u32::MAX, grants: 65536, part }
    }

    #[test]
    fn exports_go_round() {
        for exports in [vec![], vec![export(1, false), export(u32::MAX, true)], vec![export(7, false); 32]] {
            assert_eq!(decode(encode(ENDS, &exports).as_bytes(), ENDS), Some(exports));
        }
        let memory = Memory { heard: Heard::from_bits(0x81), fatal_ns: u64::MAX };
        let text = encode_heard(&memory, "ab 0");
        assert_eq!(decode_heard(text.as_bytes(), "ab 0"), Some(memory));
        assert_eq!(decode_heard(text.as_bytes(), "ab"), None, "another boot");
    }

    #[test]
    fn what_does_not_fit_or_is_damaged_or_of_another_ring_is_not_taken() {
        let text = encode(ENDS, &vec![export(u32::MAX, true); 200]);
        assert!(text.len() <= MAX);
        assert_eq!(decode(text.as_bytes(), ENDS), None);
        let good = encode(ENDS, &[export(1, false)]);
        assert_eq!(decode(good.as_bytes(), Ends { port: Port(5), ..ENDS }), None);
        for bad in [
            "",
            "end\n",
            "ring 9 4\n",
            "ring 9 4\nexport 1 2 3 4\nend\n",
            "ring 9 4\nexport 1 2 3 4 2\nend\n",
        ] {
            assert_eq!(decode(bad.as_bytes(), ENDS), None, "{bad:?}");
        }
        for bad in ["", "heard 1 2", "heard 256 0 ab", "heard 1 ab"] {
            assert_eq!(decode_heard(bad.as_bytes(), "ab"), None, "{bad:?}");
        }
    }
}
