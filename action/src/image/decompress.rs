// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compressed modules, as distributions install them. Output and the decoder's own memory are both bounded.

use std::io::{self, Read};
use std::sync::Arc;

use super::ImageError;

/// Largest window (dictionary) of a compressed file, bytes: what `xz -9` and `zstd --ultra -20` use at most, doubled.
const WINDOW_LIMIT: u64 = 128 << 20;

const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const GZIP: &[u8] = b"\x1f\x8b";

/// The bytes as they are if they are not compressed, else what they decompress to, at most `limit` bytes.
pub(super) fn decompress(file: Arc<[u8]>, limit: u64) -> Result<Arc<[u8]>, ImageError> {
    let mut out = Vec::new();
    let Some((format, done)) = unpack(&file, limit, &mut out) else { return Ok(file) };
    // The limit first: a decoder that was stopped at it has not failed.
    if out.len() as u64 > limit {
        return Err(ImageError::TooLarge { limit });
    }
    done.map_err(|error| ImageError::Compressed { format, reason: error.to_string() })?;
    if out.is_empty() {
        return Err(ImageError::Empty);
    }
    Ok(out.into())
}

/// Unpacks to `out`, to at most one byte beyond the limit; `None` if the file is not compressed.
fn unpack(file: &[u8], limit: u64, out: &mut Vec<u8>) -> Option<(&'static str, io::Result<()>)> {
    if file.starts_with(XZ) {
        // The reader wants its limit in KiB and adds a little for itself.
        let memory = (WINDOW_LIMIT / 1024) as u32 + 1024;
        let reader = lzma_rust2::XzReader::new_mem_limit(file, true, memory);
        Some(("xz", bounded(reader, limit, out)))
    } else if file.starts_with(ZSTD) {
        Some(("zstd", zstd(file, limit, out)))
    } else if file.starts_with(GZIP) {
        Some(("gzip", bounded(flate2::read::MultiGzDecoder::new(file), limit, out)))
    } else {
        None
    }
}

/// Reads to the end, or to one byte beyond the limit.
fn bounded(reader: impl Read, limit: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let room = (limit + 1).saturating_sub(out.len() as u64);
    reader.take(room).read_to_end(out).map(|_| ())
}

/// All frames of a zstd file, with their checksums compared.
fn zstd(mut file: &[u8], limit: u64, out: &mut Vec<u8>) -> io::Result<()> {
    while !file.is_empty() && out.len() as u64 <= limit {
        let mut frame = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut file, WINDOW_LIMIT)
            .map_err(io::Error::other)?;
        bounded(&mut frame, limit, out)?;
        let decoder = &frame.decoder;
        // A frame that was stopped at the limit has not come to its checksum yet.
        if decoder.is_finished()
            && decoder.get_checksum_from_data().is_some()
            && decoder.get_checksum_from_data() != decoder.get_calculated_checksum()
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum does not match"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::unpack;

    /// What a bomb leaves in memory: how many bytes were unpacked before it was stopped.
    pub(in crate::image) fn unpacked(bomb: &[u8], limit: u64) -> usize {
        let mut out = Vec::new();
        let _ = unpack(bomb, limit, &mut out);
        out.len()
    }
}
