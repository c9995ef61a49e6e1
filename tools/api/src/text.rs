// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest text on a terminal.

use std::fmt::Write;

/// `text` with everything escaped that a terminal could take as a command: control characters (C0, DEL, C1) and the
/// characters that change the direction of text or hide it. A backslash is doubled, so the result is unambiguous.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && c.is_ascii() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || is_invisible(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Format characters that reorder or hide text (Unicode Cf of the blocks below, and the line separators).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn plain_text_stays() {
        assert_eq!(printable("vesper_answer: loaded, answer=42 é"), "vesper_answer: loaded, answer=42 é");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for code in (0..0x20).chain(0x7f..0xa0).chain([0x202e, 0x2066, 0xfeff]) {
            let c = char::from_u32(code).unwrap();
            let shown = printable(&format!("a{c}b"));
            assert!(!shown.contains(c), "U+{code:04X} got through as {shown:?}");
            assert!(shown.starts_with("a\\") && shown.ends_with('b'), "U+{code:04X} became {shown:?}");
        }
    }

    #[test]
    fn a_backslash_is_not_mistaken_for_an_escape() {
        assert_ne!(printable("\\x1b"), printable("\u{1b}"));
    }
}
