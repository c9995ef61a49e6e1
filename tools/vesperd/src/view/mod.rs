// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest in the API's words.

use std::time::Instant;

use vesper_api::{Counters, DeviceStatus, Guest, GuestRef, GuestStatus, InUse};
use vesper_grant::{DomainState, ShutdownReason};
use vesper_xenback::{DeviceState, GuestInfo};

mod listener;

pub(crate) use listener::{
    cause, channel_status, channels, clock, end_of, end_reason, export, stopped, stream_guest,
};

pub(crate) fn guest_ref(info: &GuestInfo) -> GuestRef {
    GuestRef { domid: info.domid.0, name: info.name.clone(), uuid: info.uuid.to_string() }
}

pub(crate) fn guest(info: &GuestInfo, now: Instant) -> Guest {
    let (device, device_reason) = match &info.device {
        None => (DeviceStatus::Detached, None),
        Some(DeviceState::Waiting) => (DeviceStatus::Waiting, None),
        Some(DeviceState::Connected) => (DeviceStatus::Connected, None),
        Some(DeviceState::Closing) => (DeviceStatus::Closing, None),
        Some(DeviceState::Closed) => (DeviceStatus::Closed, None),
        Some(DeviceState::Failed { reason }) => (DeviceStatus::Stopped, Some(reason.clone())),
    };
    Guest {
        guest: guest_ref(info),
        domain: domain(info.domain.as_ref()).into(),
        device,
        device_reason,
        kernel: info.kernel_release.clone(),
        modules: info.modules.iter().map(|module| module.name.to_string()).collect(),
        queue: info.queue_length + usize::from(info.current.is_some()),
        busy_ms: info.busy_since.map(|since| now.saturating_duration_since(since).as_millis() as u64),
    }
}

pub(crate) fn status(info: &GuestInfo, now: Instant) -> GuestStatus {
    let counters = &info.counters;
    GuestStatus {
        guest: guest(info, now),
        vermagic: info.vermagic.clone(),
        boot_id: info.boot_id.clone(),
        frontend: info.frontend_version.clone(),
        protocol: info.protocol,
        counters: Counters {
            commands: counters.commands,
            succeeded: counters.succeeded,
            errors: counters.errors,
            late_results: counters.late_results,
            requests: counters.requests,
            bytes: counters.bytes,
            spurious_kicks: counters.spurious_kicks,
            protocol_errors: counters.protocol_errors,
            connections: counters.connections,
        },
        in_use: InUse { grants: counters.grants_mapped, ports: counters.ports_bound },
        wanted: Vec::new(),
    }
}

/// The state of a domain in one word; what matters most first.
pub(crate) fn domain(state: Option<&DomainState>) -> &'static str {
    match state {
        None => "unknown",
        Some(state) if state.dying => "dying",
        Some(DomainState { shutdown: Some(reason), .. }) => match reason {
            ShutdownReason::Crash => "crashed",
            ShutdownReason::Suspend => "suspended",
            ShutdownReason::Reboot => "rebooting",
            _ => "shutdown",
        },
        Some(state) if state.paused => "paused",
        Some(state) if state.running => "running",
        // Between two events a vCPU is neither; xl shows that as idle, too.
        Some(_) => "idle",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use vesper_grant::DomId;
    use vesper_xenback::Uuid;

    use super::*;

    /// A guest with nothing special about it.
    pub(crate) fn guest(domid: u16, name: &str, uuid: u8) -> GuestInfo {
        GuestInfo {
            domid: DomId(domid),
            name: name.into(),
            uuid: Uuid([uuid; 16]),
            device: None,
            domain: None,
            kernel_release: None,
            vermagic: None,
            boot_id: None,
            frontend_version: None,
            protocol: None,
            modules: vec![],
            queue_length: 0,
            current: None,
            busy_since: None,
            counters: Default::default(),
        }
    }

    #[test]
    fn a_domain_is_called_after_what_matters_most() {
        let plain = DomainState {
            id: DomId(1),
            uuid: [1; 16],
            running: true,
            blocked: false,
            paused: false,
            dying: false,
            shutdown: None,
            hvm: None,
            vcpus_online: 1,
            cpu_time_ns: 0,
            pages: 0,
        };
        assert_eq!(domain(Some(&plain)), "running");
        assert_eq!(domain(Some(&DomainState { running: false, ..plain.clone() })), "idle");
        let paused = DomainState { paused: true, ..plain.clone() };
        assert_eq!(domain(Some(&paused)), "paused");
        let crashed = DomainState { shutdown: Some(ShutdownReason::Crash), ..paused };
        assert_eq!(domain(Some(&crashed)), "crashed");
        assert_eq!(domain(Some(&DomainState { dying: true, ..crashed })), "dying");
        assert_eq!(domain(None), "unknown");
    }
}
