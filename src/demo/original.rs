//! Compares the original inside an envelope or receipt with what was submitted.
//!
//! The body must be the same octets. The header must be the same fields in the same order, folding
//! included, but for what the rules change on the way: the Message-ID, which the provider
//! replaces and keeps as reference (RFC 6109 §2.2.1), and trace fields (RFC 5321 §4.4).

use super::entity::{Entity, field_name};

/// Fields that may differ, be absent or be added.
const CHANGED_ON_THE_WAY: [&str; 4] =
    ["Message-ID", "X-Riferimento-Message-ID", "Received", "Return-Path"];

/// What is different, in a few words for the person who looks.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Difference {
    #[error("one of the two has no header")]
    NoHeader,
    #[error("header field {number} is `{found}` instead of `{submitted}`")]
    Field { number: usize, submitted: String, found: String },
    #[error(
        "the bodies differ from octet {octet} on ({submitted} octets submitted, {found} found)"
    )]
    Body { octet: usize, submitted: usize, found: usize },
    #[error("the submitted Message-ID {submitted} is kept as `{found}`")]
    Reference { submitted: String, found: String },
}

/// Compares `found` with the `submitted` message, whose client-made Message-ID is `message_id`.
pub(super) fn compare(submitted: &[u8], message_id: &str, found: &[u8]) -> Result<(), Difference> {
    let (Some(submitted), Some(found)) = (Entity::cut(submitted), Entity::cut(found)) else {
        return Err(Difference::NoHeader);
    };
    let (ours, theirs) = (kept_fields(&submitted), kept_fields(&found));
    let text = |field: Option<&&[u8]>| match field {
        Some(field) => String::from_utf8_lossy(field).trim_end().to_owned(),
        None => String::new(),
    };
    for number in 0..ours.len().max(theirs.len()) {
        if ours.get(number) != theirs.get(number) {
            let (submitted, found) = (text(ours.get(number)), text(theirs.get(number)));
            return Err(Difference::Field { number: number + 1, submitted, found });
        }
    }
    if submitted.body() != found.body() {
        let pairs = submitted.body().iter().zip(found.body());
        let octet = pairs.take_while(|(ours, theirs)| ours == theirs).count();
        let (submitted, found) = (submitted.body().len(), found.body().len());
        return Err(Difference::Body { octet, submitted, found });
    }
    let reference = found.value("X-Riferimento-Message-ID").unwrap_or_default();
    if reference != message_id {
        return Err(Difference::Reference { submitted: message_id.to_owned(), found: reference });
    }
    Ok(())
}

fn kept_fields<'o>(entity: &Entity<'o>) -> Vec<&'o [u8]> {
    let kept = |field: &&[u8]| {
        !CHANGED_ON_THE_WAY.iter().any(|name| field_name(field).eq_ignore_ascii_case(name))
    };
    entity.fields().into_iter().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBMITTED: &[u8] =
        b"Message-ID: <a@b>\r\nFrom: x@y\r\nSubject: one\r\n two\r\n\r\nbody\r\n";

    fn changed(from: &str, to: &str) -> Result<(), Difference> {
        let relayed = String::from_utf8(SUBMITTED.to_vec()).unwrap().replace(
            "Message-ID: <a@b>\r\n",
            "Received: by alfa\r\nX-Riferimento-Message-ID: <a@b>\r\nMessage-ID: <pec@alfa>\r\n",
        );
        assert!(relayed.contains(from));
        compare(SUBMITTED, "<a@b>", relayed.replace(from, to).as_bytes())
    }

    #[test]
    fn the_changes_of_the_rules_are_no_difference() {
        assert_eq!(changed("From", "From"), Ok(()));
    }

    #[test]
    fn any_other_change_is_found() {
        assert!(matches!(changed("body", "bodz"), Err(Difference::Body { octet: 3, .. })));
        assert!(matches!(
            changed("one\r\n two", "one two"),
            Err(Difference::Field { number: 2, .. })
        ));
        assert!(matches!(changed("From: x@y\r\n", ""), Err(Difference::Field { .. })));
        assert!(matches!(changed("<a@b>", "<c@d>"), Err(Difference::Reference { .. })));
    }
}
