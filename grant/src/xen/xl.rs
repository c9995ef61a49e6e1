// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain state from `xl list -v` and `xl vcpu-list`, for a Xen whose own interface is not known.
//!
//! The table is what `list_domains` of Xen's `tools/xl/xl_list.c` prints: name, ID, Mem (MiB), VCPUs, six state letters,
//! Time(s), UUID, reason code in hexadecimal (or `-`), label. A name may hold anything, so a line is read from its UUID
//! backwards. The other table is that of `print_vcpuinfo` of `tools/xl/xl_vcpu.c`: name, ID, VCPU, CPU, three state letters,
//! Time(s), affinity; there a line is read from its last five words in a row that can be ID to Time.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{DomId, DomainState, Error, ShutdownReason, VcpuState};

/// `xl` asks xenstored for names, so it can hang where xenstored does.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// All domains in the order of their numbers, as `xl` tells them.
///
/// # Errors
/// [`Error::Xl`] if `xl` cannot be run, takes longer than 10 s, fails, or prints what is not understood.
pub fn domains() -> Result<Vec<DomainState>, Error> {
    run(Command::new("xl").args(["list", "-v"]), TIME_LIMIT).and_then(|text| parse(&text))
}

/// The vCPUs of one domain in the order of their numbers; empty if `xl` does not list it.
///
/// # Errors
/// As for [`domains`].
pub fn vcpus(id: DomId) -> Result<Vec<VcpuState>, Error> {
    // Asked for all: for one that is gone it would fail, as it does for any other reason.
    run(Command::new("xl").arg("vcpu-list"), TIME_LIMIT).and_then(|text| parse_vcpus(&text, id))
}

fn run(command: &mut Command, limit: Duration) -> Result<String, Error> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Error::Xl(format!("cannot be run: {error}")))?;
    let output = child.stdout.take().expect("stdout is piped");
    let text = read_all(output, Instant::now() + limit);
    if text.is_err() {
        // It is gone already, or is to go; either is what is wanted.
        let _ = child.kill();
    }
    let status = wait(&mut child)?;
    let text = text?;
    if !status { Err(Error::Xl("failed".into())) } else { Ok(text) }
}

fn wait(child: &mut Child) -> Result<bool, Error> {
    child.wait().map(|status| status.success()).map_err(|error| Error::Xl(format!("wait: {error}")))
}

fn read_all(mut output: ChildStdout, deadline: Instant) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut part = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Error::Xl("no answer in time".into())),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(Error::Xl(format!("poll: {error}"))),
            Ok(_) => {}
        }
        match output.read(&mut part) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) => return Err(Error::Xl(format!("read: {error}"))),
        }
    }
}

/// Reads the table of `xl list -v`.
///
/// # Errors
/// [`Error::Xl`] with the line that is not understood, control characters escaped.
pub fn parse(text: &str) -> Result<Vec<DomainState>, Error> {
    let mut lines = text.lines();
    match lines.next() {
        Some(head) if head.starts_with("Name") && head.contains("UUID") => {}
        _ => return Err(Error::Xl("no table with UUIDs was printed".into())),
    }
    let mut found = lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            row(line).ok_or_else(|| Error::Xl(format!("line not understood: {}", line.escape_debug())))
        })
        .collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|domain| domain.id);
    Ok(found)
}

/// Reads the lines of one domain in the table of `xl vcpu-list`.
///
/// # Errors
/// [`Error::Xl`] with the line that is not understood, control characters escaped.
pub fn parse_vcpus(text: &str, id: DomId) -> Result<Vec<VcpuState>, Error> {
    let mut lines = text.lines();
    match lines.next() {
        Some(head) if head.starts_with("Name") && head.contains("VCPU") => {}
        _ => return Err(Error::Xl("no table of vCPUs was printed".into())),
    }
    let mut found = lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            vcpu_row(line).ok_or_else(|| Error::Xl(format!("line not understood: {}", line.escape_debug())))
        })
        .filter(|row| row.as_ref().map_or(true, |(domain, ..)| *domain == id))
        .collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|(_, vcpu, _)| *vcpu);
    Ok(found.into_iter().map(|(_, _, state)| state).collect())
}

fn vcpu_row(line: &str) -> Option<(DomId, u32, VcpuState)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(5).rev().find_map(|words| {
        let &[id, vcpu, cpu, letters, seconds] = words else { return None };
        let &[running, blocked, offline] = letters.as_bytes() else { return None };
        let known = matches!(running, b'r' | b'-') && matches!(blocked, b'b' | b'-');
        if !known || !matches!(offline, b'p' | b'-') || (cpu != "-" && cpu.parse::<u32>().is_err()) {
            return None;
        }
        let state = VcpuState {
            online: offline == b'-',
            blocked: blocked == b'b',
            running: running == b'r',
            cpu_time_ns: tenths(seconds)?.checked_mul(100_000_000)?,
        };
        Some((DomId(id.parse().ok()?), vcpu.parse().ok()?, state))
    })
}

fn row(line: &str) -> Option<DomainState> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // The last one: a name may look like a UUID, a label may not.
    let (at, uuid) = words.iter().enumerate().rev().find_map(|(at, word)| Some((at, uuid(word)?)))?;
    let &[id, mebibytes, vcpus, letters, seconds] = words.get(at.checked_sub(5)?..at)? else { return None };
    let &[running, blocked, paused, shut_down, _, dying] = letters.as_bytes() else { return None };
    let set = |letter: u8, name: u8| match letter {
        b'-' => Some(false),
        found if found == name => Some(true),
        _ => None,
    };
    let shutdown = match set(shut_down, b's')? {
        true => Some(ShutdownReason::from_code(u8::from_str_radix(words.get(at + 1)?, 16).ok()?)),
        false => None,
    };
    Some(DomainState {
        id: DomId(id.parse().ok()?),
        uuid,
        running: set(running, b'r')?,
        blocked: set(blocked, b'b')?,
        paused: set(paused, b'p')?,
        dying: set(dying, b'd')?,
        shutdown,
        hvm: None,
        vcpus_online: vcpus.parse().ok()?,
        cpu_time_ns: tenths(seconds)?.checked_mul(100_000_000)?,
        pages: mebibytes.parse::<u64>().ok()?.checked_mul(256)?,
    })
}

/// `12.3` as 123.
fn tenths(seconds: &str) -> Option<u64> {
    let (whole, tenth) = seconds.split_once('.')?;
    let tenth: u64 = if tenth.len() == 1 { tenth.parse().ok()? } else { return None };
    whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(tenth)
}

fn uuid(word: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    if word.len() != 36 || !word.bytes().enumerate().all(|(at, byte)| dashes.contains(&at) == (byte == b'-'))
    {
        return None;
    }
    let digits: String = word.chars().filter(|&letter| letter != '-').collect();
    // `parse` would take a sign, so look at the digits first.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label
Domain-0                                     0  1024     2     r-----      31.4 00000000-0000-0000-0000-000000000000        -                -
a 0 name                                    12   128     1     ---sc-       2.0 5e7ad1c2-0102-0304-0506-0708090a0b0c        3                -
zombie                                       3     0     1     --p--d       0.1 5e7ad1c2-0102-0304-0506-0708090a0b0d        -                -
";

    #[test]
    fn the_table_is_read() {
        let found = parse(TABLE).unwrap();
        assert_eq!(found.iter().map(|domain| domain.id.0).collect::<Vec<_>>(), [0, 3, 12]);
        let [dom0, zombie, crashed] = found.as_slice() else { panic!() };
        assert!(dom0.running && dom0.shutdown.is_none());
        assert_eq!((dom0.vcpus_online, dom0.cpu_time_ns, dom0.pages), (2, 31_400_000_000, 262_144));
        assert!(zombie.paused && zombie.dying && !zombie.blocked);
        assert_eq!(crashed.shutdown, Some(ShutdownReason::Crash));
        assert_eq!(crashed.uuid, [0x5e, 0x7a, 0xd1, 0xc2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    const VCPUS: &str = "\
Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)
Domain-0                             0     0    1   r--      31.4  all / all
a 7 1 0 r-- 9.9 name                 7     1    -   --p       0.0  all / all
a 7 1 0 r-- 9.9 name                 7     0    0   -b-       2.5  0-3,5 / all
";

    #[test]
    fn the_table_of_vcpus_is_read() {
        let found = parse_vcpus(VCPUS, DomId(7)).unwrap();
        let asleep = VcpuState { online: true, blocked: true, running: false, cpu_time_ns: 2_500_000_000 };
        assert_eq!(found, [asleep, VcpuState::default()]);
        assert!(parse_vcpus(VCPUS, DomId(0)).unwrap()[0].running);
        assert_eq!(parse_vcpus(VCPUS, DomId(8)).unwrap(), []);
        assert!(parse_vcpus(&VCPUS.replace("r--      31", "rx-      31"), DomId(7)).is_err());
        assert!(parse_vcpus("", DomId(0)).is_err());
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_escaped() {
        let broken = TABLE.replace("--p--d", "--x--d").replace("zombie", "zom\x1bbie");
        let error = parse(&broken).unwrap_err().to_string();
        assert!(error.contains("zom\\u{1b}bie"), "{error}");
        assert!(parse("").is_err() && parse("xl: command failed\n").is_err());
        assert!(parse(&TABLE.replace("5e7ad1c2-", "+e7ad1c2-")).is_err());
    }

    #[test]
    fn a_command_that_hangs_is_given_up() {
        let error = run(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }

    #[test]
    fn a_command_that_fails_is_an_error() {
        assert!(run(&mut Command::new("false"), TIME_LIMIT).unwrap_err().to_string().contains("failed"));
        assert!(
            run(&mut Command::new("/nonexistent/xl"), TIME_LIMIT).unwrap_err().to_string().contains("be run")
        );
    }
}
