// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths, by the rules of xenstored (`is_valid_nodename`).

use crate::Error;

/// `XENSTORE_ABS_PATH_MAX` of `xs_wire.h`.
const PATH_MAX: usize = 3072;

/// The home directory of a domain.
pub(super) fn home(domid: u16) -> String {
    format!("/local/domain/{domid}")
}

/// The absolute form of a node's path, checked.
pub(super) fn resolve(path: &str, domid: u16) -> Result<String, Error> {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", home(domid)) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
    let good = full.bytes().all(allowed)
        && !full.contains("//")
        && (full == "/" || !full.ends_with('/'))
        && full.len() < PATH_MAX;
    if good { Ok(full) } else { Err(Error::Invalid { path: path.to_owned() }) }
}

/// The parent of a node and the node's own name; `None` for the root.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match (parent, name) {
        ("", "") => None,
        ("", name) => Some(("/", name)),
        found => Some(found),
    }
}

/// The path of a child.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// Whether `path` is `top` or below it.
pub(super) fn is_at_or_below(path: &str, top: &str) -> bool {
    top == "/" && path.starts_with('/')
        || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
