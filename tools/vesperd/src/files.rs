// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channels as files, where dom0's kernel has FUSE.

use std::io::ErrorKind;
use std::path::Path;

use vesper_grant::DomId;
use vesper_tree::{Shown, Tree};
use vesper_xenback::action::listener::Export;

use crate::view;

/// The tree, or nothing.
#[derive(Default)]
pub(crate) struct Files(Option<Tree>);

impl Files {
    /// Mounts the tree. Without it everything else goes on.
    pub(crate) fn mount(dir: Option<&Path>, group: Option<u32>) -> Self {
        let tree = dir.and_then(|dir| match Tree::mount(dir, group.unwrap_or(0)) {
            Ok(tree) => {
                log::info!("channels are shown as files below {}", dir.display());
                Some(tree)
            }
            Err(error) => {
                let remedy = match error.kind() {
                    ErrorKind::PermissionDenied => {
                        "the unit does not let it, see \"Channels as files\" in config.md"
                    }
                    _ => "is FUSE there? (modprobe fuse)",
                };
                log::warn!("channels are not shown as files below {}: {error}; {remedy}", dir.display());
                None
            }
        });
        Self(tree)
    }

    pub(crate) fn show(&self, domid: DomId, export: &Export) {
        let Some(tree) = &self.0 else { return };
        let told = export.clone();
        let info = move || {
            let status = view::channel_status(&told, &told.channel.status());
            String::from_utf8_lossy(&vesper_api::to_line(&status)).into_owned()
        };
        let shown =
            Shown { channel: export.channel.clone(), cpus: export.cpus.clone(), info: Box::new(info) };
        tree.show(domid.0, export.name.as_str(), shown);
    }

    pub(crate) fn hide(&self, domid: DomId, name: &str) {
        if let Some(tree) = &self.0 {
            tree.hide(domid.0, name);
        }
    }

    pub(crate) fn hide_guest(&self, domid: DomId) {
        if let Some(tree) = &self.0 {
            tree.hide_guest(domid.0);
        }
    }
}
