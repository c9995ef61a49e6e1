// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads whose image is ready, whoever asked for them.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use vesper_action::Command;
use vesper_action::image::ModuleImage;
use vesper_api::{ErrorKind, Failure};
use vesper_probes::Directories;

use super::Desk;
use super::order::{Order, What};
use crate::config::Config;
use crate::failures;
use crate::images::{FileError, Prepared, Terms};

impl Desk {
    /// An image has been looked at: it is sent, or refused.
    pub(super) fn image_ready(&mut self, Prepared { id, path, seen, image }: Prepared) {
        // Not there: its time limit passed meanwhile.
        let Some(mut order) = self.preparing.remove(&id) else { return };
        let now = Instant::now();
        let What::Load(load) = &mut order.what else {
            unreachable!("only loads have images");
        };
        load.seen = seen;
        if let Some(path) = path {
            load.file = path.display().to_string();
        }
        let image = match self.check(&order, image) {
            Ok(image) => image,
            Err(failure) => return self.answer(&order, Err(failure), now),
        };
        let What::Load(load) = &mut order.what else {
            unreachable!("only loads have images");
        };
        load.module = image.name.to_string();
        load.bytes = image.bytes.len() as u64;
        let args = mem::take(&mut load.args).into_bytes().into();
        let command = Command::Load { name: image.name, image: image.bytes, args };
        let (by, domid) = (order.by.clone(), order.domid);
        if let Err(failure) = self.submit(order, command, now) {
            self.answer_to(&by, domid, Err(failure));
        }
    }

    /// The checks of an image that need the guest.
    fn check(&self, order: &Order, image: Result<ModuleImage, FileError>) -> Result<ModuleImage, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            let message = format!("{} is refused, nothing was sent: {error}", order.module());
            Failure::new(ErrorKind::BadImage, message).guest(order.guest.clone())
        };
        let image = image.map_err(|error| match error {
            FileError::NoBuild(failure) => failure.guest(order.guest.clone()),
            FileError::NotAdmitted(error) => {
                Failure { kind: ErrorKind::NotPermitted, ..refused(&error) }.remedy(error.remedy())
            }
            error => refused(&error),
        })?;
        let Some(vermagic) = self.backend.vermagic(order.domid, order.uuid) else {
            return Err(order.gone());
        };
        let waiting: u64 = self.running.values().map(Order::image_bytes).sum();
        if waiting + image.bytes.len() as u64 > self.waiting_bytes {
            let message =
                format!("{waiting} bytes of images wait already, {} more are too many", image.bytes.len());
            let failure = Failure::new(ErrorKind::QueueFull, message).guest(order.guest.clone());
            return Err(failure.remedy(failures::WAIT_FOR_COMMANDS));
        }
        // A frontend that publishes none leaves the question to its kernel.
        if let Some(vermagic) = vermagic {
            image.check_for(vermagic).map_err(|error| refused(&error))?;
        }
        Ok(image)
    }

    /// What an image must keep to from now on.
    pub(super) fn terms(&self) -> Terms {
        Terms { limit: self.image_bytes, inject: self.inject.clone() }
    }
}

/// Where probe modules are.
pub(super) fn directories(config: &Config) -> Arc<Directories> {
    Arc::new(Directories::new(&[], &config.probes))
}
