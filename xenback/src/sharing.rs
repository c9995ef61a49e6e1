// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest shares: the descriptor of an export and the grants that its directory lists, copied once and checked,
//! and the pages themselves, mapped.

use std::ptr::NonNull;

use vesper_action::listener::{ExportName, Mapped, Offer, Refusal};
use vesper_grant::{Access, Devices, GrantRef, Mapping, PAGE_SIZE};
use vesper_relay_mirror::{Region, Regions};
use vesper_ring::wire::from_bytes;
use vesper_ring::wire::listener::{Chain, Descriptor, Export, ExportInfo};

/// Reads and checks the descriptor. Nothing else of the export is touched.
pub(crate) fn describe(devices: &dyn Devices, export: &Export) -> Result<Descriptor, Refusal> {
    let mut page = vec![0; size_of::<ExportInfo>()];
    devices.copy_from_guest(GrantRef(export.gref), 0, &mut page).map_err(unmappable)?;
    let info: ExportInfo = from_bytes(&page).expect("as long as the descriptor");
    info.check(export).map_err(unusable)
}

/// The descriptor in the Action layer's words.
pub(crate) fn offer(descriptor: &Descriptor) -> Result<Offer, Refusal> {
    Ok(Offer {
        name: ExportName::new(descriptor.name().as_str()).map_err(unusable)?,
        owner: descriptor.owner().map(|owner| owner.as_str().to_owned()),
        geometry: *descriptor.geometry(),
        cpus: descriptor.cpus().collect(),
        schema_bytes: descriptor.schema_bytes(),
    })
}

/// Maps what an export consists of. The schema is copied, not mapped.
pub(crate) fn map(
    devices: &dyn Devices,
    export: &Export,
    descriptor: &Descriptor,
) -> Result<Mapped, Refusal> {
    let grants = directory(devices, export)?;
    let part = |range: std::ops::Range<usize>| {
        grants.get(range).ok_or_else(|| Refusal::Unusable("fewer grants than it has pages".into()))
    };
    let map = |range, access| -> Result<Box<dyn Region>, Refusal> {
        Ok(Box::new(Pages(devices.map(part(range)?, access).map_err(unmappable)?)))
    };
    let mut schema = vec![0; descriptor.schema_bytes() as usize];
    for (bytes, gref) in schema.chunks_mut(PAGE_SIZE).zip(part(descriptor.schema())?) {
        devices.copy_from_guest(*gref, 0, bytes).map_err(unmappable)?;
    }
    let regions = Regions {
        positions: map(descriptor.positions(), Access::ReadOnly)?,
        consumed: map(descriptor.consumed(), Access::ReadWrite)?,
        data: map(descriptor.data(), Access::ReadOnly)?,
    };
    Ok(Mapped { regions, schema })
}

/// The grants that the directory lists: as many as the request says, or an error.
fn directory(devices: &dyn Devices, export: &Export) -> Result<Vec<GrantRef>, Refusal> {
    let mut grants = Vec::with_capacity(export.grants as usize);
    let mut chain = Chain::new(export);
    while let Some(gref) = chain.page() {
        let mut page = [0; PAGE_SIZE];
        devices.copy_from_guest(GrantRef(gref), 0, &mut page).map_err(unmappable)?;
        grants.extend(chain.list(&page).map_err(unusable)?.map(GrantRef));
    }
    Ok(grants)
}

fn unusable(error: impl ToString) -> Refusal {
    Refusal::Unusable(error.to_string())
}

fn unmappable(error: impl ToString) -> Refusal {
    Refusal::Unmappable(error.to_string())
}

/// Pages of the guest as the mirror wants them.
struct Pages(Mapping);

// SAFETY: a mapping has one address and one length for life, is page-aligned, may be read by any thread, and written if it was
// mapped so, which that of the consumed words is; this process makes no reference to it (`vesper_grant::Mapping`).
unsafe impl Region for Pages {
    fn start(&self) -> NonNull<u8> {
        self.0.as_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
