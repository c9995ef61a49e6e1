// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader of one channel in dom0, in the daemon's place: the same backend, and nothing between the mirror and the reader's
//! code.
//!
//! * `bench-reader sum DOM NAME BYTES`: reads so many bytes where they lie and checksums each. Prints
//!   `@received BYTES NANOSECONDS SUM CPU_MICROSECONDS` and `@copied BYTES`.
//! * `bench-reader kick DOM NAME COUNT`: of so many urgent records of `modules/bell.c` how long each was on its way, by the
//!   CPU's counter: `@ours TICKS`.
//! * `bench-reader alone BYTES`: checksums so many bytes of memory of its own, 512 KiB over and over. Prints
//!   `@reader BYTES NANOSECONDS`.
//! * `bench-reader cpu`: the CPU time of dom0 so far, as Xen counts it: nanoseconds.
//!
//! The first two say `@waiting` when they have the channel.

use std::arch::x86_64::{_mm_lfence, _rdtsc};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use vesper_grant::{DomId, Host, XenHost};
use vesper_relay_mirror::{Next, Piece, Raw, Reader, Start};
use vesper_xenback::{Backend, Limits};

/// How long the guest may take to connect and to have its channel.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a record's header.
const HEADER: usize = 24;
/// Bytes that `alone` reads over and over.
const LOCAL: usize = 512 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["sum", dom, name, bytes] => sum(&mut Dom0::reading(dom, name)?, bytes.parse()?),
        ["kick", dom, name, count] => kick(&mut Dom0::reading(dom, name)?, count.parse()?),
        ["alone", bytes] => {
            alone(bytes.parse()?);
            Ok(())
        }
        ["cpu"] => {
            let dom0 = XenHost::new()?.domain(DomId(0))?.context("Xen does not tell of dom0")?;
            println!("{}", dom0.cpu_time_ns);
            Ok(())
        }
        _ => bail!("bench-reader sum DOM NAME BYTES | kick DOM NAME COUNT | alone BYTES | cpu"),
    }
}

/// The daemon's loop with one reader.
struct Dom0 {
    backend: Backend,
    reader: Reader,
}

impl Dom0 {
    /// Takes the devices over from the daemon that was there, and waits for the channel.
    fn reading(dom: &str, name: &str) -> Result<Self> {
        let guest = DomId(dom.parse()?);
        let host: Arc<dyn Host> = Arc::new(XenHost::new().context("Xen cannot be reached")?);
        let store = Arc::new(vesper_xenstore::Client::connect().context("xenstore cannot be reached")?);
        let mut backend = Backend::new(host, store, Limits::default())?;
        let end = Instant::now() + PATIENCE;
        let export = loop {
            backend.run(Instant::now());
            if let Some(export) = backend.channel(guest, name) {
                break export;
            }
            ensure!(Instant::now() < end, "guest {dom} exports no channel {name}");
            wait(&backend, Duration::from_millis(100))?;
        };
        let reader = export.channel.reader(Start::Now);
        backend.wake(guest);
        backend.run(Instant::now());
        println!("@waiting");
        std::io::stdout().flush()?;
        Ok(Self { backend, reader })
    }

    /// Hands every piece that comes to `each`, until that says that it is enough.
    fn read(&mut self, mut each: impl FnMut(&Piece) -> Result<bool>) -> Result<()> {
        loop {
            for buffer in 0..self.reader.channel().buffers() {
                loop {
                    match self.reader.next(buffer) {
                        Next::Data(piece) => {
                            let more = each(&piece)?;
                            self.reader.advance(&piece, piece.len());
                            if !more {
                                return Ok(());
                            }
                        }
                        // Writes that were refused come again; nothing else may be missing.
                        Next::Lost(lost) => ensure!(lost.bytes == 0, "lost: {lost:?}"),
                        Next::Nothing => break,
                        Next::End => bail!("the channel has ended"),
                    }
                }
            }
            // As the daemon: it sleeps when nothing follows any more.
            if self.backend.run(Instant::now()).is_empty() {
                wait(&self.backend, PATIENCE)?;
                self.backend.run(Instant::now());
            }
        }
    }
}

/// Until the backend has something to do.
fn wait(backend: &Backend, most: Duration) -> Result<()> {
    let due = backend.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
    let time = due.into_iter().chain([most]).min().unwrap_or(most);
    // Rounded up, or the last millisecond would be spent spinning.
    let timeout = PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(backend.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("poll"),
    }
}

fn sum(dom0: &mut Dom0, bytes: u64) -> Result<()> {
    let (mut received, mut total, mut began) = (0, 0_u64, None);
    dom0.read(|piece| {
        began.get_or_insert_with(|| (Instant::now(), cpu_time()));
        total = total.wrapping_add(piece.inspect(sum_of)?);
        received += piece.len() as u64;
        Ok(received < bytes)
    })?;
    let (begun, cpu) = began.context("nothing was asked for")?;
    let took = begun.elapsed().as_nanos();
    println!("@received {received} {took} {total} {}", cpu_time() - cpu);
    println!("@copied {}", dom0.reader.channel().copied());
    Ok(())
}

/// What the reader manages when the bytes need not come from anywhere.
fn alone(bytes: u64) {
    let memory: Vec<u64> = (0..LOCAL as u64 / 8).collect();
    let (begun, mut total) = (Instant::now(), 0_u64);
    for _ in 0..bytes / LOCAL as u64 {
        // SAFETY: each index is one of the slice's.
        total = total
            .wrapping_add(sum_words(memory.len(), |at| unsafe { memory.as_ptr().add(at).read_volatile() }));
    }
    println!("@reader {} {}", bytes / LOCAL as u64 * LOCAL as u64, begun.elapsed().as_nanos());
    std::hint::black_box(total);
}

/// The sum of the words. Pieces are made of records whose size is a multiple of 8.
fn sum_of(raw: Raw<'_>) -> u64 {
    let words = raw.as_ptr().cast::<u64>();
    assert!(words.is_aligned() && raw.len().is_multiple_of(8), "whole words");
    // SAFETY: aligned, and within the piece, which is readable while `raw` is there; any value is a number.
    sum_words(raw.len() / 8, |at| unsafe { words.add(at).read_volatile() })
}

/// The sum of so many words, as in `vchan.c`.
#[inline]
fn sum_words(count: usize, word: impl Fn(usize) -> u64) -> u64 {
    let mut sums = [0_u64; 4];
    for at in (0..count / 4 * 4).step_by(4) {
        sums[0] = sums[0].wrapping_add(word(at));
        sums[1] = sums[1].wrapping_add(word(at + 1));
        sums[2] = sums[2].wrapping_add(word(at + 2));
        sums[3] = sums[3].wrapping_add(word(at + 3));
    }
    let rest = (count / 4 * 4..count).map(&word).fold(0, u64::wrapping_add);
    sums.into_iter().fold(rest, u64::wrapping_add)
}

fn kick(dom0: &mut Dom0, count: usize) -> Result<()> {
    let mut ticks = Vec::with_capacity(count);
    dom0.read(|piece| {
        let came = counter();
        // More than one when this program was late.
        for at in (HEADER..piece.len()).step_by(HEADER + 8) {
            let sent = piece.inspect(|raw| raw.bytes_at(at))?.context("a record has its time")?;
            ticks.push(came.wrapping_sub(u64::from_le_bytes(sent)));
        }
        Ok(ticks.len() < count)
    })?;
    ticks.iter().for_each(|ticks| println!("@ours {ticks}"));
    Ok(())
}

fn counter() -> u64 {
    // SAFETY: every x86-64 CPU has both.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Microseconds of this process.
fn cpu_time() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("one's own usage");
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}
