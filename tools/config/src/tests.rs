// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file: defaults, and what is wrong with it.

use vesper_xenback::Uuid;

use super::*;

#[test]
fn an_empty_file_means_the_defaults() {
    let config = Config::default();
    assert_eq!(config.rights, Rights::of("vesper"));
    assert_eq!(config.inject, Inject::default());
    assert_eq!(config.socket, Path::new(vesper_api::SOCKET));
    assert_eq!(config.image_bytes, 64 << 20);
    assert_eq!(config.timeout, Duration::from_secs(30));
    assert!(!config.attach.matches("web", Uuid([1; 16])));
}

/// The file that is installed shows every key with its default.
#[test]
fn the_shipped_file_is_the_default() {
    let shipped = include_str!("../../vesperd/dist/vesper.toml");
    let as_shipped = Config::parse("vesper.toml", shipped).unwrap();
    assert_eq!(format!("{as_shipped:?}"), format!("{:?}", Config::default()));
    let uncommented: String = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(|key| !key.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse("vesper.toml", &uncommented).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    for key in [
        "group",
        "read",
        "events",
        "inject",
        "configure",
        "digests",
        "signers",
        "image_bytes",
        "waiting_bytes",
        "queue_length",
        "connections",
        "timeout_seconds",
        "all",
        "names",
        "uuids",
        "max_pages_per_guest",
        "max_exports_per_guest",
        "max_pages_total",
        "lag_limit_s",
        "save_dir",
        "save_limit_mib",
        "tree",
        "journal_dir",
        "journal_limit_mib",
        "hooks_dir",
        "hook_timeout_s",
        "hooks_at_once",
        "watch_ms",
        "runtime",
        "probes",
    ] {
        assert!(uncommented.contains(&format!("\n{key} = ")), "{key} is not in the shipped file");
    }
}

/// The rules that the installed file and the book show are rules.
#[test]
fn the_examples_are_taken() {
    let shipped = include_str!("../../vesperd/dist/vesper.toml");
    let rules = shipped.lines().skip_while(|line| *line != "# [[rule]]");
    let shipped: Vec<_> = rules.filter_map(|line| line.strip_prefix("# ")).collect();
    let book = include_str!("../../../docs/config.md").split("```toml\n").skip(1);
    let book: Vec<_> = book.map(|text| text.split("```").next().unwrap()).collect();
    for text in &book {
        Config::parse("f", text).unwrap();
    }
    let rules = book.iter().find(|text| text.contains("[[rule]]")).unwrap();
    for text in [shipped.join("\n").as_str(), rules] {
        let config = Config::parse("f", text).unwrap();
        assert_eq!(config.rules.probes("web1", Uuid([0; 16])).len(), 4, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_line_and_column() {
    let table = [
        ("group = 3", "f:1:9: invalid type: integer `3`, expected a string"),
        ("group = \"\"", "f:1:9: group: a name is wanted"),
        (
            "group = \"ops\"\n[rights]\nread = \"\"",
            "f:3:8: rights.read: a name is wanted; name a group of this machine, or leave the key out for \"ops\"",
        ),
        ("[rights]\ninject = [\"a\"]", "f:2:10: invalid type: sequence, expected a string"),
        (
            "[rights]\nwrite = \"a\"",
            "f:2:1: unknown field `write`, expected one of `read`, `events`, `inject`, `configure`",
        ),
        ("[inject]\ndirectories = [\"/a\", \"b\"]", "f:2:22: inject.directories: an absolute path is wanted"),
        ("[inject]\ndirectories = \"/a\"", "f:2:15: invalid type: string \"/a\", expected a sequence"),
        (
            "[inject]\ndigests = [\"abc\"]",
            "f:2:12: inject.digests: \"abc\" is no digest; write \"sha256:\" and 64 hexadecimal digits",
        ),
        (
            "[inject]\nsigner = [\"a\"]",
            "f:2:1: unknown field `signer`, expected one of `directories`, `digests`, `signers`",
        ),
        ("[inject]\nsigners = \"/a\"", "f:2:11: invalid type: string \"/a\", expected a sequence"),
        (
            "\n\ngruop = \"vesper\"",
            "f:3:1: unknown field `gruop`, expected one of `group`, `rights`, `inject`, `limits`, `attach`, `listener`, `events`, `directories`, `rule`",
        ),
        ("[limits]\nimage_bites = 1", "f:2:1: unknown field `image_bites`"),
        ("[limits]\n  image_bytes = 0", "f:2:17: limits.image_bytes: 0 is not between 1 and 1073741824"),
        ("[limits]\nwaiting_bytes = 9", "f:2:17: limits.waiting_bytes: less than limits.image_bytes"),
        ("[limits]\nimage_bytes = 900000000", "f:2:15: limits.waiting_bytes: less than limits.image_bytes"),
        ("[limits]\nqueue_length = -1", "f:2:16: limits.queue_length: -1 is not between 1 and 1024"),
        ("[limits]\ntimeout_seconds = \"30\"", "f:2:19: invalid type: string \"30\", expected i64"),
        ("[limits]\ntimeout_seconds = 0", "f:2:19: limits.timeout_seconds: 0 is not between 1 and 86400"),
        ("[limits]\nconnections = 99999", "f:2:15: limits.connections: 99999 is not between 1 and 1024"),
        (
            "[attach]\nnames = [\"web*\",\n  \"a***\"]",
            "f:3:3: attach.names: Pattern syntax error near position",
        ),
        ("[attach]\nuuids = [\"00112233\"]", "f:2:10: attach.uuids: \"00112233\" is not a UUID"),
        ("[attach]\nall = 1", "f:2:7: invalid type: integer `1`, expected a boolean"),
        ("[listener]\nlag_limit = 3", "f:2:1: unknown field `lag_limit`"),
        ("[listener]\nlag_limit_s = 0", "f:2:15: listener.lag_limit_s: 0 is not between 1 and 3600"),
        (
            "[listener]\nmax_pages_total = 9\n",
            "f:2:19: listener.max_pages_total: less than listener.max_pages_per_guest",
        ),
        ("[listener]\n max_pages_per_guest = 100000", "f:2:24: listener.max_pages_total: less than"),
        ("[listener]\nmax_exports_per_guest = 257", "f:2:25: listener.max_exports_per_guest: 257 is"),
        ("[listener]\nsave_dir = \"\"", "f:2:12: listener.save_dir: an absolute path is wanted"),
        ("[listener]\ntree = \"./x\"", "f:2:8: listener.tree: an absolute path is wanted"),
        ("[listener]\nsave_limit_mib = 15", "f:2:18: listener.save_limit_mib: 15 is not between 16 and"),
        ("[events]\nwatch_ms = 49", "f:2:12: events.watch_ms: 49 is not between 50 and 60000"),
        ("[events]\njournal_limit_mib = 0", "f:2:21: events.journal_limit_mib: 0 is not between 1 and"),
        ("[events]\nhooks_dir = \"hooks\"", "f:2:13: events.hooks_dir: an absolute path is wanted"),
        ("[events]\nhook_timeout_s = 0", "f:2:18: events.hook_timeout_s: 0 is not between 1 and 3600"),
        ("[events]\nhooks_at_once = 65", "f:2:17: events.hooks_at_once: 65 is not between 1 and 64"),
        ("[events]\njournal_dir = \"\"", "f:2:15: events.journal_dir: an absolute path is wanted"),
        ("[directories]\nprobes = \"/x\"", "f:2:10: invalid type: string \"/x\", expected a sequence"),
        ("[directories]\nprobes = [\"/x\", \"x\"]", "f:2:17: directories.probes: an absolute path is"),
        ("[directories]\nruntime = \"run\"", "f:2:11: directories.runtime: an absolute path is wanted"),
        ("[limits\n", "f:1:8: "),
        ("group = \"a\"\ngroup = \"b\"", "f:2:1: duplicate key"),
        ("# grün\ngroup = \"grün\" x", "f:2:16: "),
    ];
    for (text, wanted) in table {
        let said = Config::parse("f", text).expect_err(text).to_string();
        assert!(said.starts_with(wanted), "{text:?}\n  said   {said}\n  wanted {wanted}");
    }
}

#[test]
fn a_right_without_a_group_of_its_own_has_the_group_for_all() {
    use vesper_api::Right;

    let rights = Config::parse("f", "group = \"ops\"\n[rights]\ninject = \"loaders\"").unwrap().rights;
    let groups = Right::ALL.map(|right| rights.group(right));
    assert_eq!(groups, ["ops", "ops", "loaders", "ops"]);
}

#[test]
fn a_digest_is_all_of_its_digits() {
    let text = format!("sha256:{}", "0aF".repeat(22).split_off(2));
    let digest: Digest = text.parse().unwrap();
    assert_eq!(digest.to_string(), text.to_lowercase());
    let [long, short] = [format!("{text}0"), text[..70].to_owned()];
    let signed = format!("sha256:+{}", &text[8..]);
    let other = text.replace("sha256", "sha512");
    for wrong in [&long, &short, &signed, &other, &text[7..].to_owned(), &"sha256:ü".repeat(9)] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}

/// Of rules: where, what, and what to do about it.
#[test]
fn what_is_wrong_in_a_rule_says_what_to_do() {
    let table = [
        ("[[rule]]\nprobes = [\"panic\"]", "f:1:1: rule: it says no guests; add a line such as guests = "),
        ("\n[[rule]]\nguests = []\nfailed = []", "f:2:1: rule: it says no guests; add a line"),
        ("[[rule]]\nguests = [\"*\"]", "f:1:1: rule: it says nothing about its guests; add probes = "),
        (
            "[rule]\nguests = [\"*\"]",
            "f:1:1: invalid type: map, expected a sequence; write it in double brackets",
        ),
        (
            "[[rule]]\nguest = [\"*\"]",
            "f:2:1: unknown field `guest`, expected one of `guests`, `probes`, `failed`, `service`; write it as",
        ),
        (
            "[[rule]]\nguests = \"web*\"",
            "f:2:10: invalid type: string \"web*\", expected a sequence; write a value of that type",
        ),
        (
            "[[rule]]\nguests = [\"web[\"]\nfailed = []",
            "f:2:11: guests: Pattern syntax error near position 3: invalid range pattern; * stands for",
        ),
        (
            "[[rule]]\nguests = [\"a\", \"17\"]\nfailed = []",
            "f:2:16: guests: \"17\" is a domid, which changes when the guest reboots; write the guest's name",
        ),
        (
            "[[rule]]\nguests = [\"\"]\nfailed = []",
            "f:2:11: guests: \"\" is an empty name; write the guest's name",
        ),
        (
            "[[rule]]\nguests = [\"00112233-4455-6677-8899-aabbccddeef\"]\nfailed = []",
            "f:2:11: guests: \"00112233-4455-6677-8899-aabbccddeef\" is not a UUID; write it as vesper list",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\nprobes = [\"panic\", \"../x\"]",
            "f:3:20: probes: \"../x\" is no name: letters, digits, _ and - are wanted, 48 at most; write \"GROUP\"",
        ),
        ("[[rule]]\nguests = [\"*\"]\nprobes = [\"\"]", "f:3:11: probes: \"\" is no name"),
        (
            "[[rule]]\nguests = [\"*\"]\nprobes = [\"signal =nginx\"]",
            "f:3:11: probes: \"=nginx\" is not of the form PARAM=VALUE; write \"GROUP\" or",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\nprobes = [\"panic\",\n  \"panic:oops\"]",
            "f:4:3: probes: panic is there twice; a module is in a guest once",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\nfailed = [\"guest-panik\"]",
            "f:3:11: failed: \"guest-panik\" is no event; write some of guest-panic, guest-hung",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\nfailed = [\"guest-paused\"]",
            "f:3:11: failed: \"guest-paused\" does not say that anything failed; write some of guest-panic",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nprocess = \"nginx\"",
            "f:3:1: rule.service: it has no name; add name = ",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"web site\"",
            "f:4:8: rule.service.name: \"web site\" is no name for a service; letters, digits",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"w\"\nprocess = \"\"",
            "f:5:11: rule.service.process: it is empty; write the name",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"systemd-journald\"",
            "f:4:8: rule.service.process: \"systemd-journald\" is longer than the 15 characters that a kernel keeps of a process's name; write process = \"systemd-journal\"",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"w\"\nprocess = \"a[\"",
            "f:5:11: rule.service.process: Pattern syntax error",
        ),
        (
            "[[rule]]\nguests = [\"*\"]\n[[rule.service]]\nname = \"w\"\nfailed = [\"guest-panic\"]",
            "f:5:11: rule.service.failed: \"guest-panic\" says nothing of a process; write some of process-killed, process-stuck, guest-oom, guest-oops",
        ),
        (
            "[[rule.service]]\nname = \"w\"",
            "f:1:3: invalid type: map, expected a sequence; write it in double brackets",
        ),
    ];
    for (text, wanted) in table {
        let said = Config::parse("f", text).expect_err(text).to_string();
        assert!(said.starts_with(wanted), "{text:?}\n  said   {said}\n  wanted {wanted}");
    }
}

#[test]
fn every_error_says_what_to_do() {
    for text in [
        "group = 3",
        "gruop = 1",
        "x",
        "group = \"\"",
        "[limits]\nqueue_length = 0",
        "group = \"a\"\ngroup = \"b\"",
        "[attach]\nuuids = [\"x\"]",
        "[directories]\nruntime = \"x\"",
    ] {
        let ConfigError::Wrong { remedy, .. } = Config::parse("f", text).expect_err(text) else {
            panic!("{text}")
        };
        assert!(remedy.len() > 10, "{text}: {remedy:?}");
    }
}

#[test]
fn patterns_and_uuids_choose_guests() {
    let text = "[attach]\nnames = [\"web*\", \"db?\"]\nuuids = [\"00112233-4455-6677-8899-AABBCCDDEEFF\"]";
    let rule = Config::parse("f", text).unwrap().attach;
    let other = Uuid([7; 16]);
    for name in ["web", "web1", "db1", "web1--incoming", "db1--incoming"] {
        assert!(rule.matches(name, other), "{name}");
    }
    for name in ["", "db", "db12", "xweb", "Web1", "--incoming", "db--incoming", "db12--migratedaway"] {
        assert!(!rule.matches(name, other), "{name}");
    }
    assert!(rule.matches("x", "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap()));
    assert!(Config::parse("f", "[attach]\nall = true").unwrap().attach.matches("", other));
}
