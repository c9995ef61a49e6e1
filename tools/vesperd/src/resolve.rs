// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what a user wrote to the guest that is meant.

use vesper_api::{ErrorKind, Failure};
use vesper_grant::DomId;
use vesper_xenback::{Backend, GuestInfo, Uuid};

/// The guest that `dom` means. All digits: a domid, and only that guest is looked at. Else a name, else a UUID; more than
/// one guest of that name or UUID is an error.
pub(crate) fn resolve(backend: &Backend, dom: &str) -> Result<GuestInfo, Failure> {
    match domid(dom)? {
        Some(domid) => backend.guest(domid).ok_or_else(|| nobody(dom)),
        None => named(backend.guests(), dom),
    }
}

/// The number, if it is all digits.
fn domid(dom: &str) -> Result<Option<DomId>, Failure> {
    if dom.is_empty() {
        return Err(Failure::new(ErrorKind::BadRequest, "the guest's name is empty"));
    }
    if !dom.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match dom.parse() {
        Ok(0) => Err(Failure::new(ErrorKind::BadRequest, "domain 0 is where vesperd runs, not a guest")),
        Ok(domid) => Ok(Some(DomId(domid))),
        Err(_) => Err(nobody(dom)),
    }
}

fn named(guests: Vec<GuestInfo>, dom: &str) -> Result<GuestInfo, Failure> {
    let uuid: Option<Uuid> = dom.parse().ok();
    let named = guests.iter().any(|guest| guest.name == dom);
    let found = |guest: &GuestInfo| if named { guest.name == dom } else { Some(guest.uuid) == uuid };
    let found: Vec<_> = guests.into_iter().filter(found).collect();
    let domids: Vec<_> = found.iter().map(|guest| guest.domid.to_string()).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(guest), None) => Ok(guest),
        (Some(_), Some(_)) => Err(Failure::new(
            ErrorKind::AmbiguousGuest,
            format!("more than one guest is called {dom}: domains {}", domids.join(", ")),
        )
        .remedy("say which one by its domid")),
        (None, _) => Err(nobody(dom)),
    }
}

fn nobody(dom: &str) -> Failure {
    Failure::new(ErrorKind::NoSuchGuest, format!("there is no guest {dom}"))
        .remedy("see the guests with: vesper list")
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
        let kind = |failure: Failure| failure.kind;
        let number = |dom: &str| domid(dom).map(|domid| domid.map(|domid| domid.0)).map_err(kind);
        assert_eq!(number("1"), Ok(Some(1)), "not the guest called 1");
        assert_eq!(number("001"), Ok(Some(1)));
        assert_eq!(number("0"), Err(ErrorKind::BadRequest));
        assert_eq!(number(""), Err(ErrorKind::BadRequest));
        for dom in ["65536", "99999999999999999999"] {
            assert_eq!(number(dom), Err(ErrorKind::NoSuchGuest), "{dom:?}");
        }
        let by_name = |dom: &str| {
            assert_eq!(number(dom), Ok(None), "{dom:?}");
            named(guests(), dom).map(|guest| guest.domid.0).map_err(kind)
        };
        assert_eq!(by_name("web"), Ok(1));
        assert_eq!(by_name("04040404-0404-0404-0404-040404040404"), Ok(4));
        assert_eq!(by_name("02020202-0202-0202-0202-020202020202"), Ok(5), "a name goes before a UUID");
        assert_eq!(by_name("db"), Err(ErrorKind::AmbiguousGuest));
        assert_eq!(by_name("06060606-0606-0606-0606-060606060606"), Err(ErrorKind::AmbiguousGuest));
        for dom in ["we", "Web", " 1", "-1"] {
            assert_eq!(by_name(dom), Err(ErrorKind::NoSuchGuest), "{dom:?}");
        }
        let said = named(guests(), "db").unwrap_err().message;
        assert!(said.contains("domains 2, 3"), "{said}");
    }
}
