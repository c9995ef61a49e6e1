// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only
//! [`ExportInfo`] as a value that can only be right.

use core::fmt;
use core::ops::Range;

use super::geometry::{BUFFERS, CONSUMED_PAGES, GRANTS, SCHEMA_BYTES};
use super::{BadExport, Export, ExportInfo, ExportName, GLOBAL, Geometry, NO_CPU};
use crate::wire::{NAME_BYTES, Name, PAGE_SIZE};

/// An export, or a part of one, as its descriptor page has it: checked, and of a size that fits into one EXPORT.
///
/// Holding one proves that the numbers agree with each other, not that there are such pages.
#[derive(Clone, PartialEq, Eq)]
pub struct Descriptor {
    name: ExportName,
    owner: Option<Name>,
    geometry: Geometry,
    schema_bytes: u32,
    global: bool,
    cpu: [u16; BUFFERS as usize],
}

impl Descriptor {
    /// Describes an export; `cpus` has the CPU of each buffer, ascending, and nothing for a global channel.
    ///
    /// # Errors
    ///
    /// [`BadExport`]: the CPUs are not ascending or not as many as buffers, or there are more pages than one EXPORT takes.
    pub fn new(
        name: ExportName,
        owner: Option<Name>,
        geometry: Geometry,
        cpus: &[u16],
        schema_bytes: u32,
    ) -> Result<Self, BadExport> {
        let global = cpus.is_empty();
        let buffers = if global { 1 } else { cpus.len() };
        if geometry.buffers() as usize != buffers {
            return Err(BadExport::Buffers(geometry.buffers()));
        }
        let mut next_to = cpus.iter().zip(cpus.iter().skip(1));
        if let Some((_, &cpu)) = next_to.find(|(before, cpu)| before >= cpu) {
            return Err(BadExport::Cpu(cpu));
        }
        if cpus.last() == Some(&NO_CPU) {
            return Err(BadExport::Cpu(NO_CPU));
        }
        if schema_bytes > SCHEMA_BYTES {
            return Err(BadExport::Schema(schema_bytes));
        }
        let needs = geometry.grants(schema_bytes);
        if needs > GRANTS.into() {
            return Err(BadExport::Pages { field: "grants", says: GRANTS, needs });
        }
        let mut cpu = [0; BUFFERS as usize];
        for (to, &from) in cpu.iter_mut().zip(if global { &[NO_CPU] } else { cpus }) {
            *to = from;
        }
        Ok(Self { name, owner, geometry, schema_bytes, global, cpu })
    }

    /// The export's name.
    pub fn name(&self) -> ExportName {
        self.name
    }

    /// The module that exported it, as the guest has it.
    pub fn owner(&self) -> Option<Name> {
        self.owner
    }

    /// Size and number of its buffers.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Bytes of the schema; 0: there is none.
    pub fn schema_bytes(&self) -> u32 {
        self.schema_bytes
    }

    /// Whether one buffer is for all CPUs.
    pub fn is_global(&self) -> bool {
        self.global
    }

    /// CPU of each buffer; `None` for the one of a global channel.
    pub fn cpus(&self) -> impl Iterator<Item = Option<u16>> {
        let buffers = self.geometry.buffers() as usize;
        self.cpu.iter().take(buffers).map(|&cpu| if cpu == NO_CPU { None } else { Some(cpu) })
    }

    /// Grants that its directory lists: at most [`GRANTS`].
    pub fn grants(&self) -> u32 {
        self.data().end as u32
    }

    /// Which of the listed grants are the positions.
    pub fn positions(&self) -> Range<usize> {
        0..self.geometry.positions_pages() as usize
    }

    /// Which of the listed grants is the consumed page.
    pub fn consumed(&self) -> Range<usize> {
        after(self.positions(), CONSUMED_PAGES)
    }

    /// Which of the listed grants are the schema.
    pub fn schema(&self) -> Range<usize> {
        after(self.consumed(), self.schema_pages())
    }

    /// Which of the listed grants are the buffers, one buffer after the other.
    pub fn data(&self) -> Range<usize> {
        after(self.schema(), self.geometry.data_pages())
    }

    /// Whether this can be added to `first`, the export's first descriptor. That no CPU is there twice is to be seen
    /// from all its parts.
    ///
    /// # Errors
    ///
    /// [`BadExport::Part`], with the field that differs.
    pub fn check_part_of(&self, first: &Self) -> Result<(), BadExport> {
        let differs = [
            ("name", self.name != first.name),
            ("owner", self.owner != first.owner),
            ("sub-buffer size", self.geometry.subbuf_size() != first.geometry.subbuf_size()),
            ("number of sub-buffers", self.geometry.subbufs() != first.geometry.subbufs()),
            ("schema", self.schema_bytes != 0),
            ("set of CPUs", self.global || first.global),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            Some((field, _)) => Err(BadExport::Part(field)),
            None => Ok(()),
        }
    }

    /// As it stands at the begin of the descriptor page.
    pub fn info(&self) -> ExportInfo {
        ExportInfo {
            name: *self.name.as_wire(),
            owner: self.owner.map_or([0; NAME_BYTES], |owner| *owner.as_wire()),
            subbuf_size: self.geometry.subbuf_size(),
            subbufs: self.geometry.subbufs(),
            buffers: self.geometry.buffers(),
            flags: if self.global { GLOBAL } else { 0 },
            pages_per_buffer: self.geometry.pages_per_buffer(),
            positions_pages: self.geometry.positions_pages(),
            schema_pages: self.schema_pages(),
            schema_bytes: self.schema_bytes,
            reserved: 0,
            cpu: self.cpu,
        }
    }

    fn schema_pages(&self) -> u32 {
        self.schema_bytes.div_ceil(PAGE_SIZE as u32)
    }
}

impl fmt::Debug for Descriptor {
    /// Without the places of CPUs that are not in use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("name", &self.name)
            .field("owner", &self.owner)
            .field("geometry", &self.geometry)
            .field("schema_bytes", &self.schema_bytes)
            .field("global", &self.global)
            .field("cpu", &self.cpu.get(..self.geometry.buffers() as usize))
            .finish()
    }
}

fn after(range: Range<usize>, pages: u32) -> Range<usize> {
    range.end..range.end.wrapping_add(pages as usize)
}

impl ExportInfo {
    /// Checks a copy of the descriptor page's begin, against the request that offered it.
    ///
    /// # Errors
    ///
    /// [`BadExport`]. Nothing of the export's other pages has to be touched to know it.
    pub fn check(&self, export: &Export) -> Result<Descriptor, BadExport> {
        let name = ExportName::from_wire(&self.name).map_err(BadExport::Name)?;
        let owner = match &self.owner {
            empty if *empty == [0; NAME_BYTES] => None,
            owner => Some(Name::from_wire(owner).map_err(BadExport::Owner)?),
        };
        if self.flags & !GLOBAL != 0 {
            return Err(BadExport::Flags(self.flags));
        }
        if self.reserved != 0 {
            return Err(BadExport::Unused("reserved"));
        }
        let geometry = Geometry::new(self.subbuf_size, self.subbufs, self.buffers)?;
        let (cpus, behind) = self.cpu.split_at_checked(self.buffers as usize).unwrap_or((&self.cpu, &[]));
        if behind.iter().any(|&cpu| cpu != 0) {
            return Err(BadExport::Unused("cpu"));
        }
        let cpus = match cpus {
            [NO_CPU] if self.flags & GLOBAL != 0 => &[],
            [first, ..] if self.flags & GLOBAL != 0 => return Err(BadExport::Cpu(*first)),
            cpus => cpus,
        };
        let descriptor = Descriptor::new(name, owner, geometry, cpus, self.schema_bytes)?;
        let wanted = descriptor.info();
        for (field, says, needs) in [
            ("pages_per_buffer", self.pages_per_buffer, wanted.pages_per_buffer),
            ("positions_pages", self.positions_pages, wanted.positions_pages),
            ("schema_pages", self.schema_pages, wanted.schema_pages),
            ("grants", export.grants, descriptor.grants()),
        ] {
            if says != needs {
                return Err(BadExport::Pages { field, says, needs: needs.into() });
            }
        }
        Ok(descriptor)
    }
}
