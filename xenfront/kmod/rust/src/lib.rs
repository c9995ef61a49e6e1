// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! The frontend core as one object for the guest's kernel module: the functions of `vesper_xenfront::ffi`, and what
//! happens on a panic. `cargo xtask kmod` checks that no panic can be reached.
#![no_std]

pub use vesper_xenfront::ffi;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: an undefined instruction: the kernel reports it as a bug and ends this thread, as BUG() does.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
