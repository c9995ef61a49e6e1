// SPDX-License-Identifier: MIT OR Apache-2.0
//! A module with its signature behind it:
//!
//! ```text
//! module | PKCS#7 | struct module_signature, 12 bytes | "~Module signature appended~\n"
//! ```
//!
//! The structure (`include/linux/module_signature.h`) is algo, hash, id_type, signer_len, key_id_len, three bytes of nothing, and the
//! length of the PKCS#7 in 32 bits, big endian. Of a PKCS#7 all but id_type and the length are 0 (`mod_check_sig`).

use super::Unsigned;

const MARKER: &[u8] = b"~Module signature appended~\n";

/// `PKEY_ID_PKCS7`.
const PKCS7: u8 = 2;

/// Most bytes of a signature. That of a 4096-bit key has 1 KiB; with the signer's certificate in it, 3. What is parsed takes time that grows
/// with the square of this.
const MOST: usize = 16 << 10;

/// A module's parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Appended<'a> {
    /// What is signed.
    pub(crate) module: &'a [u8],
    /// The signature, in DER.
    pub(crate) pkcs7: &'a [u8],
}

/// Takes an image apart.
///
/// # Errors
/// [`Unsigned::NotSigned`] or [`Unsigned::Unreadable`].
pub(crate) fn split(image: &[u8]) -> Result<Appended<'_>, Unsigned> {
    let unreadable = |what: String| Unsigned::Unreadable(what);
    let signed = image.strip_suffix(MARKER).ok_or(Unsigned::NotSigned)?;
    let (signed, &[algo, hash, kind, signer, key, a, b, c, l0, l1, l2, l3]) =
        signed.split_last_chunk().ok_or_else(|| unreadable("it is cut off".into()))?;
    if kind != PKCS7 {
        return Err(unreadable(format!("it is of kind {kind}, not PKCS#7, which is {PKCS7}")));
    }
    if [algo, hash, signer, key, a, b, c] != [0; 7] {
        return Err(unreadable("bytes of its structure that are 0 in any signature are not".into()));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MOST {
        return Err(unreadable(format!("it says that it has {length} bytes, {MOST} are taken at most")));
    }
    let split = signed.len().checked_sub(length).map(|at| signed.split_at(at));
    let (module, pkcs7) = split.ok_or_else(|| {
        unreadable(format!("it says that it has {length} bytes, {} are there", signed.len()))
    })?;
    Ok(Appended { module, pkcs7 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(module: &[u8], pkcs7: &[u8], info: [u8; 8], length: u32) -> Vec<u8> {
        [module, pkcs7, &info, &length.to_be_bytes(), MARKER].concat()
    }

    const INFO: [u8; 8] = [0, 0, PKCS7, 0, 0, 0, 0, 0];

    #[test]
    fn the_signature_is_at_the_end() {
        let whole = image(b"module", b"sig", INFO, 3);
        assert_eq!(split(&whole), Ok(Appended { module: b"module", pkcs7: b"sig" }));
        let twice = image(&whole, b"other", INFO, 5);
        assert_eq!(split(&twice), Ok(Appended { module: &whole, pkcs7: b"other" }));
        assert_eq!(split(&whole[..whole.len() - 1]), Err(Unsigned::NotSigned));
        assert_eq!(split(&[&whole[..], b"\n"].concat()), Err(Unsigned::NotSigned));
        assert_eq!(split(b""), Err(Unsigned::NotSigned));
    }

    #[test]
    fn what_the_structure_says_is_not_believed() {
        let said = |image: &[u8]| split(image).unwrap_err().to_string();
        let wanted = "its signature cannot be read: it says that it has 10 bytes, 9 are there";
        assert_eq!(said(&image(b"module", b"sig", INFO, 10)), wanted);
        assert!(said(&image(b"module", b"sig", INFO, u32::MAX)).ends_with("16384 are taken at most"));
        assert!(said(MARKER).ends_with("it is cut off"));
        assert!(said(&image(b"", b"", INFO, 0)[1..]).ends_with("it is cut off"));
        for at in 0..8 {
            let mut info = INFO;
            info[at] ^= 1;
            let wanted =
                if at == 2 { "it is of kind 3, not PKCS#7, which is 2" } else { "signature are not" };
            assert!(said(&image(b"module", b"sig", info, 3)).ends_with(wanted), "{at}");
        }
    }
}
