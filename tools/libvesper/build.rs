// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives the shared library its soname, which rustc does not.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libvesper.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
