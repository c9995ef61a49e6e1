// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket that clients connect to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody has it.
    #[error("another vesperd is running: it answers on {0}")]
    InUse(PathBuf),
    /// Something that is no socket is in its place.
    #[error("{0} is there already and is not a socket")]
    NotASocket(PathBuf),
    /// A system call failed.
    #[error("{what} {path}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Who may connect, beside root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Root,
    /// Members of this group.
    Group(u32),
    /// Everybody: who they are is asked later.
    All,
}

/// The listening socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as this daemon runs, so that of two that start at once one is told so.
    _lock: Flock<File>,
}

impl Listener {
    /// Makes directory and socket; a socket that nobody answers on is taken over.
    ///
    /// # Errors
    /// [`SocketError::InUse`] if another daemon runs, else what the kernel said.
    pub fn bind(path: &Path, access: Access) -> Result<Self, SocketError> {
        let os = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Os { what, path, source }
        };
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(os("cannot make the directory", directory))?;
        }
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(os("cannot open", &lock_path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => SocketError::InUse(path.to_owned()),
            errno => os("cannot lock", &lock_path)(errno.into()),
        })?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(os("cannot make the socket", path))?;
        listener.set_nonblocking(true).map_err(os("cannot set up", path))?;
        // Between bind and here anybody may have connected: each connection's credentials are checked anyway.
        let (group, mode) = match access {
            Access::Root => (None, 0o600),
            Access::Group(group) => (Some(group), 0o660),
            Access::All => (None, 0o666),
        };
        std::os::unix::fs::chown(path, None, group).map_err(os("cannot change the group of", path))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(os("cannot change the mode of", path))?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// The next connection, non-blocking; `None` when there is none.
    ///
    /// # Errors
    /// The kernel's, for example too many open files.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(stream))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The client was gone before it was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The lock is still held, so this is this daemon's own socket.
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Removes a socket that a killed daemon left behind.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let os = |what, source| SocketError::Os { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(os("cannot look at", error)),
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| os("cannot remove the stale socket", error))
        }
        Err(error) => Err(os("cannot tell whether anybody answers on", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_made_with_its_directory_and_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/vesper/vesperd.sock");
        let own_group = nix::unistd::getgid().as_raw();
        let listener = Listener::bind(&path, Access::Group(own_group)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(listener.accept().unwrap().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().unwrap().is_some());
        drop(listener);
        assert!(!path.exists());
        let alone = Listener::bind(&path, Access::Root).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(alone);
        let open = Listener::bind(&path, Access::All).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        drop(open);
    }

    #[test]
    fn a_second_daemon_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vesperd.sock");
        let first = Listener::bind(&path, Access::Root).unwrap();
        let said = Listener::bind(&path, Access::Root).unwrap_err().to_string();
        assert!(said.starts_with("another vesperd is running"), "{said}");
        // Also somebody who knows nothing of the lock file.
        fs::remove_file(path.with_extension("lock")).unwrap();
        assert!(matches!(Listener::bind(&path, Access::Root), Err(SocketError::InUse(_))));
        let _client = UnixStream::connect(&path).unwrap();
        assert!(first.accept().unwrap().is_some(), "the first one is still reached");
    }

    #[test]
    fn a_stale_socket_is_taken_over_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vesperd.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a plain listener leaves its file, as a killed daemon does");
        drop(Listener::bind(&path, Access::Root).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path, Access::Root), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
