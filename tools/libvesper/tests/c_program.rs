// SPDX-License-Identifier: MIT OR Apache-2.0
//! The example is compiled by a C compiler against the header and the shared library, and run against a daemon that says
//! what the test wants. The scenario `c-program` runs it against the real one.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

/// Where cargo puts what it builds for this test.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().to_path_buf()
}

fn compile(dir: &Path, example: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join("watch");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_GNU_SOURCE", "-o"]).arg(&program);
    cc.arg(here.join("examples").join(example)).arg("-I").arg(here.join("include"));
    cc.arg("-L").arg(libraries()).arg("-lvesper");
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs the example with a daemon that answers each connection's request by `answer`.
fn run(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Output {
    run_example("watch.c", answer, |command, module| {
        command.arg("3").arg(module).args(["probe", "chan", "10", "a=1  b=2"]);
    })
}

/// The same with any example, and its arguments.
fn run_example(
    example: &str,
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
    arguments: impl FnOnce(&mut Command, &Path),
) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), example);
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(&stream.unwrap(), &answer);
        }
    });
    let module = dir.path().join("probe.ko");
    std::fs::write(&module, "an image").unwrap();
    // The loader finds libraries by their soname.
    std::os::unix::fs::symlink(libraries().join("libvesper.so"), dir.path().join("libvesper.so.0")).unwrap();
    let mut command = Command::new(&program);
    command.env("VESPER_SOCKET", &socket).env("LD_LIBRARY_PATH", dir.path());
    arguments(&mut command, &module);
    command.output().unwrap()
}

fn serve(mut stream: &UnixStream, answer: &dyn Fn(&str) -> Vec<u8>) {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    // A client that is content may have gone.
    let _ = stream.write_all(&answer(&line));
}

const GUEST: &str = r#""domid":3,"name":"web1","uuid":"c3b7a1de-0b57-4b5a-9c11-2f8a64e9a001""#;

fn record(event: u16, seq: u64, payload: &[u8]) -> Vec<u8> {
    let bytes = (24 + payload.len()).next_multiple_of(8);
    let mut record = (bytes as u32).to_le_bytes().to_vec();
    record.extend(event.to_le_bytes());
    record.extend(0u16.to_le_bytes());
    record.extend(5_000_000_000u64.to_le_bytes());
    record.extend(seq.to_le_bytes());
    record.extend(payload);
    record.resize(bytes, 0);
    record
}

fn streamed() -> Vec<u8> {
    let mut said =
        format!(r#"{{"status":0,"result":{{"done":"streaming","guest":{{{GUEST}}},"channels":["chan"]}}}}"#);
    said += "\n{\"frame\":\"guest\",";
    said += GUEST;
    said += "}\n{\"frame\":\"clock\",\"offset_ns\":1000000000,\"error_ns\":7}\n";
    said += "{\"frame\":\"export\",\"export\":1,\"name\":\"chan\",\"owner\":\"probe\",\"subbuf_size\":4096,\"subbufs\":4,";
    said += "\"cpus\":[0],\"schema\":\"hit value:u32\"}\n";
    let data = [record(1, 0, &42u32.to_le_bytes()), record(1, 5, &43u32.to_le_bytes())].concat();
    said += &format!("{{\"frame\":\"data\",\"export\":1,\"cpu\":0,\"bytes\":{}}}\n", data.len());
    let mut said = said.into_bytes();
    said.extend(data);
    said.extend(b"\n{\"frame\":\"gone\",\"reason\":\"destroyed\"}\n".iter().skip(1));
    said
}

#[test]
fn a_c_program_loads_reads_and_unloads() {
    let output = run(|request| {
        match request {
        insmod if insmod.contains(r#""request":"insmod""#) => {
            assert!(insmod.contains(r#""args":["a=1","b=2"]"#), "{insmod}");
            format!(
                r#"{{"status":0,"result":{{"done":"loaded","guest":{{{GUEST}}},"module":"probe","bytes":8,"kernel_us":1,"total_us":2}}}}"#
            )
            .into_bytes()
        }
        alive if alive.contains(r#""request":"alive""#) => {
            format!(r#"{{"status":0,"result":{{"done":"alive","guest":{{{GUEST}}},"alive":true,"because":"beating"}}}}"#)
                .into_bytes()
        }
        stream if stream.contains(r#""request":"stream""#) => return streamed(),
        _ => format!(
            r#"{{"status":0,"result":{{"done":"unloaded","guest":{{{GUEST}}},"module":"probe","kernel_us":1,"total_us":2}}}}"#
        )
        .into_bytes(),
    }
    .into_iter()
    .chain(*b"\n")
    .collect()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        ["alive: yes", "chan hit cpu 0 seq 0: 8 bytes", "4 lost", "chan hit cpu 0 seq 5: 8 bytes", "done"],
        "{text}"
    );
    assert!(text.contains(r#""value":42"#), "{text}");
}

#[test]
fn a_c_program_is_told_of_events() {
    let event = |serial: u64, kind: &str| {
        format!(
            r#"{{"serial":{serial},"fault":17,"event":"{kind}","severity":"fatal","guest":{{{GUEST}}},"time":"2026-03-01T12:34:56.000000000Z","cause":"why"}}"#
        )
    };
    let output = run_example(
        "events.c",
        move |request| {
            assert_eq!(request, "{\"request\":\"events\",\"since\":16,\"follow\":true}\n");
            let reply = r#"{"status":0,"result":{"done":"events","last":17,"gone":0}}"#;
            let (one, two) = (event(17, "guest-crashed"), event(19, "guest-bored"));
            format!("{reply}\n{one}\n{{\"missed\":18}}\n{two}\n").into_bytes()
        },
        |command, _| {
            command.arg("16");
        },
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "17 (fault 17) domain 3, web1: guest-crashed, fatal: why\nsome up to 18 are missing\n\
         19 (fault 17) domain 3, web1: unknown, fatal: why\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "virt_events_next: Remote I/O error\n");
}

#[test]
fn the_guests_own_error_comes_through() {
    let output = run(|_| {
        b"{\"status\":1,\"error\":{\"kind\":\"refused\",\"message\":\"x\",\"errno\":{\"number\":17,\"name\":\"EEXIST\",\"meaning\":\"m\"}}}\n".to_vec()
    });
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "virt_insmod: File exists\n");
}

#[test]
fn a_daemon_that_goes_away_is_told_as_such() {
    let output = run(|_| Vec::new());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "virt_insmod: Remote I/O error\n");
}
