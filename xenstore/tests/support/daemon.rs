// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real xenstored without Xen, and guests that speak to it over its real ring page.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vesper_xenstore::Client;

/// A running xenstored with an empty store of its own.
pub struct Xenstored {
    pub dir: TempDir,
    child: Child,
}

impl Xenstored {
    /// Compiles the shim and starts the daemon that `VESPER_XENSTORED` names.
    pub fn start() -> Xenstored {
        let Some(binary) = std::env::var_os("VESPER_XENSTORED") else {
            panic!(
                "VESPER_XENSTORED is not set: it names the xenstored 4.17 binary to test against; \
                 `cargo xtask test` unpacks one and sets it"
            );
        };
        let dir = TempDir::new().expect("temporary directory");
        let shim = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/xenstored_shim.c");
        let gcc = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&shim, &source])
            .arg("-ldl")
            .status()
            .expect("gcc must be installed");
        assert!(gcc.success(), "gcc did not compile {}", source.display());
        let mut command = Command::new(binary);
        command
            .arg("-N")
            .env("LD_PRELOAD", &shim)
            .env("XSHIM_DIR", dir.path())
            .env("XENSTORED_RUNDIR", dir.path())
            .env("XENSTORED_ROOTDIR", dir.path())
            .env("XENSTORED_PATH", dir.path().join("socket"));
        if let Some(libs) = std::env::var_os("VESPER_XENSTORED_LIBS") {
            command.env("LD_LIBRARY_PATH", libs);
        }
        let child = command.spawn().expect("VESPER_XENSTORED must be a program");
        let mut daemon = Xenstored { dir, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(daemon.socket()).is_err() {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                panic!("xenstored ended at once: {status}");
            }
            assert!(Instant::now() < deadline, "xenstored does not listen");
            sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn connect(&self) -> Client {
        Client::over_socket(self.socket()).expect("xenstored listens")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("kill");
    }

    /// Introduces a domain and opens its unprivileged connection: the same client as dom0's, over a thread that
    /// carries its bytes to and from its ring page.
    pub fn guest(&self, dom0: &Client, domid: u16) -> Client {
        let ring = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.dir.path().join(format!("ring-{domid}")))
            .expect("ring file");
        ring.set_len(4096).expect("ring size");
        dom0.introduce(domid, 1, 1).expect("INTRODUCE");
        let kick = OpenOptions::new().write(true).open(self.dir.path().join("kick")).expect("kick FIFO");
        let (mine, theirs) = UnixStream::pair().expect("socket pair");
        let ring = Ring { page: ring, kick, domid };
        // Ends when the client closes its end.
        std::thread::spawn(move || carry(&ring, &theirs));
        Client::over_stream(mine).expect("client over a stream")
    }
}

impl Drop for Xenstored {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The guest's end of the store ring, `struct xenstore_domain_interface`. The page is a file that xenstored has
/// mapped; reading and writing the file is coherent with the mapping.
struct Ring {
    page: File,
    kick: File,
    domid: u16,
}

/// Bytes of each of the two data rings (`XENSTORE_RING_SIZE`); requests are at 0, answers right after.
pub const RING_SIZE: u32 = 1024;
/// Offsets of the indexes.
pub const REQ_CONS: u64 = 2048;
pub const REQ_PROD: u64 = 2052;
pub const RSP_CONS: u64 = 2056;
pub const RSP_PROD: u64 = 2060;

impl Ring {
    fn index(&self, at: u64) -> u32 {
        let mut word = [0; 4];
        self.page.read_exact_at(&mut word, at).expect("ring page");
        u32::from_ne_bytes(word)
    }

    fn set(&self, at: u64, index: u32) {
        self.page.write_all_at(&index.to_ne_bytes(), at).expect("ring page");
        // The daemon may have been stopped by the test; there is nobody to kick then.
        let _ = (&self.kick).write_all(&u32::from(self.domid).to_ne_bytes());
    }

    /// Puts as many bytes as fit; says how many.
    fn send(&self, bytes: &[u8]) -> usize {
        let (cons, prod) = (self.index(REQ_CONS), self.index(REQ_PROD));
        let room = RING_SIZE - prod.wrapping_sub(cons);
        let count = bytes.len().min(room as usize);
        for (step, byte) in bytes[..count].iter().enumerate() {
            let at = prod.wrapping_add(step as u32) % RING_SIZE;
            self.page.write_all_at(&[*byte], u64::from(at)).expect("ring page");
        }
        if count > 0 {
            self.set(REQ_PROD, prod.wrapping_add(count as u32));
        }
        count
    }

    fn receive(&self) -> Vec<u8> {
        let (cons, prod) = (self.index(RSP_CONS), self.index(RSP_PROD));
        let mut ring = [0; RING_SIZE as usize];
        self.page.read_exact_at(&mut ring, u64::from(RING_SIZE)).expect("ring page");
        let count = prod.wrapping_sub(cons);
        let bytes: Vec<u8> =
            (0..count).map(|step| ring[(cons.wrapping_add(step) % RING_SIZE) as usize]).collect();
        if count > 0 {
            self.set(RSP_CONS, prod);
        }
        bytes
    }
}

/// Carries a guest's bytes between its client and its ring.
fn carry(ring: &Ring, mut stream: &UnixStream) {
    stream.set_nonblocking(true).expect("non-blocking");
    let mut waiting = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if waiting.is_empty() {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => waiting.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        let sent = ring.send(&waiting);
        waiting.drain(..sent);
        let answer = ring.receive();
        // The client's reader takes everything at once, so a full socket is a bug: the guest then sees the end.
        if stream.write_all(&answer).is_err() {
            return;
        }
        if sent == 0 && answer.is_empty() {
            sleep(Duration::from_micros(200));
        }
    }
}
