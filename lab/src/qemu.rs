// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot of Xen in QEMU's software CPU: its two serial lines, and its end.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Begins a line that is a mark of the lab (ASCII record separator), not output of a script.
const MARK: u8 = 0x1e;

/// What QEMU is given.
pub struct Boot<'a> {
    /// Hypervisor, multiboot, not compressed.
    pub hypervisor: &'a Path,
    /// dom0's kernel.
    pub kernel: &'a Path,
    /// dom0's initramfs.
    pub initramfs: &'a Path,
    /// Where the console's log is written.
    pub console: &'a Path,
    /// The word that marks of this boot begin with.
    pub nonce: &'a str,
    /// Memory of the machine, in MiB.
    pub memory: u32,
    /// Memory of dom0, in MiB.
    pub dom0_memory: u32,
    /// dom0's `/dev/vda`, if it has a disk; what is written to it is forgotten.
    pub disk: Option<&'a Path>,
    /// A network card, if it has one.
    pub cable: Option<&'a Cable>,
    /// Whether the work line is the user's terminal.
    pub interactive: bool,
}

/// A network cable between two machines: a Unix socket, which takes no address of the host.
#[derive(Clone, Debug)]
pub struct Cable {
    /// The socket. The machine that makes it has to be started before the other.
    pub socket: PathBuf,
    /// Whether this machine makes it.
    pub makes: bool,
}

/// Something that came over the work line.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Output of the script.
    Output(Vec<u8>),
    /// A mark, without nonce.
    Mark(String),
    /// QEMU has ended.
    End,
}

/// A running QEMU; killed when dropped.
pub struct Machine {
    child: Child,
    events: Option<Receiver<Event>>,
}

impl Machine {
    /// Starts QEMU.
    pub fn start(boot: &Boot<'_>) -> Result<Self> {
        let mut command = Command::new("qemu-system-x86_64");
        // qemu64 and not max: dom0 crashes at its first instruction under Xen's SMAP with the latter.
        // svm, npt: for PVH guests.
        command.args(["-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt", "-smp", "2"]);
        command.args(["-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"]);
        command.arg("-m").arg(boot.memory.to_string()).arg("-kernel").arg(boot.hypervisor);
        let xen = format!("dom0_mem={}M com1=115200,8n1 console=com1 loglvl=warning", boot.dom0_memory);
        command.arg("-append").arg(xen);
        command.arg("-initrd").arg(format!(
            "{} console=hvc0 quiet panic=-1,{}",
            option(boot.kernel),
            option(boot.initramfs)
        ));
        command.arg("-serial").arg(format!("file:{}", option(boot.console)));
        if let Some(disk) = boot.disk {
            command.arg("-drive").arg(format!("file={},format=raw,if=virtio,snapshot=on", option(disk)));
        }
        if let Some(Cable { socket, makes }) = boot.cable {
            let server = if *makes { "on" } else { "off" };
            command
                .arg("-netdev")
                .arg(format!("stream,id=cable,server={server},addr.type=unix,addr.path={}", option(socket)));
            let end = if *makes { 1 } else { 2 };
            command
                .arg("-device")
                .arg(format!("virtio-net-pci,netdev=cable,mac=52:54:00:00:00:0{end},romfile="));
        }
        // Ctrl-C belongs to the shell in dom0 when the line is a terminal.
        command.args(["-chardev", "stdio,id=work,signal=off", "-serial", "chardev:work"]);
        if !boot.interactive {
            command.stdin(Stdio::null()).stdout(Stdio::piped());
        }
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and touches no memory
        // of the parent.
        unsafe {
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = command.spawn().context("cannot start qemu-system-x86_64")?;
        let events = child.stdout.take().map(|line| {
            let (send, events) = channel();
            let mut splitter = Splitter::new(boot.nonce);
            std::thread::spawn(move || {
                let mut line = line;
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = line.read(&mut buffer) {
                    for event in splitter.feed(&buffer[..count]) {
                        if send.send(event).is_err() {
                            return;
                        }
                    }
                }
                let _ = send.send(Event::End);
            });
            events
        });
        Ok(Self { child, events })
    }

    /// The next event before `deadline`; none when it passes.
    pub fn next(&self, deadline: Instant) -> Result<Option<Event>> {
        let events = self.events.as_ref().context("the work line is the user's terminal")?;
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(Event::End)),
        }
    }

    /// Waits until QEMU ends by itself, for the user's own session.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for QEMU")?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    /// Gives QEMU a moment to power off, then kills it.
    pub fn stop(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// A path inside a comma-separated QEMU option.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Tells marks and output apart in the bytes of the work line.
struct Splitter {
    mark: Vec<u8>,
    held: Vec<u8>,
}

impl Splitter {
    fn new(nonce: &str) -> Self {
        let mut mark = vec![MARK];
        mark.extend(nonce.as_bytes());
        mark.push(b' ');
        Self { mark, held: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.held.extend(bytes);
        let mut events = Vec::new();
        let mut output = Vec::new();
        loop {
            let at = self.held.iter().position(|byte| *byte == MARK).unwrap_or(self.held.len());
            output.extend(self.held.drain(..at));
            let compared = self.held.len().min(self.mark.len());
            if compared == 0 {
                break;
            }
            if self.held[..compared] != self.mark[..compared] {
                output.extend(self.held.drain(..1));
                continue;
            }
            let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else { break };
            if !output.is_empty() {
                events.push(Event::Output(std::mem::take(&mut output)));
            }
            let line: Vec<u8> = self.held.drain(..=end).collect();
            events.push(Event::Mark(String::from_utf8_lossy(&line[self.mark.len()..end]).trim().to_string()));
        }
        if !output.is_empty() {
            events.push(Event::Output(output));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let mut splitter = Splitter::new("n1");
        let (mut output, mut marks) = (Vec::new(), Vec::new());
        for event in pieces.iter().flat_map(|piece| splitter.feed(piece)) {
            match event {
                Event::Output(bytes) => output.extend(bytes),
                Event::Mark(mark) => marks.push(mark),
                Event::End => unreachable!("a splitter sees no end"),
            }
        }
        (output, marks)
    }

    #[test]
    fn marks_are_taken_out_however_the_bytes_are_cut() {
        let line = b"a\x1en1 up\nb\x1e\x1eother\n\x1en1 exit 3\n";
        for cut in 0..line.len() {
            let (output, marks) = all(&[&line[..cut], &line[cut..]]);
            assert_eq!(output, b"ab\x1e\x1eother\n", "cut at {cut}");
            assert_eq!(marks, ["up", "exit 3"], "cut at {cut}");
        }
    }

    #[test]
    fn a_mark_of_another_boot_is_output() {
        let (output, marks) = all(&[b"\x1en2 exit 0\n"]);
        assert_eq!(output, b"\x1en2 exit 0\n");
        assert!(marks.is_empty());
    }
}
