// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The C that probes run through (`kmod/vesper_positions.c`, `kmod/vesper_record.c`), in a process of its own, read by
//! the real mirror while it writes. Needs gcc.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use vesper_relay_mirror::{Channel, Geometry, Lost, Next, Overwritten, Reader, Region, Regions, Start};

const WRITES: u64 = 60_000;
/// Bytes of a record before its payload.
const HEAD: usize = 24;

/// `guest.c` with the module's C, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (kmod, tests) = (here.join("kmod"), here.join("tests/kmod"));
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kmod-{}", std::process::id()));
        let sources = ["vesper_positions.c", "vesper_record.c"];
        let headers = ["vesper_exports.h", "vesper_front.h", "vesper_wire.h", "include/vesper/relay.h"];
        for file in sources.iter().chain(&headers) {
            empty_headers(&kmod.join(file), &scratch);
        }
        let program = scratch.join("guest");
        let compiled = Command::new("gcc")
            .args(["-std=gnu11", "-O2", "-Wall", "-Werror", "-include"])
            .arg(tests.join("kernel.h"))
            .arg("-I")
            .arg(&scratch)
            .arg("-I")
            .arg(&kmod)
            .arg("-o")
            .arg(&program)
            .arg(tests.join("guest.c"))
            .args(sources.map(|file| kmod.join(file)))
            .output()
            .expect("gcc runs (package gcc)");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        program
    })
}

/// Empty files in place of the kernel's headers that this file wants.
fn empty_headers(file: &Path, scratch: &Path) {
    let text = fs::read_to_string(file).expect("a source of the module");
    for name in text.lines().filter_map(|line| line.strip_prefix("#include <")?.strip_suffix('>')) {
        let empty = scratch.join(name);
        fs::create_dir_all(empty.parent().expect("it has one")).expect("a directory");
        fs::write(empty, "").expect("an empty header");
    }
}

/// A piece of the guest's file.
struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: an address; what is done through it is the mirror's to justify.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}
// SAFETY: a shared mapping that lives as long as the value and that nothing else here knows.
unsafe impl Region for Mapped {
    fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: what was mapped, whole; the mirror is done with it.
        unsafe { munmap(self.start.cast(), self.len) }.expect("it is mapped");
    }
}

/// Maps so many pages and moves on behind them.
fn map(file: &File, at: &mut usize, pages: u32) -> Box<dyn Region> {
    let len = pages as usize * 4096;
    let (bytes, both) =
        (NonZeroUsize::new(len).expect("pages"), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let start = unsafe { mmap(None, bytes, both, MapFlags::MAP_SHARED, file, *at as i64) }.expect("mapped");
    *at += len;
    Box::new(Mapped { start: start.cast(), len })
}

/// What the guest said at its end.
#[derive(Debug)]
struct Said {
    attempts: u64,
    written: u64,
    kicks: u64,
}

struct Guest {
    child: Child,
    channel: Arc<Channel>,
    path: PathBuf,
}

impl Guest {
    fn start(subbuf_size: u32, subbufs: u32, first: u64, when_full: &str, kind: &str) -> Self {
        let name = format!("{kind}-{when_full}-{subbuf_size}-{subbufs}-{first}");
        let path = program().with_file_name(name);
        let mut child = Command::new(program())
            .arg(&path)
            .args([subbuf_size.to_string(), subbufs.to_string(), first.to_string()])
            .args([when_full, kind, &WRITES.to_string(), &(first | 1).to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the guest runs");
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut ready).expect("ready");
        let geometry = Geometry::new(subbuf_size, subbufs, 1).expect("a geometry that can be");
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("the guest's memory");
        let at = &mut 0;
        let regions = Regions {
            positions: map(&file, at, geometry.positions_pages()),
            consumed: map(&file, at, 1),
            data: map(&file, at, geometry.data_pages()),
        };
        let channel = Channel::new(geometry, regions, Duration::from_secs(10)).expect("large enough");
        Self { child, channel, path }
    }

    /// Lets it write, has `read` called until the end, and gives what both say.
    fn run(mut self, mut sink: Sink) -> (Said, Sink) {
        let mut reader = self.channel.reader(Start::Oldest);
        self.child.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
        // It has written over what was there before.
        std::thread::sleep(Duration::from_millis(2));
        while sink.turn(&mut reader) {}
        let mut said = String::new();
        let mut output = BufReader::new(self.child.stdout.take().expect("piped"));
        output.read_line(&mut said).expect("its last line");
        assert!(self.child.wait().expect("its end").success());
        assert_eq!(self.channel.status()[0].nonsense, 0, "positions that cannot be");
        fs::remove_file(&self.path).expect("its memory can go");
        let numbers: Vec<u64> = said.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        let &[attempts, written, kicks] = numbers.as_slice() else { panic!("{said:?}") };
        (Said { attempts, written, kicks }, sink)
    }
}

/// What the reader got.
#[derive(Debug, Default)]
struct Sink {
    records: bool,
    writes: u64,
    lost: Lost,
    torn: u64,
    /// Number of the last write, or of the last record.
    last: Option<u64>,
}

impl Sink {
    /// Takes what comes next. False: the end.
    fn turn(&mut self, reader: &mut Reader) -> bool {
        match reader.next(0) {
            Next::Data(piece) => {
                let mut bytes = Vec::new();
                match piece.append_to(&mut bytes) {
                    Ok(()) => {
                        self.take(&bytes);
                        reader.advance(&piece, bytes.len());
                    }
                    Err(Overwritten) => self.torn += 1,
                }
            }
            Next::Lost(lost) => {
                self.lost.sub_buffers += lost.sub_buffers;
                self.lost.bytes += lost.bytes;
                self.lost.writes += lost.writes;
            }
            Next::Nothing => std::thread::yield_now(),
            Next::End => return false,
        }
        true
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let word =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        while !bytes.is_empty() {
            let all = u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes")) as usize;
            let (whole, rest) = bytes.split_at(all);
            let write = if self.records {
                assert_eq!(all % 8, 0);
                let write = &whole[HEAD..];
                let (write, zeroes) =
                    write.split_at(u32::from_le_bytes(write[..4].try_into().expect("4")) as usize);
                assert!(zeroes.len() < 8 && zeroes.iter().all(|&byte| byte == 0), "{zeroes:?}");
                assert_eq!(word(whole, 16), word(write, 4), "each call takes a number");
                write
            } else {
                whole
            };
            let number = word(write, 4);
            for (i, &byte) in write.iter().enumerate().skip(12) {
                assert_eq!(byte, (number * 31 + i as u64) as u8, "write {number} is torn at {i}");
            }
            assert!(self.last.is_none_or(|last| last < number), "{number} comes after {:?}", self.last);
            self.last = Some(number);
            self.writes += 1;
            bytes = rest;
        }
    }
}

/// First sub-buffers that a channel has had before it is exported: none, some, and about as many as 32 bits count.
const FIRST: [u64; 3] = [0, 5, (1 << 32) - 7];

#[test]
fn what_a_full_buffer_refuses_is_counted_and_all_else_arrives() {
    for (subbufs, first) in [(1, FIRST[0]), (2, FIRST[2]), (3, FIRST[1]), (8, FIRST[0]), (64, FIRST[2])] {
        for kind in ["irq-off", "irq-on"] {
            let (said, got) = Guest::start(512, subbufs, first, "refuse", kind).run(Sink::default());
            let case = format!("{kind}, {subbufs} sub-buffers from {first}: {said:?} {got:?}");
            assert_eq!(said.attempts, WRITES);
            assert_eq!(got.writes, said.written, "{case}");
            assert_eq!(got.writes + got.lost.writes, said.attempts, "{case}");
            assert_eq!((got.lost.sub_buffers, got.lost.bytes, got.torn), (0, 0, 0), "{case}");
        }
    }
}

#[test]
fn what_is_overwritten_is_never_taken_for_good() {
    for (subbufs, first) in [(2, FIRST[0]), (3, FIRST[2]), (8, FIRST[1])] {
        for kind in ["irq-off", "irq-on"] {
            let (said, got) = Guest::start(512, subbufs, first, "overwrite", kind).run(Sink::default());
            let case = format!("{kind}, {subbufs} sub-buffers from {first}: {said:?} {got:?}");
            assert_eq!(said.written, WRITES, "{case}");
            assert_eq!(got.lost.writes, 0, "{case}");
            assert_eq!(got.last, Some(WRITES - 1), "the last is there: {case}");
        }
    }
}

#[test]
fn a_record_has_the_next_number_whether_it_finds_room_or_not() {
    for (subbufs, first) in [(1, FIRST[0]), (4, FIRST[2]), (16, FIRST[1])] {
        let guest = Guest::start(1024, subbufs, first, "refuse", "record");
        let channel = Arc::clone(&guest.channel);
        let (said, got) = guest.run(Sink { records: true, ..Sink::default() });
        let case = format!("{subbufs} sub-buffers from {first}: {said:?} {got:?}");
        let seen = channel.status()[0];
        assert_eq!(seen.records, WRITES, "{case}");
        assert_eq!(got.writes, said.written, "{case}");
        assert_eq!(got.lost.writes, WRITES - said.written, "{case}");
        assert!(said.kicks >= WRITES / 64, "an urgent record kicks: {case}");
    }
}
