// SPDX-License-Identifier: MIT OR Apache-2.0
//! libvesper, for programs on dom0.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use vesper_lab::command;

use super::tree::{READ, Tree};

/// Where a shared library belongs on Debian's amd64.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// The Debian package's files: `library` is what was built, all else is in the workspace `source`.
pub fn package(source: &Path, library: &Path, trees: &Path) -> Result<Tree> {
    let tree = Tree::new(trees.join("libvesper"))?;
    let own = source.join("tools/libvesper");
    tree.copy(&format!("{LIBRARIES}/libvesper.so.0"), READ, library)?;
    // What the linker finds for -lvesper: a script that names the library, as libc.so is one.
    tree.file(&format!("{LIBRARIES}/libvesper.so"), READ, b"INPUT(libvesper.so.0)\n")?;
    tree.fill(&format!("{LIBRARIES}/pkgconfig/vesper.pc"), READ, &own.join("vesper.pc.in"))?;
    tree.copy("/usr/include/vesper.h", READ, &own.join("include/vesper.h"))?;
    let page = command::output(Command::new("gzip").args(["-9nc"]).arg(own.join("man/libvesper.3")))?;
    tree.file("/usr/share/man/man3/libvesper.3.gz", READ, &page)?;
    let doc = "/usr/share/doc/libvesper";
    tree.copy(&format!("{doc}/copyright"), READ, &source.join("packaging/libvesper/copyright"))?;
    for example in ["events.c", "watch.c"] {
        tree.copy(&format!("{doc}/examples/{example}"), READ, &own.join("examples").join(example))?;
    }
    Ok(tree)
}
