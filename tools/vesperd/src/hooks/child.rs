// SPDX-License-Identifier: MIT OR Apache-2.0
//! One hook that runs: the event on its standard input, what it says line by line into the log, and its end.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use vesper_api::printable;

use super::LAST;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How often, and after which time, a file that is being written is tried again.
const BUSY_MAX: u32 = 10;
const BUSY: Duration = Duration::from_millis(20);
/// Lines of one hook that are logged, and characters of one.
const LINES_MAX: usize = 64;
const LINE_MAX: usize = 400;
/// Where it finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How it ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Well, after this time.
    Done(Duration),
    /// With another status.
    Failed(ExitStatus),
    /// By us, because its time was over.
    TimedOut(Duration),
    /// By us, because the daemon stops.
    Left,
    /// It did not begin.
    NotStarted(io::Error),
    /// It was not to begin.
    Refused(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(took) => write!(f, "done in {} ms", took.as_millis()),
            Self::Failed(status) => match status.signal() {
                Some(signal) => write!(f, "failed: killed by signal {signal}"),
                None => write!(f, "failed: exit status {}", status.code().unwrap_or(-1)),
            },
            Self::TimedOut(limit) => write!(f, "killed: it took longer than {} s", limit.as_secs_f32()),
            Self::Left => f.write_str("killed, because vesperd stops"),
            Self::NotStarted(error) => write!(f, "it cannot be started: {error}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// What is to be run.
pub(super) struct Child<'a> {
    /// For the log.
    pub(super) what: &'a str,
    pub(super) file: &'a Path,
    pub(super) limit: Duration,
    /// Readable once the daemon stops.
    pub(super) stop: &'a EventFd,
}

impl Child<'_> {
    /// Runs it to its end.
    pub(super) fn run(&self, variables: &[(&str, String)], input: &[u8]) -> Outcome {
        self.try_run(variables, input).unwrap_or_else(Outcome::NotStarted)
    }

    fn try_run(&self, variables: &[(&str, String)], input: &[u8]) -> io::Result<Outcome> {
        let begun = Instant::now();
        let (read, write) = io::pipe()?;
        let mut command = Command::new(self.file);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(write.try_clone()?)
            .stderr(write)
            .process_group(0);
        // A daemon that is killed takes its hooks along: the next one begins with them anew, and not beside them.
        // SAFETY: between fork and exec this makes one system call, and neither allocates nor takes a lock.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = spawn(&mut command)?;
        // With it the only copies of the pipe's other end are the child's.
        drop(command);
        let group = Pid::from_raw(child.id() as i32);
        let watched = pidfd(group).and_then(|ended| {
            let stdin = child.stdin.take().expect("it was asked for");
            nonblocking(&stdin)?;
            nonblocking(&read)?;
            let mut talk = Talk { stdin: Some(stdin), input, output: Output::new(read, self.what) };
            self.watch(&mut talk, &ended, group, begun)
        });
        // Whatever went wrong, nobody is left to be waited for; and what the hook had started, and bears SIGTERM, ends with it.
        if !matches!(watched, Ok(None)) {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let status = child.wait()?;
        Ok(match watched? {
            Some(why) => why,
            None if status.success() => Outcome::Done(begun.elapsed()),
            None => Outcome::Failed(status),
        })
    }

    /// Until it has ended; why, if it had to be killed.
    fn watch(
        &self,
        talk: &mut Talk<'_>,
        ended: &OwnedFd,
        group: Pid,
        begun: Instant,
    ) -> io::Result<Option<Outcome>> {
        let mut due = begun + self.limit;
        let mut killed = None;
        let mut stops = false;
        loop {
            let left = due.saturating_duration_since(Instant::now()).as_millis() + 1;
            let timeout =
                PollTimeout::try_from(left.min(i32::MAX as u128) as i32).unwrap_or(PollTimeout::MAX);
            let wanted = |wanted: bool| if wanted { PollFlags::POLLIN } else { PollFlags::empty() };
            let mut polled = vec![
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), wanted(!stops)),
            ];
            polled.extend(talk.descriptors());
            match poll(&mut polled, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let is_over = polled[0].any() == Some(true);
            let must_stop = !stops && polled[1].any() == Some(true);
            talk.go_on();
            if is_over {
                talk.output.finish();
                return Ok(killed);
            }
            if must_stop {
                stops = true;
                due = due.min(Instant::now() + LAST);
            }
            if due <= Instant::now() {
                let signal = if killed.is_none() { Signal::SIGTERM } else { Signal::SIGKILL };
                // It fails when all of them have ended.
                let _ = killpg(group, signal);
                killed.get_or_insert(if stops { Outcome::Left } else { Outcome::TimedOut(self.limit) });
                due = Instant::now() + GRACE;
            }
        }
    }
}

/// Its input and output.
struct Talk<'a> {
    stdin: Option<process::ChildStdin>,
    input: &'a [u8],
    output: Output<'a>,
}

impl Talk<'_> {
    fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let stdin = self.stdin.iter().map(|stdin| PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        let output = self.output.pipe.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        stdin.chain(output)
    }

    /// Writes and reads what can be.
    fn go_on(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            match stdin.write(self.input) {
                Ok(count) => self.input = &self.input[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It does not want to know.
                Err(_) => self.input = &[],
            }
            if self.input.is_empty() {
                self.stdin = None;
            }
        }
        self.output.read();
    }
}

/// What it says.
struct Output<'a> {
    pipe: Option<io::PipeReader>,
    what: &'a str,
    line: Vec<u8>,
    lines: usize,
}

impl<'a> Output<'a> {
    fn new(pipe: io::PipeReader, what: &'a str) -> Self {
        Self { pipe: Some(pipe), what, line: Vec::new(), lines: 0 }
    }

    fn read(&mut self) {
        let mut chunk = [0; 4096];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(count) => chunk[..count].iter().for_each(|byte| self.take(*byte)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.pipe = None,
        }
    }

    fn take(&mut self, byte: u8) {
        match byte {
            b'\n' => self.say(),
            _ if self.line.len() < LINE_MAX => self.line.push(byte),
            _ => {}
        }
    }

    fn say(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        if self.lines <= LINES_MAX {
            log::info!("{}: says: {}", self.what, printable(&String::from_utf8_lossy(&line)));
        }
    }

    /// It has ended. What it left running may say more, to nobody.
    fn finish(&mut self) {
        // What is in the pipe is at most 64 KiB, unless somebody goes on writing.
        (0..17).for_each(|_| self.read());
        if !self.line.is_empty() {
            self.say();
        }
        if self.lines > LINES_MAX {
            log::info!("{}: says {} lines more", self.what, self.lines - LINES_MAX);
        }
    }
}

/// Starts it; a file that somebody is writing at this moment a little later.
fn spawn(command: &mut Command) -> io::Result<process::Child> {
    for _ in 0..BUSY_MAX {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(BUSY),
            started => return started,
        }
    }
    command.spawn()
}

fn nonblocking(descriptor: &impl AsFd) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Readable when the process has ended (pidfd_open(2), Linux 5.3).
fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers; the process is a child that has not been waited for, so the number is still its.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}
