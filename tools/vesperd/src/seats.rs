// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many connections each user may have, so that nobody's idle ones lock out the others, or root.

/// Part of all seats that are kept for root.
const FOR_ROOT: usize = 8;
/// Part of all seats that one other user may have.
const FOR_ONE: usize = 2;

/// Why there is no seat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// So many are connected, and no more may be.
    All(usize),
    /// This user has so many, and may not have more.
    User(usize),
}

/// Looks for a seat for a user, where `limit` connections may be and the users of `taken` have one for each time they are named.
pub(crate) fn find(limit: usize, uid: u32, taken: impl Iterator<Item = u32>) -> Result<(), Full> {
    let (mut all, mut own) = (0, 0);
    for other in taken {
        all += 1;
        own += usize::from(other == uid);
    }
    // With a single seat there is nothing to share.
    let (for_all, for_one) = if uid == 0 || limit == 1 {
        (limit, limit)
    } else {
        (limit - limit.div_ceil(FOR_ROOT), limit.div_ceil(FOR_ONE))
    };
    if all >= for_all {
        Err(Full::All(all))
    } else if own >= for_one {
        Err(Full::User(own))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seats that users get who come again and again, one after another, in this order.
    fn shared(limit: usize, users: &[u32]) -> Vec<usize> {
        let mut taken = Vec::new();
        for uid in users {
            while find(limit, *uid, taken.iter().copied()).is_ok() {
                taken.push(*uid);
            }
        }
        users.iter().map(|uid| taken.iter().filter(|taken| *taken == uid).count()).collect()
    }

    #[test]
    fn nobody_locks_out_the_others_or_root() {
        assert_eq!(shared(64, &[1000, 1001, 1002, 0]), [32, 24, 0, 8]);
        assert_eq!(shared(64, &[0, 1000]), [64, 0]);
        assert_eq!(shared(2, &[1000, 0]), [1, 1]);
        assert_eq!(shared(1, &[1000, 0]), [1, 0]);
        assert_eq!(find(64, 7, std::iter::repeat_n(7, 32)), Err(Full::User(32)));
        assert_eq!(find(64, 7, std::iter::repeat_n(8, 56)), Err(Full::All(56)));
    }
}
