// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Memories for the tests, and messages that can be told apart.
#![allow(dead_code, reason = "every test binary takes what it needs")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use vesper_ring::memory::{HEADER_BYTES, Index, Memory, Pages, Word};
use vesper_ring::wire::Wire;
use vesper_ring::wire::loader::{Request, Response};

/// A request whose every word depends on `n`.
pub fn request(n: u64) -> Request {
    from_words(n)
}

/// A response whose every word depends on `n`.
pub fn response(n: u64) -> Response {
    from_words(!n)
}

fn from_words<T: Wire>(n: u64) -> T {
    let bytes: Vec<u8> = (0..size_of::<T>() as u64 / 8)
        .flat_map(|word| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word).to_le_bytes())
        .collect();
    vesper_ring::wire::from_bytes(&bytes).expect("made to its size")
}

/// A small generator (xorshift64*), so that a test's sequence is fixed by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A start index; every second one is just before the wrap-around.
    pub fn start(&mut self) -> u32 {
        match self.below(2) {
            0 => self.next() as u32,
            _ => (self.below(80) as u32).wrapping_neg(),
        }
    }
}

/// Memory of atomics that counts how often each word of an entry is read, and asserts every offset.
#[derive(Clone)]
pub struct Counting {
    pub header: Arc<[AtomicU32]>,
    pub words: Arc<[AtomicU64]>,
    pub reads: Arc<[AtomicU32]>,
    pub header_reads: Arc<AtomicU32>,
}

impl Counting {
    pub fn new(bytes: usize) -> Self {
        let words = (bytes - HEADER_BYTES) / 8;
        Self {
            header: (0..HEADER_BYTES / 4).map(|_| AtomicU32::new(0)).collect(),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            reads: (0..words).map(|_| AtomicU32::new(0)).collect(),
            header_reads: Arc::default(),
        }
    }

    /// Word numbers read since the last call, with how often.
    pub fn drain_reads(&self) -> Vec<(usize, u32)> {
        let counts = self.reads.iter().map(|count| count.swap(0, Ordering::Relaxed));
        counts.enumerate().filter(|&(_, count)| count > 0).collect()
    }
}

// SAFETY: the offsets are asserted, and nothing is reached but atomics that live as long as the value.
unsafe impl Memory for Counting {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.words.len() * 8
    }

    fn acquire(&self, index: Index) -> u32 {
        self.header_reads.fetch_add(1, Ordering::Relaxed);
        self.header[index as usize / 4].load(Ordering::Acquire)
    }

    fn load(&self, index: Index) -> u32 {
        self.header_reads.fetch_add(1, Ordering::Relaxed);
        self.header[index as usize / 4].load(Ordering::Relaxed)
    }

    fn release(&self, index: Index, value: u32) {
        self.header[index as usize / 4].store(value, Ordering::Release);
    }

    fn store(&self, index: Index, value: u32) {
        self.header[index as usize / 4].store(value, Ordering::Relaxed);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    unsafe fn read<W: Word>(&self, offset: usize) -> W {
        assert!(offset.is_multiple_of(size_of::<W>()) && offset >= HEADER_BYTES);
        let mut words = [0u64; 2];
        for (n, word) in words.iter_mut().take(size_of::<W>() / 8).enumerate() {
            let at = (offset - HEADER_BYTES) / 8 + n;
            *word = self.words[at].load(Ordering::Relaxed);
            self.reads[at].fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: a word is at most 16 bytes, and every bit pattern is one.
        unsafe { std::mem::transmute_copy(&words) }
    }

    unsafe fn write<W: Word>(&self, offset: usize, word: W) {
        assert!(offset.is_multiple_of(size_of::<W>()));
        let mut words = [0u64; 2];
        // SAFETY: a word is at most 16 bytes, without padding.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const word).cast(), words.as_mut_ptr(), size_of::<W>() / 8)
        };
        for (n, word) in words.iter().take(size_of::<W>() / 8).enumerate() {
            if offset < HEADER_BYTES {
                self.header[offset / 4 + n * 2].store(*word as u32, Ordering::Relaxed);
                self.header[offset / 4 + n * 2 + 1].store((*word >> 32) as u32, Ordering::Relaxed);
            } else {
                self.words[(offset - HEADER_BYTES) / 8 + n].store(*word, Ordering::Relaxed);
            }
        }
    }
}

/// Page-aligned memory that is reached through raw pointers only.
pub struct Region {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

// SAFETY: only a pointer and its size; what is behind it is shared on purpose.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    pub fn new(pages: usize) -> Self {
        let layout = std::alloc::Layout::from_size_align(pages * 4096, 4096).expect("a small size");
        // SAFETY: the size is not 0.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory");
        Self { base, layout }
    }

    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// The region as ring memory; the region must outlive it.
    pub fn pages(&self) -> Pages {
        // SAFETY: the region is readable and writable; the tests keep it alive.
        unsafe { Pages::new(self.base, self.bytes()) }
    }

    /// A copy of the bytes; only while no other thread writes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut copy = vec![0; self.bytes()];
        // SAFETY: both have that many bytes; no other thread writes, by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr(), copy.as_mut_ptr(), copy.len()) };
        copy
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}
