// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! Names of the xenstore nodes of a VESPER device, and the xenbus states.
//!
//! Frontend: `/local/domain/<id>/device/vesper/0/…`. Backend: `/local/domain/0/backend/vesper/<id>/0/…`.
//! `docs/protocol.md` says who owns and who writes each.

/// Device class, the `<type>` of xenbus and the module alias `xen:vesper`.
pub const DEVICE_CLASS: &str = "vesper";

/// Backend: highest protocol version it speaks. Frontend: the version it chose, the smaller of both.
pub const VERSION: &str = "version";
/// Backend: largest order (log2 of pages) of the loader's ring that it maps.
pub const LOADER_MAX_RING_PAGE_ORDER: &str = "loader-max-ring-page-order";
/// Frontend: order of the loader's ring.
pub const LOADER_RING_PAGE_ORDER: &str = "loader-ring-page-order";
/// Frontend: grants of the loader's ring pages, `loader-ring-ref0` and up.
pub const LOADER_RING_REF: &str = "loader-ring-ref";
/// Frontend: event channel of the loader's ring.
pub const LOADER_EVENT_CHANNEL: &str = "loader-event-channel";
/// Frontend: release of its kernel (`uname -r`).
pub const KERNEL_RELEASE: &str = "kernel-release";
/// Frontend: vermagic of its kernel (`include/linux/vermagic.h`).
pub const VERMAGIC: &str = "vermagic";
/// Frontend: 32 hexadecimal digits, random, made when the frontend module is loaded, kept across suspend.
pub const BOOT_ID: &str = "boot-id";
/// Frontend: version of the frontend module.
pub const FRONTEND_VERSION: &str = "frontend-version";

/// Backend: 1 when it has a listener. Absent: it has none, and no node of the listener means anything.
pub const FEATURE_LISTENER: &str = "feature-listener";
/// Backend: most pages of data that it maps of one guest.
pub const LISTENER_MAX_PAGES: &str = "listener-max-pages";
/// Backend: most exports of one guest.
pub const LISTENER_MAX_EXPORTS: &str = "listener-max-exports";
/// Frontend: grant of the listener's ring page.
pub const LISTENER_RING_REF: &str = "listener-ring-ref0";
/// Frontend: event channel of the listener: its ring's, and every switch's.
pub const LISTENER_EVENT_CHANNEL: &str = "listener-event-channel";
/// Frontend: grant of the heartbeat page.
pub const LISTENER_HEARTBEAT_REF: &str = "listener-heartbeat-ref";
/// Frontend: grants of the pages of last words, `listener-words-ref0` and up.
pub const LISTENER_WORDS_REF: &str = "listener-words-ref";

/// State of one end of a xenbus device (`public/io/xenbus.h`, `enum xenbus_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Not there, or not readable.
    Unknown = 0,
    /// Being set up by the toolstack; the frontend's first state.
    Initialising = 1,
    /// The backend has published its features and waits for the frontend.
    InitWait = 2,
    /// The frontend has published its ring.
    Initialised = 3,
    /// In use.
    Connected = 4,
    /// Being closed.
    Closing = 5,
    /// Closed.
    Closed = 6,
    /// Reconfiguring (not used by VESPER).
    Reconfiguring = 7,
    /// Reconfigured (not used by VESPER).
    Reconfigured = 8,
}

impl State {
    /// The state of that number; numbers that xenbus does not know are [`State::Unknown`].
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }
}
