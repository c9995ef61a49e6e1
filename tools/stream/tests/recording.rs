// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams in directories.

mod support;

use std::fs;
use std::path::Path;

use support::{Made, record, text_field};
use vesper_stream::store::{self, Info, LIMIT_MIN};
use vesper_stream::{Decoder, Entry, Item, Parser, Recording, What};

fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut parser = Parser::new();
    parser.push(bytes);
    std::iter::from_fn(|| parser.next_entry()).collect()
}

fn items(dir: &Path) -> Vec<Item> {
    let (mut decoder, mut items) = (Decoder::new(), Vec::new());
    for file in store::files(dir).unwrap() {
        entries(&fs::read(file).unwrap()).into_iter().for_each(|entry| decoder.decode(entry, &mut items));
    }
    items
}

fn write(recording: &mut Recording, bytes: &[u8]) {
    for entry in entries(bytes) {
        let Entry::Frame(frame, payload) = entry else { panic!("{entry:?}") };
        recording.write(&frame, &payload).unwrap();
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Made::new();
    made.export(1, "c", "e n:u8", &[Some(0)]);
    made.data(1, Some(0), &record(1, 0, 1, 0, b"a"));
    let mut recording = Recording::create(dir.path(), None).unwrap();
    write(&mut recording, &made.bytes);
    recording.flush().unwrap();
    assert_eq!(fs::read(dir.path().join("stream.vsp")).unwrap(), made.bytes);
    assert_eq!(recording.bytes(), (made.bytes.len() as u64, 0));
    assert_eq!(Info::read(dir.path()).unwrap().guest.name, "web1");
    recording.finish().unwrap();
    assert!(Info::read(dir.path()).unwrap().ended.is_some());
    let again = Recording::create(dir.path(), None).unwrap_err();
    assert!(again.to_string().contains("has a recording in it already"), "{again}");
}

#[test]
fn a_limited_recording_keeps_the_newest_and_can_be_read_from_where_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(dir.path(), Some(LIMIT_MIN)).unwrap();
    let mut made = Made::new();
    made.export(1, "c", "e s:str", &[Some(0)]);
    made.export(2, "ended", "e", &[Some(0)]);
    made.clock(7, 1);
    made.end(2, vec![], vesper_stream::frame::EndReason::Stopped);
    write(&mut recording, &made.bytes);
    let text = text_field(&"x".repeat(50_000));
    for seq in 0..1000 {
        let mut made = Made { bytes: Vec::new() };
        made.data(1, Some(0), &record(1, 0, seq + 1, seq, &text));
        write(&mut recording, &made.bytes);
        assert!(recording.bytes().0 <= LIMIT_MIN);
    }
    recording.flush().unwrap();
    let (kept, removed) = recording.bytes();
    let there: u64 =
        store::files(dir.path()).unwrap().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(there, kept);
    assert!(kept > LIMIT_MIN * 3 / 4 && removed > 30_000_000, "{kept} kept, {removed} removed");

    let items = items(dir.path());
    let started = items.iter().filter(|item| item.what == What::Started).count();
    assert_eq!(started, 1, "said once, although each file says it");
    let seqs: Vec<_> = items
        .iter()
        .filter_map(|item| if let What::Record { header, .. } = &item.what { Some(header.seq) } else { None })
        .collect();
    assert_eq!(seqs.last(), Some(&999));
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(!items.iter().any(|item| matches!(item.what, What::Lost(_))), "what was removed is not lost");
    assert!(items.iter().all(|item| item.what == What::Started || item.moment().is_some()));
}

#[test]
fn only_streams_are_streams() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["stream.vsp", "stream-000002.vsp", "stream-.vsp", "stream-1a.vsp", "streams.vsp", "info.json"]
    {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let names: Vec<_> = store::files(dir.path())
        .unwrap()
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["stream-000002.vsp", "stream.vsp"]);
    assert!(store::files(&dir.path().join("nowhere")).unwrap_err().to_string().contains("nowhere: "));
}
