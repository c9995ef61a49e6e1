// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the mirror costs beside the copy itself; run by `cargo xtask bench mirror`.
//!
//! One round reads a full channel of 16 MiB once through the mirror (what comes next, copy, verify, pass on) and once as
//! plain `memcpy` of the same sub-buffers to the same place, in turns. Prints `@pair SUBBUF_SIZE OURS PLAIN`
//! (nanoseconds), and `@copied BYTES` for reading in place and for writing out.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vesper_relay_mirror::writer::{Export, WhenFull};
use vesper_relay_mirror::{Channel, Geometry, Next, Outlet, Piece, Regions, Start};

const CHANNEL: u32 = 16 << 20;
const ROUNDS: usize = 301;

/// A full channel, and another mapping of it.
fn channel(subbuf_size: u32) -> (Arc<Channel>, Regions) {
    let geometry = Geometry::new(subbuf_size, CHANNEL / subbuf_size, 1).expect("16 MiB");
    let export = Export::new(geometry, 0);
    let mut writer = export.writer(0, WhenFull::Refuse, Arc::new(|| {}));
    let bytes = vec![0x5a; subbuf_size as usize];
    while writer.write(&bytes).is_ok() {}
    writer.finish();
    let channel = Channel::new(geometry, export.regions(), Duration::from_secs(10)).expect("a channel");
    (channel, export.regions())
}

/// Hands every piece of it to `each`; returns the bytes.
fn read(channel: &Arc<Channel>, mut each: impl FnMut(&Piece) -> usize) -> u64 {
    let mut reader = channel.reader(Start::Oldest);
    let mut bytes = 0;
    loop {
        match reader.next(0) {
            Next::Data(piece) => {
                let took = each(&piece);
                reader.advance(&piece, took);
                bytes += took as u64;
            }
            Next::Lost(_) => {}
            Next::Nothing | Next::End => return bytes,
        }
    }
}

fn time(work: impl FnOnce()) -> u128 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_nanos()
}

fn pairs(subbuf_size: u32) {
    let (channel, plain) = channel(subbuf_size);
    // One place for both: where it lies makes a difference.
    let mut room = vec![0_u8; subbuf_size as usize];
    let ours = |room: &mut [u8]| {
        let bytes = read(&channel, |piece| piece.copy_to(black_box(room)).expect("nobody writes"));
        assert_eq!(bytes, CHANNEL.into());
    };
    let theirs = |room: &mut [u8]| {
        for at in (0..CHANNEL as usize).step_by(subbuf_size as usize) {
            let to = black_box(&mut *room).as_mut_ptr();
            // SAFETY: within the mapped data, and as much room.
            unsafe { plain.data.start().add(at).as_ptr().copy_to_nonoverlapping(to, subbuf_size as usize) };
        }
    };
    for round in 0..=ROUNDS {
        // Neither is always the one that finds what the other left in the caches.
        let pair = if round % 2 == 0 {
            (time(|| ours(&mut room)), time(|| theirs(&mut room)))
        } else {
            let theirs = time(|| theirs(&mut room));
            (time(|| ours(&mut room)), theirs)
        };
        // The first one finds the pages.
        if round > 0 {
            println!("@pair {subbuf_size} {} {}", pair.0, pair.1);
        }
    }
}

/// A file in memory.
fn file() -> File {
    // SAFETY: a name that ends with a zero.
    let fd = unsafe { libc::memfd_create(c"out".as_ptr(), 0) };
    assert!(fd >= 0);
    // SAFETY: a new descriptor that nobody else has.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn main() {
    for subbuf_size in [4 << 10, 16 << 10, 64 << 10, 256 << 10] {
        pairs(subbuf_size);
    }
    let (channel, _) = channel(64 << 10);
    let mut sum = 0_u64;
    let in_place = |piece: &Piece| {
        let words = piece.inspect(|raw| {
            (0..raw.len())
                .step_by(8)
                .filter_map(|at| raw.bytes_at(at))
                .map(u64::from_le_bytes)
                .fold(0, u64::wrapping_add)
        });
        sum = sum.wrapping_add(words.expect("nobody writes"));
        piece.len()
    };
    let bytes = read(&channel, in_place);
    black_box(sum);
    println!("@in-place {bytes} {}", channel.copied());
    let file = file();
    let outlet = Outlet::new(file.as_fd()).expect("a file");
    let bytes = read(&channel, |piece| piece.write_to(&outlet).expect("nobody writes"));
    println!("@written {bytes} {}", channel.copied());
}
