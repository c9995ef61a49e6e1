// SPDX-License-Identifier: MIT OR Apache-2.0
//! Channels, clocks and ends in the words of the API and of streams.

use nix::time::{ClockId, clock_gettime};
use vesper_api::{BufferStatus, ChannelStatus, GuestChannels, Since};
use vesper_stream::frame::{self, EndReason, Gone, GoneReason};
use vesper_stream::{Schema, record, text};
use vesper_xenback::action::listener::{ChannelInfo, Clock, DeadCause, Export, ExportEnd, FatalRecord};
use vesper_xenback::{GuestInfo, ListenerInfo};

use super::guest_ref;

/// Most characters of what a guest says of its end.
const CAUSE_MAX: usize = 300;

pub(crate) fn channels(
    info: &GuestInfo,
    channels: &[ChannelInfo],
    listener: Option<&ListenerInfo>,
) -> GuestChannels {
    GuestChannels {
        guest: guest_ref(info),
        clock_error_ns: listener.and_then(|listener| listener.clock).map(|clock| clock.error_ns),
        words_lost: listener.map_or(0, |listener| listener.words_lost),
        channels: channels.iter().map(channel).collect(),
    }
}

fn channel(info: &ChannelInfo) -> ChannelStatus {
    channel_status(&info.export, &info.buffers)
}

/// A channel as it stands.
pub(crate) fn channel_status(
    export: &Export,
    buffers: &[vesper_relay_mirror::BufferStatus],
) -> ChannelStatus {
    let geometry = export.channel.geometry();
    let events = export.schema.as_deref().map(Schema::parse);
    let buffer = |(at, buffer): (usize, &vesper_relay_mirror::BufferStatus)| BufferStatus {
        cpu: export.cpus.get(at).copied().flatten(),
        produced: buffer.produced,
        consumed: buffer.consumed,
        records: buffer.records,
        dropped: buffer.dropped,
    };
    ChannelStatus {
        export: export.number,
        name: export.name.to_string(),
        owner: export.owner.clone().unwrap_or_default(),
        subbuf_size: geometry.subbuf_size(),
        subbufs: geometry.subbufs(),
        events: events.iter().flat_map(Schema::events).map(|event| event.name.clone()).collect(),
        read: export.channel.has_readers(),
        buffers: buffers.iter().enumerate().map(buffer).collect(),
    }
}

pub(crate) fn stream_guest(info: &GuestInfo) -> frame::Guest {
    frame::Guest {
        domid: info.domid.0,
        name: info.name.clone(),
        uuid: info.uuid.to_string(),
        boot_id: info.boot_id.clone(),
        kernel: info.kernel_release.clone(),
    }
}

pub(crate) fn export(export: &Export, since: Since) -> frame::Export {
    let geometry = export.channel.geometry();
    frame::Export {
        export: export.number,
        name: export.name.to_string(),
        owner: export.owner.clone().unwrap_or_default(),
        subbuf_size: geometry.subbuf_size(),
        subbufs: geometry.subbufs(),
        cpus: export.cpus.clone(),
        schema: export.schema.as_deref().map(str::to_owned),
        since,
    }
}

/// The guest's clock against dom0's real time, as that is now.
pub(crate) fn clock(clock: &Clock) -> frame::Clock {
    let now = |clock| clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
    let distance = now(ClockId::CLOCK_REALTIME) - now(ClockId::CLOCK_MONOTONIC);
    frame::Clock { offset_ns: clock.offset_ns.saturating_add(distance), error_ns: clock.error_ns }
}

pub(crate) fn end_reason(why: ExportEnd) -> EndReason {
    match why {
        ExportEnd::Stopped => EndReason::Stopped,
        ExportEnd::GuestGone => EndReason::GuestGone,
        ExportEnd::Detached => EndReason::Detached,
        ExportEnd::Lost => EndReason::Lost,
    }
}

/// The daemon stops; what became of the guests is for the next one to say.
pub(crate) fn stopped() -> Gone {
    Gone { reason: GoneReason::DaemonStopped, cause: None }
}

/// What became of a guest, and what there is to add to that.
pub(crate) fn end_of(cause: DeadCause) -> (GoneReason, Option<&'static str>) {
    match cause {
        DeadCause::Destroyed => (GoneReason::Destroyed, None),
        DeadCause::Saved => (GoneReason::Saved, None),
        DeadCause::Crashed => (GoneReason::Crashed, None),
        DeadCause::Watchdog => (GoneReason::Crashed, Some("its watchdog expired")),
        DeadCause::PoweredOff | DeadCause::Other(_) => (GoneReason::ShutDown, None),
        DeadCause::Rebooted => (GoneReason::ShutDown, Some("it reboots")),
        DeadCause::SoftReset => (GoneReason::ShutDown, Some("it goes on with another kernel")),
    }
}

/// A record that reports a guest's end, in one line.
pub(crate) fn cause(schema: Option<&str>, record: &FatalRecord) -> String {
    let schema = schema.map(Schema::parse).unwrap_or_default();
    let line = match (schema.event(record.event), record::header(&record.record)) {
        (Some(event), Some(_)) => text::summary(event, &record.record[record::HEADER..]),
        _ => format!("event {}", record.event),
    };
    match line.char_indices().nth(CAUSE_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
