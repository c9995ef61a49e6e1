// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which modules may be loaded, and what the log says of each: through the real daemon's loop and the real frontend core.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, Once};

use log::{Level, Log, Metadata, Record};
use support::own_dir::own_dir;
use support::{Client, World, eventually};
use vesper_api::{Done, ErrorKind, Failure, Request};
use vesper_xenfront::loopback::Work;
use vesperd::logging::NOTICE;

/// What all daemons of this program have logged of injections, or warned of.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        if record.target() == NOTICE || record.level() <= Level::Warn || line.contains(": begun [") {
            LINES.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

/// A daemon whose log is read.
fn world() -> World {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Capture)).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    World::new()
}

/// The one line that holds all of these.
fn line(texts: &[&str]) -> String {
    let mut found = Vec::new();
    eventually(&format!("{texts:?} in the log"), || {
        let lines = LINES.lock().unwrap();
        found = lines.iter().filter(|line| texts.iter().all(|text| line.contains(text))).cloned().collect();
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// By another program than this one.
fn sha256sum(file: &std::path::Path) -> String {
    let said = Command::new("sha256sum").arg(file).output().unwrap();
    format!("sha256:{}", &String::from_utf8(said.stdout).unwrap()[..64])
}

fn not_admitted(result: Result<Done, Failure>) -> Failure {
    let failure = result.expect_err("it is refused");
    assert_eq!(failure.kind, ErrorKind::NotPermitted, "{}", failure.message);
    failure
}

#[test]
fn each_injection_is_logged_with_who_what_and_where() {
    let world = world();
    let guest = world.add_attached(11);
    let file = world.module("logged");
    let digest = sha256sum(&file);
    world.insmod("11", &file).unwrap();
    let me = format!(", process {};", std::process::id());
    let user = format!("[user {} (", nix::unistd::getuid());
    let uuid = world.guest(11).unwrap().guest.uuid;
    let where_ = format!("; guest {uuid}]");
    let said = line(&["insmod of logged into guest11 (11): done in ", &user, &me, &where_]);
    assert!(said.contains(&format!("; file \"test.ko\", {digest}; ")), "{said}");
    // Should the daemon end midway, this is what is known.
    line(&["insmod of logged into guest11 (11): begun [", &user, &me, &digest, &where_]);
    world.ask(&Request::Rmmod { dom: "11".into(), name: "logged".into(), timeout_ms: None }).unwrap();
    line(&["rmmod of logged from guest11 (11): done in ", &user, &me, &where_]);
    // What does not get in is logged, too.
    world.ask(&Request::Rmmod { dom: "11".into(), name: "logged".into(), timeout_ms: None }).unwrap_err();
    line(&["rmmod of logged from guest11 (11): failed after ", &user, &me, &where_]);
    let garbage = world.file("garbage.ko", b"no module");
    world.insmod("11", &garbage).unwrap_err();
    line(&["insmod of test.ko into guest11 (11): failed after ", &user, &sha256sum(&garbage), &where_]);
    // A name that looks like more of the line.
    let file = "x] [user 4711 (root), process 1; file \"y.ko".to_owned();
    let insmod = Request::Insmod { dom: "11".into(), file, args: vec![], timeout_ms: None };
    let garbage = std::fs::File::open(&garbage).unwrap();
    Client::connect(world.socket()).ask(&insmod, Some(&garbage)).into_result().unwrap_err();
    let said = line(&[
        "insmod of \"x] [user 4711 (root), process 1; file \\\"y.ko\" into guest11 (11): failed after ",
    ]);
    let details = &said[said.rfind(&user).expect("who it really was")..];
    assert!(details.contains(&me) && details.ends_with(&where_), "{said}");
    assert_eq!(guest.kernel().modules().len(), 0);
}

#[test]
fn only_listed_modules_go_in_and_a_reload_changes_the_lists() {
    let mut world = world();
    let guest = world.add_attached(12);
    let (first, second) = (world.module("first"), world.module("second"));
    let own = own_dir();
    let dir = own.path().join("admitted");
    fs::create_dir_all(dir.join("below")).unwrap();
    world.reload(&format!("[inject]\ndigests = [\"{}\"]", sha256sum(&first)));
    world.insmod("12", &first).unwrap();
    let failure = not_admitted(world.insmod("12", &second));
    let digest = sha256sum(&second);
    let wanted = format!(
        "test.ko is refused, nothing was sent: modules are restricted, and its digest {digest} is not in inject.digests"
    );
    assert_eq!(failure.message, wanted);
    let remedy = failure.remedy.unwrap();
    assert!(remedy.starts_with(&format!("add \"{digest}\" to inject.digests in /etc/vesper")), "{remedy}");
    line(&["into guest12 (12): failed after ", "modules are restricted", &digest]);

    world.reload(&format!("[inject]\ndirectories = [{dir:?}]"));
    let failure = not_admitted(world.insmod("12", &second));
    assert!(failure.message.ends_with(&format!("no file in {} has its bytes", dir.display())));
    assert_eq!(failure.remedy.unwrap(), format!("have root copy it into {}", dir.display()));
    fs::copy(&second, dir.join("below/second.ko")).unwrap();
    world.insmod("12", &second).unwrap();
    assert_eq!(guest.kernel().modules(), ["first", "second"]);
    world.reload("");
    world.insmod("12", &world.module("third")).unwrap();
}

#[test]
fn only_a_signer_s_modules_go_in_and_as_they_were_signed() {
    let mut world = world();
    let guest = world.add_attached(14);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../signers/tests/data");
    let bytes = |name: &str| fs::read(data.join(name)).unwrap();
    let signed = [bytes("module.ko"), bytes("sha256.sig")].concat();
    let own = own_dir();
    let certificate = own.path().join("rsa.pem");
    fs::copy(data.join("rsa.pem"), &certificate).unwrap();
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o644)).unwrap();
    world.reload(&format!("[inject]\nsigners = [{certificate:?}]"));
    for (name, wanted) in [
        ("module.ko", "test.ko is refused, nothing was sent: modules are restricted, and it is not signed"),
        ("other", "it is signed by the holder of serial "),
        (
            "changed",
            "does not fit its bytes: the file was changed after it was signed, or signed with another key",
        ),
        ("sha1", "its signature has an unknown algorithm: the digest 1.3.14.3.2.26 is not SHA-256"),
    ] {
        let file = match name {
            "module.ko" => bytes(name),
            "changed" => signed.iter().map(|&byte| if byte == 0xc3 { 0xcc } else { byte }).collect(),
            _ => [bytes("module.ko"), bytes(&format!("{name}.sig"))].concat(),
        };
        let failure = not_admitted(world.insmod("14", &world.file("signed.ko", &file)));
        assert!(failure.message.contains(wanted), "{name}: {}", failure.message);
        assert!(failure.remedy.unwrap().contains("scripts/sign-file sha256 KEY CERTIFICATE FILE"), "{name}");
    }
    // What no signature helps.
    let cut_off = world.file("signed.ko.xz", &bytes("signed.ko.xz")[..300]);
    let failure = world.insmod("14", &cut_off).unwrap_err();
    let wanted = "test.ko is refused, nothing was sent: the xz data is damaged or cut off: ";
    assert!(failure.kind == ErrorKind::BadImage && failure.message.starts_with(wanted), "{failure:?}");
    assert!(guest.kernel().work().is_empty());
    for (name, file) in [("signed.ko", signed.clone()), ("signed.ko.xz", bytes("signed.ko.xz"))] {
        let file = world.file(name, &file);
        world.insmod("14", &file).unwrap();
        let who =
            format!("; file \"test.ko\", {}, signed by \"CN=test rsa,O=VESPER\"; guest ", sha256sum(&file));
        line(&["insmod of signed into guest14 (14): begun [", &who]);
        line(&["insmod of signed into guest14 (14): done in ", &who]);
        let work = guest.kernel().work();
        let arrived = work.iter().rev().find_map(|work| match work {
            Work::Load { image, .. } => Some(image),
            Work::Unload { .. } => None,
        });
        assert!(arrived == Some(&signed), "{name}: with its signature, for the guest's own kernel");
        world.ask(&Request::Rmmod { dom: "14".into(), name: "signed".into(), timeout_ms: None }).unwrap();
    }
    // A certificate that is no longer there: what was read before stays in force.
    fs::remove_file(&certificate).unwrap();
    world.reload(&format!("[inject]\nsigners = [{certificate:?}]"));
    line(&["the configuration before stays in force", "inject.signers", "rsa.pem cannot be read"]);
    not_admitted(world.insmod("14", &world.module("unsigned")));
}

/// Rules are held to the same lists as everybody.
#[test]
fn a_rule_loads_nothing_that_is_not_listed() {
    let mut world = world();
    let own = own_dir();
    let probes = own.path().join("probes");
    let dir = probes.join("6.1.0-loopback");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("panic.ko"), support::module("vesper_panic", support::VERMAGIC, 700)).unwrap();
    let rule = format!(
        "[inject]\ndirectories = [\"/nonexistent\"]\n[directories]\nprobes = [{probes:?}]\n[[rule]]\nguests = [\"guest13\"]\nprobes = [\"panic\"]\n"
    );
    world.reload(&rule);
    let from = format!("[vesperd; file {:?}, sha256:", dir.join("panic.ko"));
    let guest = world.add_attached(13);
    line(&["insmod of panic into guest13 (13), as the rule at ", "modules are restricted", &from]);
    assert!(guest.kernel().work().is_empty());
    world.reload(&rule.replace("/nonexistent", &probes.display().to_string()));
    eventually("it is in", || guest.kernel().modules() == ["vesper_panic"]);
    line(&[
        "insmod of vesper_panic into guest13 (13), as the rule at ",
        "done in",
        &sha256sum(&dir.join("panic.ko")),
    ]);
}
