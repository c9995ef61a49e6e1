// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of the node `loader-memory`: what a restarted daemon must know of a guest whose ring it takes over.
//!
//! One line each: `in RUN SEQ NAME` for a module that is in, `at RUN SEQ load|unload NAME` for the command that the
//! guest works on, `told RUN SEQ` for the one whose result was taken in last. RUN is hexadecimal. The last line is
//! `end`; without it the list did not fit.

use std::fmt::Write as _;

use vesper_action::{CommandId, LoadedModule, Memory, ModuleName, SentCommand};

/// Most bytes of the node: what one xenstore message carries, less its path.
const MAX: usize = 3500;
const END: &str = "end\n";

pub(crate) fn encode(memory: &Memory) -> String {
    let mut text = String::new();
    if let Some(SentCommand { id, load, name }) = &memory.current {
        let verb = if *load { "load" } else { "unload" };
        let _ = writeln!(text, "at {:x} {} {verb} {name}", id.run, id.seq);
    }
    if let Some(id) = memory.last_result {
        let _ = writeln!(text, "told {:x} {}", id.run, id.seq);
    }
    for LoadedModule { name, command } in &memory.modules {
        let line = format!("in {:x} {} {name}\n", command.run, command.seq);
        if text.len() + line.len() + END.len() > MAX {
            return text;
        }
        text.push_str(&line);
    }
    text + END
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Memory> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix(END)?;
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let run = u64::from_str_radix(words.next()?, 16).ok()?;
        let id = CommandId { run, seq: words.next()?.parse().ok()? };
        let mut name = || ModuleName::new(words.next()?).ok();
        match kind {
            "in" => memory.modules.push(LoadedModule { name: name()?, command: id }),
            "at" => {
                let load = match words.next()? {
                    "load" => true,
                    "unload" => false,
                    _ => return None,
                };
                memory.current = Some(SentCommand { id, load, name: ModuleName::new(words.next()?).ok()? });
            }
            "told" => memory.last_result = Some(id),
            _ => return None,
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(seq: u64, name: &str) -> LoadedModule {
        LoadedModule { name: ModuleName::new(name).unwrap(), command: CommandId { run: u64::MAX, seq } }
    }

    #[test]
    fn memory_goes_round() {
        let current = SentCommand {
            id: CommandId { run: 7, seq: 9 },
            load: false,
            name: ModuleName::new("probe_b").unwrap(),
        };
        let last_result = Some(CommandId { run: 7, seq: 8 });
        for (current, last_result) in [(None, None), (Some(current), last_result)] {
            let modules = vec![module(1, "probe_a"), module(2, "probe_b")];
            let memory = Memory { modules, current, last_result };
            assert_eq!(decode(encode(&memory).as_bytes()), Some(memory));
        }
    }

    #[test]
    fn what_does_not_fit_or_is_damaged_is_not_taken() {
        let modules = (0..100).map(|seq| module(seq, &"x".repeat(55))).collect();
        let text = encode(&Memory { modules, ..Memory::default() });
        assert!(text.len() <= MAX);
        assert_eq!(decode(text.as_bytes()), None);
        for bad in
            ["", "in 1 2 a\n", "in x 2 a\nend\n", "in 1 2 a/b\nend\n", "at 1 2 stop a\nend\n", "\u{1}end\n"]
        {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
