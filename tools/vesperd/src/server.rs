// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use vesper_api::Right;
use vesper_grant::Host;
use vesper_xenback::{Backend, Limits};
use vesper_xenstore::Store;

use crate::clients::Clients;
use crate::closer::Closer;
use crate::config::{Config, ConfigError};
use crate::desk::Desk;
use crate::events::{self, Events};
use crate::files::Files;
use crate::hooks::Rules;
use crate::rights::Rights;
use crate::saver::{Place, Saver};
use crate::socket::{Listener, SocketError};

/// Makes a new connection to xenstore when the old one has ended.
pub type Reconnect = Box<dyn FnMut() -> Result<Arc<dyn Store>, vesper_xenstore::Error> + Send>;

/// How a daemon that runs takes another configuration.
pub struct Reload {
    /// Readable when it is to; what can be read says nothing.
    pub asked: UnixStream,
    /// Reads it.
    pub read: Box<dyn FnMut() -> Result<Config, ConfigError> + Send>,
}

/// Why the daemon does not start, or not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket could not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The backend could not be made.
    #[error(transparent)]
    Backend(#[from] vesper_xenback::Error),
    /// A system call failed that the daemon cannot do without.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn os<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Os { what, source: source.into() }
}

const LISTENER: u64 = 0;
const STOP: u64 = 1;
const DESK: u64 = 2;
const RELOAD: u64 = 3;
const FIRST_CLIENT: u64 = 16;

/// Connections taken before others have their turn; so clients that came and went at once have left before they count
/// (those that are told of events: when the thread that tells them has seen it).
const ACCEPTS_A_TURN: u32 = 16;

/// Pause after an accept or a connection to xenstore failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the daemon until `stop` is readable. `ready` is called once clients can connect.
///
/// # Errors
/// When it cannot start; once it runs, only if epoll itself fails.
pub fn run(
    host: Arc<dyn Host>,
    store: Arc<dyn Store>,
    mut reconnect: Reconnect,
    config: &Config,
    stop: impl AsFd,
    mut reload: Reload,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let rights = Rights::find(&config.rights).map_err(os("/etc/group"))?;
    let (readers, told_of_events) = (rights.group(Right::Read), rights.group(Right::Events));
    // First of all, so that a second daemon touches nothing.
    let listener = Listener::bind(&config.socket, rights.access())?;
    let shared = &config.listener;
    let limits = Limits {
        queue_length: config.queue_length,
        shared: shared.limits,
        lag_limit: shared.lag_limit,
        ..Limits::default()
    };
    let backend = Backend::new(host, store, limits)?;
    let place = Place { dir: shared.save_dir.clone(), limit: shared.save_limit, group: readers };
    let saver = Saver::start(place).map_err(os("the saver thread"))?;
    let told = &config.events;
    let hooks = Rules { dir: told.hooks_dir.clone(), limit: told.hook_timeout, at_once: told.hooks_at_once };
    let (dir, rules) = (told.journal_dir.clone(), config.rules.clone());
    let place = events::Place { dir, limit: told.journal_limit, group: told_of_events, hooks, rules };
    let events = Events::start(place).map_err(os("the events thread"))?;
    let files = Files::mount(shared.tree.as_deref(), readers);
    let mut desk = Desk::new(backend, files, saver, events, config).map_err(os("the images thread"))?;
    let closer = Closer::start().map_err(os("the closer thread"))?;
    let mut clients = Clients::new(FIRST_CLIENT, config.connections, rights, closer);

    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os("epoll"))?;
    let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
    epoll.add(&listener, readable(LISTENER)).map_err(os("epoll"))?;
    epoll.add(&stop, readable(STOP)).map_err(os("epoll"))?;
    reload.asked.set_nonblocking(true).map_err(os("a socket for signals"))?;
    epoll.add(&reload.asked, readable(RELOAD)).map_err(os("epoll"))?;
    for descriptor in desk.descriptors() {
        epoll.add(descriptor, readable(DESK)).map_err(os("epoll"))?;
    }
    log::info!("listening on {}", config.socket.display());
    ready();

    let mut accept_again: Option<Instant> = None;
    let mut reconnect_at: Option<Instant> = None;
    let mut events = [EpollEvent::empty(); 64];
    loop {
        // Until nothing more follows from it: a reply may let a client's next request in.
        loop {
            let told = desk.run();
            if told.is_empty() {
                break;
            }
            for told in told {
                clients.deliver(&epoll, &mut desk, told);
            }
        }
        let now = Instant::now();
        if desk.lost_store() && reconnect_at.is_none_or(|at| at <= now) {
            let renewed = reconnect().map_err(vesper_xenback::Error::from);
            match renewed.and_then(|store| desk.set_store(store)) {
                Ok(()) => {
                    log::info!("connected to xenstore again");
                    reconnect_at = None;
                    // What the new connection has to tell is looked at before anything is waited for.
                    continue;
                }
                Err(error) => {
                    log::debug!("xenstore: {error}");
                    reconnect_at = Some(now + PAUSE);
                }
            }
        }
        if accept_again.is_some_and(|at| at <= now) {
            accept_again = None;
            epoll.modify(&listener, &mut readable(LISTENER)).map_err(os("epoll"))?;
        }

        let due = [desk.next_deadline(), accept_again, reconnect_at].into_iter().flatten().min();
        let count = match epoll.wait(&mut events, timeout(due)) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(os("epoll")(errno)),
        };
        for event in &events[..count] {
            match event.data() {
                STOP => {
                    for told in desk.stop() {
                        clients.deliver(&epoll, &mut desk, told);
                    }
                    clients.stop();
                    log::info!("stopping; devices stay attached for the next start");
                    return Ok(());
                }
                LISTENER => {
                    if let Err(error) = accept(&listener, &mut clients, &epoll) {
                        log::error!("no connection is taken for a second: {error}");
                        accept_again = Some(Instant::now() + PAUSE);
                        let mut nothing = EpollEvent::new(EpollFlags::empty(), LISTENER);
                        epoll.modify(&listener, &mut nothing).map_err(os("epoll"))?;
                    }
                }
                DESK => {}
                RELOAD => match reload.asked.read(&mut [0; 64]) {
                    Ok(count) if count > 0 => take_up((reload.read)(), config, &mut desk),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Nobody is there who could ask.
                    _ => epoll.delete(&reload.asked).map_err(os("epoll"))?,
                },
                client => clients.serve(&epoll, &mut desk, client, event.events()),
            }
        }
    }
}

/// Goes on with what was read, or with what there is.
fn take_up(read: Result<Config, ConfigError>, begun_with: &Config, desk: &mut Desk) {
    match read {
        Ok(config) => {
            log::info!("the configuration was read anew: {} rules", config.rules.count());
            for key in config.needs_restart(begun_with) {
                log::warn!("{key} was changed, which takes effect at: systemctl restart vesperd");
            }
            desk.reload(&config, Instant::now());
        }
        Err(error) => log::error!("the configuration before stays in force: {error}"),
    }
}

fn accept(listener: &Listener, clients: &mut Clients, epoll: &Epoll) -> io::Result<()> {
    for _ in 0..ACCEPTS_A_TURN {
        let Some(stream) = listener.accept()? else { break };
        let descriptor = stream.as_raw_fd();
        if let Err(error) = clients.welcome(epoll, stream) {
            log::warn!("connection {descriptor}: {error}");
        }
    }
    Ok(())
}

/// Time until something is due, rounded up so that it *is* due then; for ever if nothing is.
fn timeout(due: Option<Instant>) -> EpollTimeout {
    let Some(due) = due else { return EpollTimeout::NONE };
    let wait = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    EpollTimeout::try_from(wait.min(i32::MAX as u128) as i32).unwrap_or(EpollTimeout::MAX)
}
