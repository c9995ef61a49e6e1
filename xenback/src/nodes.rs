// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore nodes of one guest's device: where they are, how they are made, read and removed.

use std::ops::RangeInclusive;

use vesper_action::{Memory, listener as action};
use vesper_grant::{DomId, GrantRef, Port};
use vesper_ring::wire::PROTOCOL_VERSION;
use vesper_ring::wire::listener::{Export, WORDS};
use vesper_ring::wire::xenbus::{self, State};
use vesper_xenstore::{
    Error, Perm, Store, Tx, Written, read_opt, read_u32, read_u32_or, transaction, write_existing,
};

use crate::line::Ends;
use crate::{Limits, Uuid, listener, listener_memory, memory};

/// Parent of all backend directories of dom0.
pub(crate) const BACKENDS: &str = "/local/domain/0/backend/vesper";
/// In the backend directory: both directories were made by [`create`], so [`remove`] may take both away.
const MADE_BY_ATTACH: &str = "made-by-attach";
/// In the backend directory: what a daemon that comes after this one must know.
const MEMORY: &str = "loader-memory";
/// In the backend directory: what is mapped of the guest's exports.
const EXPORTS: &str = "listener-exports";
/// In the backend directory: which last words were heard.
const HEARD: &str = "listener-heard";
/// In the backend directory: whose device it is.
const GUEST: &str = "guest";
/// In the backend directory: 0 when the toolstack wants the device gone.
const ONLINE: &str = "online";
/// Longest text that is taken over from the frontend, in bytes.
const TEXT_MAX: usize = 256;

/// Order of the largest ring that is mapped: one page.
const MAX_RING_PAGE_ORDER: u32 = 0;

/// The backend directory of a guest's device.
pub(crate) fn backend(guest: DomId) -> String {
    format!("{BACKENDS}/{guest}/0")
}

/// The frontend directory of a guest's device.
pub(crate) fn frontend(guest: DomId) -> String {
    format!("/local/domain/{guest}/device/vesper/0")
}

/// Where libxl keeps what it knows of the guest's consoles. When it destroys a domain it pauses it, ends its device model, takes these
/// away at once and its other devices one after the other, and the domain last (`libxl__destroy_domid` and `libxl__devices_destroy`,
/// `tools/libs/light/`, 4.17 to 4.20). Only dom0 can write here.
pub(crate) fn consoles(guest: DomId) -> String {
    format!("/libxl/{guest}/device/console")
}

/// What the frontend publishes before it goes to state Initialised: allegations, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) loader: Ends,
    /// `None`: a frontend without a listener.
    pub(crate) listener: Option<listener::Published>,
    pub(crate) version: u32,
    pub(crate) kernel_release: Option<String>,
    pub(crate) vermagic: Option<String>,
    pub(crate) boot_id: Option<String>,
    pub(crate) frontend_version: Option<String>,
}

/// Makes the device: both directories with the permissions of `docs/protocol.md`, in one transaction.
pub(crate) fn create(store: &dyn Store, guest: DomId, limits: &Limits) -> Result<(), Error> {
    let (back, front) = (backend(guest), frontend(guest));
    let for_guest = [Perm::none(0), Perm::read(guest.0)];
    let of_guest = [Perm::none(guest.0), Perm::read(0)];
    transaction(store, |tx| {
        let put = |path: &str, value: &str| store.write(tx, path, value.as_bytes());
        // What an earlier daemon or guest left behind must not be mistaken for this one's.
        for stale in [&back, &front] {
            if read_opt(store, tx, stale)?.is_some() {
                store.remove(tx, stale)?;
            }
        }
        store.mkdir(tx, &back)?;
        store.set_perms(tx, &back, &for_guest)?;
        put(&format!("{back}/frontend"), &front)?;
        put(&format!("{back}/frontend-id"), &guest.to_string())?;
        put(&format!("{back}/{ONLINE}"), "1")?;
        put(&format!("{back}/{MADE_BY_ATTACH}"), "1")?;
        put_features(store, tx, guest, limits)?;
        put(&format!("{back}/{}", xenbus::LOADER_MAX_RING_PAGE_ORDER), &MAX_RING_PAGE_ORDER.to_string())?;
        put(&format!("{back}/{MEMORY}"), &memory::encode(&Memory::default()))?;
        put(&format!("{back}/state"), &(State::InitWait as u32).to_string())?;

        // The guest's kernel lists these two; where they are missing, nothing else says that it may.
        for parent in
            [format!("/local/domain/{guest}/device"), format!("/local/domain/{guest}/device/vesper")]
        {
            if read_opt(store, tx, &parent)?.is_none() {
                store.mkdir(tx, &parent)?;
                store.set_perms(tx, &parent, &for_guest)?;
            }
        }
        store.mkdir(tx, &front)?;
        store.set_perms(tx, &front, &of_guest)?;
        for (name, value) in [("backend", back.as_str()), ("backend-id", "0")] {
            let path = format!("{front}/{name}");
            put(&path, value)?;
            store.set_perms(tx, &path, &for_guest)?;
        }
        put(&format!("{front}/state"), &(State::Initialising as u32).to_string())
    })
}

/// Takes away the backend directory, and the frontend's where [`create`] made it and `front_too`.
pub(crate) fn remove(store: &dyn Store, guest: DomId, front_too: bool) -> Result<(), Error> {
    let (back, front) = (backend(guest), frontend(guest));
    transaction(store, |tx| {
        let ours = read_opt(store, tx, &format!("{back}/{MADE_BY_ATTACH}"))?.is_some();
        for (path, wanted) in [(&back, true), (&front, ours && front_too)] {
            if wanted && read_opt(store, tx, path)?.is_some() {
                store.remove(tx, path)?;
            }
        }
        // The directory of the domain, once its last device is gone.
        let parent = format!("{BACKENDS}/{guest}");
        match store.list(tx, &parent) {
            Ok(children) if children.is_empty() => store.remove(tx, &parent),
            Ok(_) | Err(Error::NoEntry { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    })
}

/// The state of one end, [`State::Unknown`] if the node is missing or its value is no state.
pub(crate) fn state(store: &dyn Store, directory: &str) -> Result<State, Error> {
    match read_u32_or(store, Tx::NONE, &format!("{directory}/state"), 0..=8, 0) {
        Ok(number) => Ok(State::from_number(number)),
        Err(Error::Value { .. }) => Ok(State::Unknown),
        Err(error) => Err(error),
    }
}

/// Sets the backend's state, if the node is still there and only on change. With an offer goes what is offered: the
/// directory may be that of a daemon that offered something else.
pub(crate) fn set_state(
    store: &dyn Store,
    guest: DomId,
    state: State,
    limits: &Limits,
) -> Result<Written, Error> {
    let path = format!("{}/state", backend(guest));
    if state == State::InitWait {
        transaction(store, |tx| match read_opt(store, tx, &path)? {
            Some(_) => put_features(store, tx, guest, limits),
            None => Ok(()),
        })?;
    }
    write_existing(store, Tx::NONE, &path, (state as u32).to_string().as_bytes())
}

/// Writes the version and the features that are offered.
fn put_features(store: &dyn Store, tx: Tx, guest: DomId, limits: &Limits) -> Result<(), Error> {
    let back = backend(guest);
    for (name, value) in [
        (xenbus::VERSION, PROTOCOL_VERSION),
        (xenbus::FEATURE_LISTENER, 1),
        (xenbus::LISTENER_MAX_PAGES, limits.shared.pages_per_guest),
        (xenbus::LISTENER_MAX_EXPORTS, limits.shared.exports_per_guest),
    ] {
        store.write(tx, &format!("{back}/{name}"), value.to_string().as_bytes())?;
    }
    // Whatever comes of the offer, the exports of before are not mapped any more. What was heard was heard.
    store.write(tx, &format!("{back}/{EXPORTS}"), b"")?;
    let heard = format!("{back}/{HEARD}");
    if read_opt(store, tx, &heard)?.is_none() {
        store.write(tx, &heard, b"")?;
    }
    Ok(())
}

/// The node with which the toolstack asks for the device to go.
pub(crate) fn online(guest: DomId) -> String {
    format!("{}/{ONLINE}", backend(guest))
}

/// Whether the toolstack asked for the device to go.
pub(crate) fn is_offline(store: &dyn Store, guest: DomId) -> Result<bool, Error> {
    Ok(read_opt(store, Tx::NONE, &online(guest))?.is_some_and(|value| value == b"0"))
}

/// Whether libxl knows of consoles of the guest.
pub(crate) fn has_consoles(store: &dyn Store, guest: DomId) -> Result<bool, Error> {
    Ok(read_opt(store, Tx::NONE, &consoles(guest))?.is_some())
}

/// The guests that may have a backend directory: those with a directory of their own among the backends.
pub(crate) fn with_backend(store: &dyn Store) -> Result<Vec<DomId>, Error> {
    let names = match store.list(Tx::NONE, BACKENDS) {
        Ok(names) => names,
        Err(Error::NoEntry { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(names.iter().filter_map(|name| name.parse().ok()).map(DomId).collect())
}

/// Reads what the frontend published. An [`Error::Value`] or [`Error::NoEntry`] is the guest's fault.
pub(crate) fn published(store: &dyn Store, guest: DomId) -> Result<Published, Error> {
    let front = frontend(guest);
    let at = |name: &str| format!("{front}/{name}");
    let number = |name: &str, range: RangeInclusive<u32>| read_u32(store, Tx::NONE, &at(name), range);
    let text = |name: &str| -> Result<Option<String>, Error> {
        let value = read_opt(store, Tx::NONE, &at(name))?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()))
    };
    read_u32_or(store, Tx::NONE, &at(xenbus::LOADER_RING_PAGE_ORDER), 0..=MAX_RING_PAGE_ORDER, 0)?;
    let grant = |name: &str| number(name, 1..=u32::MAX).map(GrantRef);
    let listener = match read_opt(store, Tx::NONE, &at(xenbus::LISTENER_RING_REF))? {
        None => None,
        Some(_) => Some(listener::Published {
            ends: Ends {
                ring: grant(xenbus::LISTENER_RING_REF)?,
                port: Port(number(xenbus::LISTENER_EVENT_CHANNEL, 1..=u32::MAX)?),
            },
            heartbeat: grant(xenbus::LISTENER_HEARTBEAT_REF)?,
            words: (0..WORDS)
                .map(|slot| grant(&format!("{}{slot}", xenbus::LISTENER_WORDS_REF)))
                .collect::<Result<_, _>>()?,
        }),
    };
    Ok(Published {
        listener,
        loader: Ends {
            ring: grant(&format!("{}0", xenbus::LOADER_RING_REF))?,
            port: Port(number(xenbus::LOADER_EVENT_CHANNEL, 1..=u32::MAX)?),
        },
        version: number(xenbus::VERSION, 1..=PROTOCOL_VERSION)?,
        kernel_release: text(xenbus::KERNEL_RELEASE)?,
        vermagic: text(xenbus::VERMAGIC)?,
        boot_id: text(xenbus::BOOT_ID)?,
        frontend_version: text(xenbus::FRONTEND_VERSION)?,
    })
}

/// The guest's name, as dom0 gave it; empty if there is none.
pub(crate) fn name(store: &dyn Store, guest: DomId) -> String {
    let value = store.read(Tx::NONE, &format!("/local/domain/{guest}/name")).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

/// Writes down whose device it is, if its directory is still there: a successor may find it when the domain is gone.
pub(crate) fn store_guest(store: &dyn Store, guest: DomId, uuid: Uuid, name: &str) -> Result<(), Error> {
    let back = backend(guest);
    transaction(store, |tx| match read_opt(store, tx, &format!("{back}/state"))? {
        Some(_) => store.write(tx, &format!("{back}/{GUEST}"), format!("{uuid} {name}").as_bytes()),
        None => Ok(()),
    })
}

/// Whose device it is: UUID and name; `None` if that was not written down.
pub(crate) fn load_guest(store: &dyn Store, guest: DomId) -> Result<Option<(Uuid, String)>, Error> {
    let value = read_opt(store, Tx::NONE, &format!("{}/{GUEST}", backend(guest)))?;
    Ok(value.and_then(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        let (uuid, name) = text.split_once(' ')?;
        Some((uuid.parse().ok()?, name.to_owned()))
    }))
}

/// Writes down what a successor must know, if the device's directory is still there.
pub(crate) fn store_memory(store: &dyn Store, guest: DomId, memory: &Memory) -> Result<(), Error> {
    let path = format!("{}/{MEMORY}", backend(guest));
    match write_existing(store, Tx::NONE, &path, memory::encode(memory).as_bytes())? {
        Written::Changed | Written::Same | Written::Gone => Ok(()),
    }
}

/// What a predecessor wrote down; `None` if it is not complete, so that the guest has to be asked again.
pub(crate) fn load_memory(store: &dyn Store, guest: DomId) -> Result<Option<Memory>, Error> {
    let value = read_opt(store, Tx::NONE, &format!("{}/{MEMORY}", backend(guest)))?;
    Ok(value.and_then(|bytes| memory::decode(&bytes)))
}

/// Writes down what is mapped of the guest's exports over the ring with these ends, if the device's directory is still
/// there.
pub(crate) fn store_exports(
    store: &dyn Store,
    guest: DomId,
    ends: Ends,
    exports: &[Export],
) -> Result<(), Error> {
    let path = format!("{}/{EXPORTS}", backend(guest));
    match write_existing(store, Tx::NONE, &path, listener_memory::encode(ends, exports).as_bytes())? {
        Written::Changed | Written::Same | Written::Gone => Ok(()),
    }
}

/// What a predecessor had mapped; `None` if it is not complete, or of another ring.
pub(crate) fn load_exports(
    store: &dyn Store,
    guest: DomId,
    ends: Ends,
) -> Result<Option<Vec<Export>>, Error> {
    let value = read_opt(store, Tx::NONE, &format!("{}/{EXPORTS}", backend(guest)))?;
    Ok(value.and_then(|bytes| listener_memory::decode(&bytes, ends)))
}

/// Writes down what was heard of the frontend with that boot id, if the device's directory is still there.
pub(crate) fn store_heard(
    store: &dyn Store,
    guest: DomId,
    memory: &action::Memory,
    boot_id: &str,
) -> Result<(), Error> {
    let path = format!("{}/{HEARD}", backend(guest));
    match write_existing(store, Tx::NONE, &path, listener_memory::encode_heard(memory, boot_id).as_bytes())? {
        Written::Changed | Written::Same | Written::Gone => Ok(()),
    }
}

/// What a predecessor heard of the frontend with that boot id; nothing if that is not known.
pub(crate) fn load_heard(store: &dyn Store, guest: DomId, boot_id: &str) -> Result<action::Memory, Error> {
    let value = read_opt(store, Tx::NONE, &format!("{}/{HEARD}", backend(guest)))?;
    Ok(value.and_then(|bytes| listener_memory::decode_heard(&bytes, boot_id)).unwrap_or_default())
}
