// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table's rows and columns.

/// Seconds after which a repetition is given up.
pub const CAP: u32 = 60;

/// How a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something in the guest or in Xen is told of it as it happens.
    Event,
    /// Nothing happens any more; that has to be noticed.
    Silent,
    /// It is none: nothing may fail over.
    MustNot,
}

impl Class {
    /// As the table and the script call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Silent => "silent",
            Self::MustNot => "must-not",
        }
    }
}

/// What happens to the guest. The script has the fault under the same name.
#[derive(Debug)]
pub struct Row {
    /// For the command line.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// How it shows.
    pub class: Class,
    /// `ocf:heartbeat:Xen` cannot see it: it looks whether there is a domain of that name, and there is.
    pub blind: bool,
    /// The guest makes a record of it as it happens, whose time is t0.
    pub recorded: bool,
    /// What it is run on.
    pub place: Place,
    /// Seconds after which a repetition is given up, and for which that lasts which must not fail over.
    pub limit: u32,
    /// Only if it is named, and once.
    pub apart: bool,
}

/// What a row is run on. In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One host with two PV guests.
    OneHost,
    /// One host with two PVH guests that have a crash kernel, and more memory for it.
    Kdump,
    /// Two hosts with a guest each.
    TwoHosts,
}

impl Place {
    /// For people.
    pub fn what(self) -> &'static str {
        match self {
            Self::OneHost => "Xen, dom0, a cluster and two guests",
            Self::Kdump => "Xen, dom0, a cluster and two guests with a crash kernel",
            Self::TwoHosts => "Xen and dom0 twice, a guest on each, and one cluster",
        }
    }
}

/// All of them, in the order of the table.
pub const ROWS: &[Row] = &[
    row("panic-destroy", "panic, `on_crash=\"destroy\"`", Class::Event, false),
    row("panic-preserve", "panic, `on_crash=\"preserve\"`", Class::Event, true),
    row("panic-10", "panic with `panic=10`", Class::Event, false),
    Row { place: Place::Kdump, ..row("panic-kdump", "panic with kdump (PVH)", Class::Event, false) },
    Row {
        place: Place::TwoHosts,
        ..row("panic-two-hosts", "panic, the stand-by on another dom0", Class::Event, false)
    },
    row("oom", "OOM kill of the service", Class::Event, true),
    row("sigterm", "SIGTERM to the service", Class::Event, true),
    row("sigkill", "SIGKILL to the service", Class::Event, true),
    row("sigsegv", "SIGSEGV to the service", Class::Event, true),
    Row { recorded: false, ..row("xl-destroy", "`xl destroy`", Class::Event, false) },
    row("frozen", "user space frozen", Class::Silent, true),
    row("spinning", "kernel spins, interrupts off", Class::Silent, true),
    row("paused", "guest paused for 30 s", Class::MustNot, false),
    row("load", "host under load for 30 s", Class::MustNot, false),
    Row {
        limit: 3600,
        apart: true,
        ..row("load-hour", "dom0 without CPU, memory or disk to spare for an hour", Class::MustNot, false)
    },
];

const fn row(name: &'static str, what: &'static str, class: Class, blind: bool) -> Row {
    let limit = if matches!(class, Class::MustNot) { 30 } else { CAP };
    let recorded = matches!(class, Class::Event);
    Row { name, what, class, blind, recorded, place: Place::OneHost, limit, apart: false }
}

/// What watches the guests.
#[derive(Debug)]
pub struct Column {
    /// For the command line.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// How often Pacemaker's monitor runs.
    pub monitor: &'static str,
    /// With VESPER's agents and push.
    pub vesper: bool,
}

/// All of them. The last is ours, and is compared with the first.
pub const COLUMNS: &[Column] = &[
    Column { name: "heartbeat-10s", what: "`ocf:heartbeat:Xen`, 10 s", monitor: "10s", vesper: false },
    Column { name: "heartbeat-1s", what: "`ocf:heartbeat:Xen`, 1 s", monitor: "1s", vesper: false },
    Column { name: "vesper", what: "`ocf:vesper:*` with push", monitor: "10s", vesper: true },
];

impl Row {
    /// How often it is run in that column unless the user says otherwise.
    pub fn repetitions(&self, column: &Column) -> u32 {
        if self.apart {
            return 1;
        }
        if self.class == Class::MustNot || self.blind && !column.vesper { 3 } else { 5 }
    }
}
