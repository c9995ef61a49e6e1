// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is saved, what is kept of it, and what happens when it cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vesper_relay_mirror::Start;
use vesper_relay_mirror::writer::WhenFull;
use vesper_stream::frame::{EndReason, Gone, GoneReason};
use vesper_stream::store::{self, Info};
use vesper_stream::{Entry, Parser};

use super::*;
use crate::streams::tests::{Played, flow, guest};

fn place(dir: &Path, limit: u64) -> Place {
    Place { dir: dir.join("saved"), limit, group: Some(nix::unistd::getgid().as_raw()) }
}

/// What is left of a guest with one channel that has so many records.
fn job(boot_id: &str, records: u64) -> Job {
    let guest = Guest { boot_id: Some(boot_id.into()), ..guest() };
    let mut channel = Played::new(1, "c", 1, WhenFull::Refuse);
    (0..records).for_each(|time| channel.record(0, time));
    let mut flow = flow(true);
    channel.add_to(&mut flow, Start::Oldest);
    flow.words("c", b"not a record");
    channel.channel.close();
    flow.gone(Gone { reason: GoneReason::Crashed, cause: Some("panic".into()) }, EndReason::GuestGone);
    Job { guest, flow, bytes: 16 << 10 }
}

/// Waits until a job has been done.
fn wait(saver: &Saver) {
    let mut done = [PollFd::new(saver.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut done, PollTimeout::from(60_000u16)), Ok(1), "it is not saved");
    saver.drain_wake();
}

fn frames(dir: &Path) -> Vec<Frame> {
    let mut parser = Parser::new();
    for file in store::files(dir).unwrap() {
        parser.push(&fs::read(file).unwrap());
    }
    let entries = std::iter::from_fn(|| parser.next_entry());
    entries
        .map(|entry| if let Entry::Frame(frame, _) = entry { frame } else { panic!("{entry:?}") })
        .collect()
}

#[test]
fn what_a_guest_recorded_last_is_found_by_name_and_uuid() {
    let dir = tempfile::tempdir().unwrap();
    let saver = Saver::start(place(dir.path(), 64 << 20)).unwrap();
    assert_eq!(saver.find("web1"), Found::Nothing);
    saver.save(job("6f1d4a0b2c9e4f7786aa05d1c3b2e4f1", 10));
    assert_ne!(saver.find("web1"), Found::Nothing);
    wait(&saver);
    let Found::Saved(saved) = saver.find("web1") else { panic!("not saved") };
    assert_eq!(saver.find("03030303-0303-0303-0303-030303030303"), Found::Saved(saved.clone()));
    assert_eq!(saver.find("3"), Found::Nothing, "a number is used again");
    let uuid = "03030303-0303-0303-0303-030303030303";
    assert_eq!(saved.dir, dir.path().join("saved").join(uuid).join("6f1d4a0b2c9e4f7786aa05d1c3b2e4f1"));

    let info = Info::read(&saved.dir).unwrap();
    assert_eq!((info.reason, info.cause.as_deref()), (Some(GoneReason::Crashed), Some("panic")));
    assert!(info.ended.is_some());
    let frames = frames(&saved.dir);
    assert!(matches!(frames.first(), Some(Frame::Guest(_))) && matches!(frames.last(), Some(Frame::Gone(_))));
    assert!(frames.iter().any(|frame| matches!(frame, Frame::Data(data) if !data.unsure)));
    assert!(frames.iter().any(|frame| matches!(frame, Frame::Words(_))));
    for (path, mode) in [(saved.dir.clone(), 0o750), (saved.dir.join("stream.vsp"), 0o640)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }

    // A daemon that is started anew finds it, too; and the same boot may end twice.
    drop(saver);
    let saver = Saver::start(place(dir.path(), 64 << 20)).unwrap();
    saver.save(job("6f1d4a0b2c9e4f7786aa05d1c3b2e4f1", 20));
    wait(&saver);
    let Found::Saved(again) = saver.find("WEB1".to_lowercase().as_str()) else { panic!("not saved") };
    assert!(again.dir.ends_with("6f1d4a0b2c9e4f7786aa05d1c3b2e4f1-2"), "{}", again.dir.display());
}

#[test]
fn a_boot_id_is_no_path() {
    let dir = tempfile::tempdir().unwrap();
    for (number, id) in
        ["../../../../tmp/x", "", "/etc", "6f1d4a0b2c9e4f7786aa05d1c3b2e4f."].iter().enumerate()
    {
        let path = shelf::free(dir.path(), Some(id));
        assert_eq!(path.parent(), Some(dir.path()));
        fs::create_dir(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            name,
            if number == 0 { "unknown-boot".into() } else { format!("unknown-boot-{}", number + 1) }
        );
    }
}

#[test]
fn the_oldest_goes_when_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { limit: 45_000, ..place(dir.path(), 0) };
    let saver = Saver::start(place).unwrap();
    for boot in ["a", "b", "c", "d"] {
        // Each has about 14 KB.
        saver.save(job(&boot.repeat(32), 400));
        wait(&saver);
        // So that the file system's clock tells them apart.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let parent = dir.path().join("saved/03030303-0303-0303-0303-030303030303");
    let kept = || -> Vec<_> {
        let mut kept: Vec<_> =
            fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kept.sort();
        kept
    };
    assert_eq!(kept(), ["b", "c", "d"].map(|boot| boot.repeat(32)).map(std::ffi::OsString::from));
    // Also of those that a daemon before this one has saved; and there is room before it is written.
    drop(saver);
    let saver = Saver::start(Place { limit: 20_000, ..self::place(dir.path(), 0) }).unwrap();
    saver.save(job(&"e".repeat(32), 400));
    wait(&saver);
    assert_eq!(kept(), [std::ffi::OsString::from("e".repeat(32))]);
}

/// No disk: it is said, and the next one is tried.
#[test]
fn a_place_that_cannot_be_written_loses_what_was_to_be_saved_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("saved"), "a file is in the way").unwrap();
    let saver = Saver::start(place(dir.path(), 64 << 20)).unwrap();
    saver.save(job(&"a".repeat(32), 1));
    wait(&saver);
    assert_eq!(saver.find("web1"), Found::Nothing);
    fs::remove_file(dir.path().join("saved")).unwrap();
    saver.save(job(&"b".repeat(32), 1));
    wait(&saver);
    assert!(matches!(saver.find("web1"), Found::Saved(_)));
}

#[test]
fn a_daemon_that_stops_saves_what_it_has_first() {
    let dir = tempfile::tempdir().unwrap();
    let saver = Saver::start(place(dir.path(), 64 << 20)).unwrap();
    for boot in ["a", "b", "c"] {
        saver.save(job(&boot.repeat(32), 100));
    }
    drop(saver);
    let parent = dir.path().join("saved/03030303-0303-0303-0303-030303030303");
    assert_eq!(fs::read_dir(parent).unwrap().count(), 3);
}

#[test]
fn nothing_is_saved_where_nothing_is_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let saver = Saver::start(place(dir.path(), 0)).unwrap();
    saver.save(job(&"a".repeat(32), 1));
    assert_eq!(saver.find("web1"), Found::Nothing);
    drop(saver);
    assert!(!dir.path().join("saved").exists());
}
