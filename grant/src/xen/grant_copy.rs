// SPDX-License-Identifier: MIT OR Apache-2.0
//! `IOCTL_GNTDEV_GRANT_COPY`: copying to and from a guest's pages without mapping them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::abi::{
    CopyForeign, CopySegment, CopySide, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GntdevGrantCopy,
    IOCTL_GNTDEV_GRANT_COPY,
};
use crate::counters::Tally;
use crate::{DomId, Error, GrantRef, GrantStatus, PAGE_SIZE, devices};

/// Segments of one ioctl. The kernel works through them 16 at a time; this bounds our own array.
const SEGMENTS_PER_CALL: usize = 256;

/// How often a segment that Xen put off (`GNTST_eagain`) is asked for again, 1 ms apart, then 2, 4 and so on. The kernel
/// has itself retried by then, so this is for the rare rest.
const EAGAIN_RETRIES: u32 = 4;

pub(super) fn from_guest(
    gntdev: &File,
    tally: &Tally,
    guest: DomId,
    src: GrantRef,
    offset: u16,
    dst: &mut [u8],
) -> Result<(), Error> {
    let len = devices::check_copy_in(offset, dst.len())?;
    if len == 0 {
        return Ok(());
    }
    let mut segments = [CopySegment {
        source: CopySide { foreign: CopyForeign { gref: src.0, offset, domid: guest.0 } },
        dest: CopySide { virt: dst.as_mut_ptr().cast() },
        len,
        flags: GNTCOPY_SOURCE_GREF,
        status: 0,
    }];
    // SAFETY: the only local side is `dst`, borrowed mutably for the call and `len` bytes long.
    unsafe { run(gntdev, guest, &mut segments) }?;
    tally.copies.fetch_add(1, Relaxed);
    tally.bytes_from_guest.fetch_add(len.into(), Relaxed);
    Ok(())
}

pub(super) fn to_guest(
    gntdev: &File,
    tally: &Tally,
    guest: DomId,
    pages: &[GrantRef],
    bytes: &[u8],
) -> Result<(), Error> {
    devices::check_copy_out(pages.len(), bytes.len())?;
    let parts: Vec<_> = bytes.chunks(PAGE_SIZE).zip(pages).collect();
    for batch in parts.chunks(SEGMENTS_PER_CALL) {
        let mut segments: Vec<_> = batch
            .iter()
            .map(|(part, page)| CopySegment {
                source: CopySide { virt: part.as_ptr().cast_mut().cast() },
                dest: CopySide { foreign: CopyForeign { gref: page.0, offset: 0, domid: guest.0 } },
                len: u16::try_from(part.len()).expect("a chunk is at most a page"),
                flags: GNTCOPY_DEST_GREF,
                status: 0,
            })
            .collect();
        // SAFETY: every local side is a part of `bytes`, borrowed for the call; as a source it is only read.
        unsafe { run(gntdev, guest, &mut segments) }?;
        tally.copies.fetch_add(segments.len() as u64, Relaxed);
    }
    tally.bytes_to_guest.fetch_add(bytes.len() as u64, Relaxed);
    Ok(())
}

/// Has the kernel work through `segments` until each has its final status.
///
/// # Safety
/// The local side of each segment must be valid for its length, for writing where it is the destination.
unsafe fn run(gntdev: &File, guest: DomId, segments: &mut [CopySegment]) -> Result<(), Error> {
    settle(guest, segments, |part| {
        let count = u32::try_from(part.len()).expect("at most SEGMENTS_PER_CALL");
        let mut request = GntdevGrantCopy { count, segments: part.as_mut_ptr() };
        // SAFETY: `request` names `part`, whose local sides the caller of `run` vouches for.
        let rc = unsafe { libc::ioctl(gntdev.as_raw_fd(), IOCTL_GNTDEV_GRANT_COPY, &raw mut request) };
        if rc < 0 { Err(Error::last_os("IOCTL_GNTDEV_GRANT_COPY", guest)) } else { Ok(()) }
    })
}

/// Submits, looks at each segment's status, and submits those again that Xen put off.
fn settle(
    guest: DomId,
    segments: &mut [CopySegment],
    mut submit: impl FnMut(&mut [CopySegment]) -> Result<(), Error>,
) -> Result<(), Error> {
    submit(segments)?;
    let mut put_off = sort_out(guest, segments)?;
    for attempt in 0..EAGAIN_RETRIES {
        if put_off.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1 << attempt));
        submit(&mut put_off)?;
        put_off = sort_out(guest, &put_off)?;
    }
    put_off.first().map_or(Ok(()), |segment| Err(refused(guest, segment)))
}

/// The segments to try again; an error for the first that failed for good.
fn sort_out(guest: DomId, segments: &[CopySegment]) -> Result<Vec<CopySegment>, Error> {
    let mut put_off = Vec::new();
    for segment in segments {
        match GrantStatus(segment.status) {
            GrantStatus::OKAY => {}
            GrantStatus::EAGAIN => put_off.push(*segment),
            _ => return Err(refused(guest, segment)),
        }
    }
    Ok(put_off)
}

fn refused(guest: DomId, segment: &CopySegment) -> Error {
    let side = if segment.flags & GNTCOPY_SOURCE_GREF != 0 { &segment.source } else { &segment.dest };
    // SAFETY: the flag says that this side is the grant, and `from_guest` and `to_guest` fill it so.
    let grant = GrantRef(unsafe { side.foreign.gref });
    Error::Copy { guest, grant, status: GrantStatus(segment.status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: u32) -> Vec<CopySegment> {
        (0..count)
            .map(|gref| CopySegment {
                source: CopySide { virt: std::ptr::null_mut() },
                dest: CopySide { foreign: CopyForeign { gref, offset: 0, domid: 3 } },
                len: 1,
                flags: GNTCOPY_DEST_GREF,
                status: 0,
            })
            .collect()
    }

    fn settled(count: u32, mut status: impl FnMut(usize, u32) -> i16) -> (Result<(), Error>, Vec<usize>) {
        let mut calls = Vec::new();
        let result = settle(DomId(3), &mut segments(count), |part| {
            let call = calls.len();
            calls.push(part.len());
            for segment in part {
                // SAFETY: `segments` fills the destination as a grant.
                segment.status = status(call, unsafe { segment.dest.foreign.gref });
            }
            Ok(())
        });
        (result, calls)
    }

    #[test]
    fn only_the_segments_put_off_are_tried_again() {
        let (result, calls) = settled(5, |call, gref| if call < 2 && gref % 2 == 1 { -12 } else { 0 });
        result.unwrap();
        assert_eq!(calls, [5, 2, 2]);
    }

    #[test]
    fn a_segment_put_off_for_ever_is_an_error_in_the_end() {
        let (result, calls) = settled(1, |_, _| -12);
        assert!(result.unwrap_err().to_string().contains("GNTST_eagain (-12)"));
        assert_eq!(calls.len(), 1 + EAGAIN_RETRIES as usize);
    }

    #[test]
    fn every_status_is_looked_at_and_named() {
        let (result, _) = settled(3, |_, gref| if gref == 2 { -3 } else { 0 });
        let text = result.unwrap_err().to_string();
        assert!(text.contains("grant 2 of domain 3") && text.contains("GNTST_bad_gntref (-3)"), "{text}");
    }

    #[test]
    fn a_hard_failure_among_retries_is_not_retried() {
        let (result, calls) = settled(2, |_, gref| if gref == 0 { -12 } else { -8 });
        assert!(result.unwrap_err().to_string().contains("GNTST_permission_denied"));
        assert_eq!(calls, [2]);
    }
}
