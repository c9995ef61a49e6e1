// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of xenstore as messages: `docs/misc/xenstore.txt` of Xen.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Client;
use super::conn::Conn;
use crate::watch::Unwatch;
use crate::wire::Kind;
use crate::{Error, Perm, Store, Tx, Watch};

/// How often a long directory is read again from the start because it changed meanwhile.
const LIST_TRIES: u32 = 32;

impl Conn {
    pub(super) fn introduce(&self, domid: u16, gfn: u64, port: u32) -> Result<(), Error> {
        let what = format!("domain {domid}");
        let payload = format!("{domid}\0{gfn}\0{port}\0").into_bytes();
        self.request(Kind::Introduce, Tx::NONE, &what, payload).map(drop)
    }

    pub(super) fn release(&self, domid: u16) -> Result<(), Error> {
        let payload = format!("{domid}\0").into_bytes();
        self.request(Kind::Release, Tx::NONE, &format!("domain {domid}"), payload).map(drop)
    }

    /// Reads a directory that does not fit one message, part by part; from the start again when it changed.
    fn list_parts(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error> {
        for _ in 0..LIST_TRIES {
            if let Some(names) = self.list_once(tx, path)? {
                return names_of(path, &names);
            }
        }
        Err(Error::Again)
    }

    /// `None` if the directory changed between two parts.
    fn list_once(&self, tx: Tx, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut names = Vec::new();
        let mut generation = None;
        loop {
            let mut payload = words(path, &[path])?;
            payload.extend_from_slice(format!("{}\0", names.len()).as_bytes());
            let reply = self.request(Kind::DirectoryPart, tx, path, payload)?;
            // generation NUL, then names with a NUL each; the last part has one NUL more.
            let end = reply.iter().position(|&byte| byte == 0);
            let (now, part) = reply.split_at(end.ok_or_else(|| odd(path, &reply, "a directory part"))? + 1);
            if *generation.get_or_insert_with(|| now.to_vec()) != now {
                return Ok(None);
            }
            match part {
                [0] => return Ok(Some(names)),
                [start @ .., 0, 0] => {
                    names.extend_from_slice(start);
                    names.push(0);
                    return Ok(Some(names));
                }
                // Without progress this would go on for ever.
                [.., 0] => names.extend_from_slice(part),
                _ => return Err(odd(path, &reply, "a directory part")),
            }
        }
    }
}

impl Store for Client {
    fn read(&self, tx: Tx, path: &str) -> Result<Vec<u8>, Error> {
        self.conn.request(Kind::Read, tx, path, words(path, &[path])?)
    }

    fn write(&self, tx: Tx, path: &str, value: &[u8]) -> Result<(), Error> {
        let mut payload = words(path, &[path])?;
        payload.extend_from_slice(value);
        self.conn.request(Kind::Write, tx, path, payload).map(drop)
    }

    fn mkdir(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.conn.request(Kind::Mkdir, tx, path, words(path, &[path])?).map(drop)
    }

    fn remove(&self, tx: Tx, path: &str) -> Result<(), Error> {
        self.conn.request(Kind::Rm, tx, path, words(path, &[path])?).map(drop)
    }

    fn list(&self, tx: Tx, path: &str) -> Result<Vec<String>, Error> {
        match self.conn.request(Kind::Directory, tx, path, words(path, &[path])?) {
            Ok(names) => names_of(path, &names),
            Err(Error::Refused { errno: libc::E2BIG, .. }) => self.conn.list_parts(tx, path),
            Err(error) => Err(error),
        }
    }

    fn get_perms(&self, tx: Tx, path: &str) -> Result<Vec<Perm>, Error> {
        let reply = self.conn.request(Kind::GetPerms, tx, path, words(path, &[path])?)?;
        let parse = |word| Perm::parse(word).ok_or_else(|| odd(path, &reply, "a list of permissions"));
        names_of(path, &reply)?.iter().map(|word| parse(word)).collect()
    }

    fn set_perms(&self, tx: Tx, path: &str, perms: &[Perm]) -> Result<(), Error> {
        let mut payload = words(path, &[path])?;
        for perm in perms {
            payload.extend_from_slice(format!("{perm}\0").as_bytes());
        }
        self.conn.request(Kind::SetPerms, tx, path, payload).map(drop)
    }

    fn begin(&self) -> Result<Tx, Error> {
        let what = "transaction";
        parse_tx(&self.conn.request(Kind::TransactionStart, Tx::NONE, what, vec![0])?)
    }

    fn end(&self, tx: Tx, commit: bool) -> Result<(), Error> {
        let payload = if commit { b"T\0" } else { b"F\0" }.to_vec();
        self.conn.request(Kind::TransactionEnd, tx, "transaction", payload).map(drop)
    }

    fn watch(&self, path: &str) -> Result<Watch, Error> {
        // The flag must be there first: xenstored may fire before it answers.
        let (token, flag) = self.conn.add_watch();
        let request = || {
            let payload = words(path, &[path, &token.to_string()])?;
            self.conn.request(Kind::Watch, Tx::NONE, path, payload)
        };
        match request() {
            Ok(_) => {
                let owner: Arc<dyn Unwatch> = self.conn.clone();
                Ok(Watch::new(path, token, flag, Arc::downgrade(&owner)))
            }
            Err(error) => {
                self.conn.remove_watch(token);
                Err(match error {
                    // Too many watches are E2BIG with xenstored (`do_watch`).
                    Error::Refused { errno: libc::E2BIG, path } => Error::Quota { path },
                    error => error,
                })
            }
        }
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.conn.wake_fd()
    }

    fn drain_wake(&self) {
        self.conn.drain_wake();
    }

    fn is_connected(&self) -> bool {
        self.conn.is_connected()
    }

    fn domain_path(&self, domid: u16) -> Result<String, Error> {
        let what = format!("domain {domid}");
        let reply =
            self.conn.request(Kind::GetDomainPath, Tx::NONE, &what, format!("{domid}\0").into_bytes())?;
        names_of(&what, &reply)?.pop().ok_or_else(|| odd(&what, &reply, "a path"))
    }

    fn is_introduced(&self, domid: u16) -> Result<bool, Error> {
        let what = format!("domain {domid}");
        let payload = format!("{domid}\0").into_bytes();
        match self.conn.request(Kind::IsDomainIntroduced, Tx::NONE, &what, payload)?.as_slice() {
            b"T\0" => Ok(true),
            b"F\0" => Ok(false),
            other => Err(odd(&what, other, "T or F")),
        }
    }
}

impl Unwatch for Conn {
    fn unwatch(&self, path: &str, token: u64) {
        self.remove_watch(token);
        if let Ok(payload) = words(path, &[path, &token.to_string()]) {
            self.tell(Kind::Unwatch, payload);
        }
    }
}

/// Words with a NUL after each. A NUL inside one would make two of it.
fn words(path: &str, list: &[&str]) -> Result<Vec<u8>, Error> {
    let mut payload = Vec::new();
    for word in list {
        if word.is_empty() || word.contains('\0') {
            return Err(Error::Invalid { path: path.to_owned() });
        }
        payload.extend_from_slice(word.as_bytes());
        payload.push(0);
    }
    Ok(payload)
}

/// The words of an answer, each ended by a NUL.
fn names_of(path: &str, reply: &[u8]) -> Result<Vec<String>, Error> {
    let Some(list) = reply.strip_suffix(&[0]) else {
        return if reply.is_empty() { Ok(Vec::new()) } else { Err(odd(path, reply, "a list of names")) };
    };
    let name = |word: &[u8]| String::from_utf8(word.to_vec()).map_err(|_| odd(path, word, "a name in UTF-8"));
    list.split(|&byte| byte == 0).map(name).collect()
}

/// The number of a transaction in the answer to TRANSACTION_START.
pub(super) fn parse_tx(reply: &[u8]) -> Result<Tx, Error> {
    let digits = reply.strip_suffix(&[0]).unwrap_or(reply);
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    // 0 means no transaction: taking it for one would make every request of the body take effect at once.
    number.filter(|&id| id != 0).map(Tx).ok_or_else(|| odd("transaction", reply, "a transaction number"))
}

/// xenstored answered something that its protocol does not have.
fn odd(path: &str, reply: &[u8], want: &str) -> Error {
    Error::value(path, reply, format!("{want}, which xenstored owes here"))
}
