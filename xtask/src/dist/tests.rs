// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the packages out of stand-ins for the compiled parts, looks at them with dpkg's tools, and breaks them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Context;
use tempfile::TempDir;
use vesper_lab::command;

use super::*;

/// Head of a relocatable ELF object, and the instruction endbr64.
const OBJECT: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\xf3\x0f\x1e\xfa";

/// Everything packed into a folder of its own.
fn packed() -> Result<(TempDir, Built)> {
    let dir = tempfile::tempdir()?;
    let programs = ["vesper", "vesperd"].map(|name| dir.path().join(name));
    for program in &programs {
        fs::write(program, format!("stands for {}\n", program.display()))?;
    }
    let object = dir.path().join("object");
    fs::write(&object, OBJECT)?;
    let (pages, probes) = (dir.path().join("pages"), dir.path().join("probes"));
    fs::create_dir(&pages)?;
    for page in ["vesper.1", "vesper-tail.1", "vesper.bash", "_vesper", "vesper.fish"] {
        fs::write(pages.join(page), format!("stands for {page}\n"))?;
    }
    fs::create_dir(&probes)?;
    fs::write(probes.join("panic.ko"), OBJECT)?;
    let extras = dom0::Extras { pages, probes: vec![("6.1.0-56-amd64".into(), probes)] };
    let library = dir.path().join("library");
    fs::write(&library, OBJECT)?;
    let built = pack(&programs, &library, &object, &extras, &dir.path().join("dist"))?;
    Ok((dir, built))
}

fn said(program: &str, arguments: &[&str], file: &Path) -> Result<String> {
    let (first, rest) = arguments.split_first().expect("each call has an option");
    command::text(Command::new(program).arg(first).arg(file).args(rest))
}

#[test]
fn the_package_of_the_library_has_what_a_c_program_needs() -> Result<()> {
    let (_dir, built) = packed()?;
    let files = said("dpkg-deb", &["-c"], &built.library)?;
    for wanted in [
        "./usr/lib/x86_64-linux-gnu/libvesper.so.0",
        "./usr/lib/x86_64-linux-gnu/libvesper.so",
        "./usr/lib/x86_64-linux-gnu/pkgconfig/vesper.pc",
        "./usr/include/vesper.h",
        "./usr/share/man/man3/libvesper.3.gz",
    ] {
        assert!(
            files.lines().any(|line| line.ends_with(&format!(" {wanted}"))),
            "{wanted} is not in\n{files}"
        );
    }
    Ok(())
}

#[test]
fn what_a_page_refers_to_is_shipped_with_it() -> Result<()> {
    let docs = paths::workspace().join("docs");
    for page in dom0::DOCS.iter().filter(|page| page.ends_with(".md")) {
        let text = fs::read_to_string(docs.join(page))?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_there = link.is_empty() || dom0::DOCS.contains(&link) || link.starts_with("https://");
            assert!(is_there, "{page}: {link}");
        }
    }
    Ok(())
}

#[test]
fn the_package_for_dom0_has_its_files_where_they_belong() -> Result<()> {
    let (_dir, built) = packed()?;
    let files = said("dpkg-deb", &["-c"], &built.dom0)?;
    for wanted in [
        "-rwxr-xr-x root/root                ./usr/bin/vesper",
        "-rwxr-xr-x root/root                ./usr/sbin/vesperd",
        "-rw-r--r-- root/root                ./usr/lib/systemd/system/vesperd.service",
        "-rw-r--r-- root/root                ./etc/vesper/vesper.toml",
        "-rw-r--r-- root/root                ./usr/share/man/man1/vesper.1.gz",
        "-rw-r--r-- root/root                ./usr/share/man/man1/vesper-tail.1.gz",
        "-rw-r--r-- root/root                ./usr/share/man/man8/vesperd.8.gz",
        "-rw-r--r-- root/root                ./usr/share/bash-completion/completions/vesper",
        "-rw-r--r-- root/root                ./usr/share/zsh/vendor-completions/_vesper",
        "-rw-r--r-- root/root                ./usr/share/fish/vendor_completions.d/vesper.fish",
        "-rw-r--r-- root/root                ./usr/lib/vesper/probes/6.1.0-56-amd64/panic.ko",
        "drwxr-xr-x root/root                ./etc/vesper/hooks.d/",
        "-rwxr-xr-x root/root                ./usr/lib/ocf/resource.d/vesper/guest",
        "-rwxr-xr-x root/root                ./usr/lib/ocf/resource.d/vesper/service",
        "-rw-r--r-- root/root                ./usr/lib/ocf/lib/vesper/vesper.sh",
        "-rwxr-xr-x root/root                ./usr/lib/vesper/hooks/push",
        "-rwxr-xr-x root/root                ./usr/lib/vesper/host-health",
        "-rw-r--r-- root/root                ./usr/lib/systemd/system/vesper-health.timer",
        "-rw-r--r-- root/root                ./usr/share/vesper/vesperd-pacemaker.conf",
        "-rw-r--r-- root/root                ./usr/share/vesper/fail-resource.c",
        "-rw-r--r-- root/root                ./usr/share/vesper/vesper.hook",
        "-rw-r--r-- root/root                ./usr/share/doc/vesper/pacemaker.md",
        "-rw-r--r-- root/root                ./usr/share/doc/vesper/failover.md",
    ] {
        let words: Vec<&str> = wanted.split_whitespace().collect();
        let found = files.lines().any(|line| {
            let line: Vec<&str> = line.split_whitespace().collect();
            line[..2] == words[..2] && line.last() == words.last()
        });
        assert!(found, "no line {wanted:?} in:\n{files}");
    }
    assert_eq!(said("dpkg-deb", &["-f", "Version"], &built.dom0)?.trim(), VERSION);
    assert_eq!(said("dpkg-deb", &["-I", "conffiles"], &built.dom0)?, "/etc/vesper/vesper.toml\n");
    Ok(())
}

#[test]
fn the_package_for_guests_builds_with_dkms_and_needs_no_rust() -> Result<()> {
    let (_dir, built) = packed()?;
    let files = said("dpkg-deb", &["-c"], &built.guest)?;
    for wanted in [
        "dkms.conf",
        "Kbuild",
        "Makefile",
        "vesper_main.c",
        "include/vesper/relay.h",
        "core.o_raw",
        "rust/Makefile",
        "rust/Cargo.toml",
        "rust/ring/src/lib.rs",
        "rust/xenfront/src/lib.rs",
        "rust/xenfront/kmod/rust/Cargo.lock",
        "rust/xenfront/kmod/rust/src/lib.rs",
    ] {
        let path = format!(" ./usr/src/vesper-front-{VERSION}/{wanted}\n");
        assert!(files.contains(&path), "no {wanted} in:\n{files}");
    }
    let depends = said("dpkg-deb", &["-f", "Depends"], &built.guest)?;
    assert!(depends.contains("dkms") && !depends.contains("rust") && !depends.contains("cargo"), "{depends}");
    assert!(!files.contains("./etc/"), "nothing of it may stay behind when it is removed:\n{files}");
    Ok(())
}

#[test]
fn dkms_reads_its_configuration_as_we_mean_it() -> Result<()> {
    let (dir, built) = packed()?;
    let root = dir.path().join("root");
    command::output(Command::new("dpkg-deb").arg("-x").arg(&built.guest).arg(&root))?;
    // DKMS sources the file in bash with these two set, and matches with bash's =~.
    let script = r#"kernel_source_dir=/headers kernelver=$2; . "$1"
        [ "$PACKAGE_NAME-$PACKAGE_VERSION" = "$3" ] || echo "name $PACKAGE_NAME-$PACKAGE_VERSION"
        [[ ${MAKE[0]} == *KDIR=/headers* ]] || echo "make ${MAKE[0]}"
        [[ $kernelver =~ $BUILD_EXCLUSIVE_KERNEL ]] && echo builds || echo refuses"#;
    let name = format!("vesper-front-{VERSION}");
    let conf = root.join("usr/src").join(&name).join("dkms.conf");
    for (kernel, wanted) in [
        ("6.1.0-56-amd64", "builds"),
        ("6.12.117+deb12-amd64", "builds"),
        ("6.17.4-200.fc42.x86_64", "builds"),
        ("7.0.0-1-amd64", "builds"),
        ("10.2.0", "builds"),
        ("5.10.0-30-amd64", "refuses"),
        ("6.0.12-1-amd64", "refuses"),
        ("5.14.0-503.el9.x86_64", "refuses"),
    ] {
        let said = command::text(
            Command::new("bash").args(["-c", script, "bash"]).arg(&conf).args([kernel, name.as_str()]),
        )?;
        assert_eq!(said.trim(), wanted, "kernel {kernel}");
    }
    Ok(())
}

#[test]
fn the_recipe_for_the_object_has_the_options_that_it_was_built_with() {
    let words = |text: &'static str| -> BTreeSet<&str> {
        let words = text.split(|c: char| c.is_whitespace() || "\"\\".contains(c));
        words.filter(|word| word.len() > 2 && (word.starts_with("-C") || word.starts_with("-Z"))).collect()
    };
    let built_with = words(include_str!("../kmod/object.rs"));
    assert!(built_with.len() > 5, "{built_with:?}");
    assert_eq!(words(include_str!("../../../packaging/guest/rust.mk")), built_with);
}

#[test]
fn archives_are_one_folder_and_the_same_each_time() -> Result<()> {
    let (_dir, built) = packed()?;
    let (_again, again) = packed()?;
    for (first, second) in built.archives.iter().zip(&again.archives).skip(1) {
        assert!(fs::read(first)? == fs::read(second)?, "{} differs between two builds", first.display());
    }
    for archive in &built.archives {
        let files = said("tar", &["-tf"], archive)?;
        let name = archive.file_name().context("an archive has a name")?.to_string_lossy().into_owned();
        let folder = name.replace(".tar.xz", "/");
        assert!(files.lines().all(|line| line.starts_with(&folder)), "{files}");
        let page = if name.starts_with("vesper-front-") { "INSTALL.md" } else { "docs/install-dom0.md" };
        for wanted in ["Makefile", page] {
            assert!(files.contains(&format!("{folder}{wanted}\n")), "no {wanted} in:\n{files}");
        }
    }
    Ok(())
}

#[test]
fn make_install_puts_dom0_files_where_the_package_does() -> Result<()> {
    let (dir, built) = packed()?;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from)?;
    command::output(
        Command::new("tar")
            .args(["-x", "--strip-components=1", "-C"])
            .arg(&from)
            .arg("-f")
            .arg(&built.archives[0]),
    )?;
    let make = |target: &str| {
        let mut make = Command::new("make");
        command::output(make.arg("-C").arg(&from).arg(target).arg(format!("DESTDIR={}", to.display())))
    };
    make("install")?;
    let paths = [
        "usr/bin/vesper",
        "usr/sbin/vesperd",
        "usr/lib/systemd/system/vesperd.service",
        "usr/share/man/man1/vesper-tail.1",
        "usr/share/man/man8/vesperd.8",
        "usr/share/bash-completion/completions/vesper",
        "usr/share/zsh/site-functions/_vesper",
        "usr/share/fish/vendor_completions.d/vesper.fish",
        "usr/lib/vesper/probes/6.1.0-56-amd64/panic.ko",
        "usr/lib/ocf/resource.d/vesper/guest",
        "usr/lib/ocf/lib/vesper/vesper.sh",
        "usr/lib/vesper/hooks/push",
        "usr/lib/vesper/host-health",
        "usr/lib/systemd/system/vesper-health.service",
        "usr/share/vesper/vesperd-pacemaker.conf",
        "usr/share/vesper/fail-resource.c",
        "usr/share/vesper/vesper.hook",
    ];
    for path in paths {
        assert!(to.join(path).is_file(), "{path}");
    }
    assert!(to.join("etc/vesper/hooks.d").is_dir());
    let guest = fs::read_to_string(to.join("usr/lib/ocf/resource.d/vesper/guest"))?;
    assert!(guest.contains(&format!("<resource-agent name=\"guest\" version=\"{VERSION}\">")));
    let configuration = to.join("etc/vesper/vesper.toml");
    fs::write(&configuration, "# mine\n")?;
    make("install")?;
    assert_eq!(fs::read_to_string(&configuration)?, "# mine\n");
    make("uninstall")?;
    for path in paths {
        assert!(!to.join(path).exists(), "{path} is left");
    }
    assert!(configuration.exists());
    Ok(())
}

/// What [`check`] says about the package for dom0 after `break_it` did something to its folder.
fn problems_after(break_it: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
    let (dir, built) = packed()?;
    let root = dir.path().join("root");
    command::output(Command::new("dpkg-deb").arg("-R").arg(&built.dom0).arg(&root))?;
    break_it(&root)?;
    let broken = dir.path().join("broken.deb");
    command::output(
        Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&broken),
    )?;
    Ok(check::problems(&broken)?.join("\n"))
}

#[test]
fn a_package_that_was_not_touched_has_no_problem() -> Result<()> {
    assert_eq!(problems_after(|_| Ok(()))?, "");
    Ok(())
}

#[test]
fn each_kind_of_damage_is_named() -> Result<()> {
    type Damage = fn(&Path) -> Result<()>;
    let damages: [(Damage, &str); 9] = [
        (
            |root| Ok(fs::set_permissions(root.join("usr/bin/vesper"), fs::Permissions::from_mode(0o4755))?),
            "mode -rwsr-xr-x",
        ),
        (|root| Ok(fs::write(root.join("DEBIAN/conffiles"), "")?), "conffiles: /etc/vesper/vesper.toml"),
        (|root| Ok(fs::write(root.join("DEBIAN/postinst"), "#!/bin/sh\nset -e\nif\n")?), "postinst: "),
        (|root| Ok(fs::write(root.join("DEBIAN/postrm"), "#!/bin/sh\ntrue\n")?), "set -e"),
        (|root| Ok(fs::write(root.join("usr/bin/vesper"), "for @NAME@ only\n")?), "@NAME@ was not filled in"),
        (|root| Ok(fs::write(root.join("usr/bin/vesper"), "")?), "/usr/bin/vesper: empty"),
        (|root| Ok(fs::copy("/bin/true", root.join("usr/bin/vesper")).map(|_| ())?), "not a static program"),
        (|root| Ok(fs::write(root.join("usr/bin/more"), "x")?), "md5sums: /usr/bin/more"),
        (
            |root| Ok(fs::remove_file(root.join("usr/share/doc/vesper/copyright"))?),
            "no /usr/share/doc/vesper/copyright",
        ),
    ];
    for (damage, wanted) in damages {
        let said = problems_after(damage)?;
        assert!(said.contains(wanted), "wanted {wanted:?}, got {said:?}");
    }
    Ok(())
}
