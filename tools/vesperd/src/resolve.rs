// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what a user wrote to the guest that is meant.

use vesper_api::{ErrorKind, Failure};
use vesper_xenback::{GuestInfo, Uuid};

/// All digits: a domid. Else a name, else a UUID. More than one guest of that name or UUID is an error.
pub(crate) fn resolve(guests: Vec<GuestInfo>, dom: &str) -> Result<GuestInfo, Failure> {
    if dom.is_empty() {
        return Err(Failure::new(ErrorKind::BadRequest, "the guest's name is empty"));
    }
    let found: Vec<_> = if dom.bytes().all(|byte| byte.is_ascii_digit()) {
        let domid: Option<u16> = dom.parse().ok();
        if domid == Some(0) {
            return Err(Failure::new(ErrorKind::BadRequest, "domain 0 is where vesperd runs, not a guest"));
        }
        guests.into_iter().filter(|guest| Some(guest.domid.0) == domid).collect()
    } else {
        let uuid: Option<Uuid> = dom.parse().ok();
        let named = guests.iter().any(|guest| guest.name == dom);
        guests
            .into_iter()
            .filter(|guest| if named { guest.name == dom } else { Some(guest.uuid) == uuid })
            .collect()
    };
    let domids: Vec<_> = found.iter().map(|guest| guest.domid.to_string()).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(guest), None) => Ok(guest),
        (Some(_), Some(_)) => Err(Failure::new(
            ErrorKind::AmbiguousGuest,
            format!("more than one guest is called {dom}: domains {}", domids.join(", ")),
        )
        .remedy("say which one by its domid")),
        (None, _) => Err(Failure::new(ErrorKind::NoSuchGuest, format!("there is no guest {dom}"))
            .remedy("see the guests with: vesper list")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::guest;

    #[test]
    fn digits_are_a_domid_and_the_rest_a_name_or_a_uuid() {
        let guests = || {
            vec![
                guest(1, "web", 1),
                guest(2, "db", 2),
                guest(3, "db", 3),
                guest(4, "1", 4),
                guest(5, &Uuid([2; 16]).to_string(), 5),
                guest(6, "m", 6),
                guest(7, "m--incoming", 6),
            ]
        };
        let domid =
            |dom: &str| resolve(guests(), dom).map(|guest| guest.domid.0).map_err(|failure| failure.kind);
        assert_eq!(domid("1"), Ok(1), "not the guest called 1");
        assert_eq!(domid("001"), Ok(1));
        assert_eq!(domid("web"), Ok(1));
        assert_eq!(domid("04040404-0404-0404-0404-040404040404"), Ok(4));
        assert_eq!(domid("02020202-0202-0202-0202-020202020202"), Ok(5), "a name goes before a UUID");
        assert_eq!(domid("db"), Err(ErrorKind::AmbiguousGuest));
        assert_eq!(domid("06060606-0606-0606-0606-060606060606"), Err(ErrorKind::AmbiguousGuest));
        assert_eq!(domid("0"), Err(ErrorKind::BadRequest));
        for dom in ["9", "65536", "99999999999999999999", "we", "Web", " 1", "-1"] {
            assert_eq!(domid(dom), Err(ErrorKind::NoSuchGuest), "{dom:?}");
        }
        assert_eq!(domid(""), Err(ErrorKind::BadRequest));
        let said = resolve(guests(), "db").unwrap_err().message;
        assert!(said.contains("domains 2, 3"), "{said}");
    }
}
