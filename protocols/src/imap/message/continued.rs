//! Parameters that are continued, joined for BODY and BODYSTRUCTURE (RFC 2231 §6).
//!
//! `name*0`, `name*1` … become one `name`, where the first of them stands. When a piece is extended
//! (`name*0*`) the whole is: `name*`, with percent signs for what a plain piece may hold and an
//! extended one may not. Nothing is decoded further: charset and language stay readable.
//!
//! What is broken stays as it was written: pieces behind a gap, and all where `name` itself stands
//! beside them, for clients know which of the two they want.

use std::{borrow::Cow, collections::BTreeMap};

use storage::summary::Parameter;

/// A piece by its number: where it stands, and whether it is extended.
type Pieces = BTreeMap<usize, (usize, bool)>;

/// The parameters with continued ones joined.
pub(crate) fn joined(parameters: &[Parameter]) -> Cow<'_, [Parameter]> {
    let mut found: BTreeMap<Vec<u8>, Pieces> = BTreeMap::new();
    for (position, (name, _)) in parameters.iter().enumerate() {
        if let Some((base, piece, extended)) = piece_of(name) {
            let pieces = found.entry(base.to_ascii_lowercase()).or_default();
            pieces.entry(piece).or_insert((position, extended));
        }
    }
    found.retain(|base, pieces| {
        let alone = |(name, _): &Parameter| !name.eq_ignore_ascii_case(base);
        pieces.contains_key(&0) && parameters.iter().all(alone)
    });
    if found.is_empty() {
        return Cow::Borrowed(parameters);
    }
    let mut result: Vec<Option<Parameter>> = parameters.iter().cloned().map(Some).collect();
    for pieces in found.values() {
        join(parameters, pieces, &mut result);
    }
    Cow::Owned(result.into_iter().flatten().collect())
}

/// Puts the pieces up to the first gap in the place of piece 0.
fn join(parameters: &[Parameter], pieces: &Pieces, result: &mut [Option<Parameter>]) {
    let run = pieces.iter().enumerate().take_while(|(index, (piece, _))| index == *piece);
    let run: Vec<(usize, bool)> = run.map(|(_, (_, piece))| *piece).collect();
    let extended = run.iter().any(|(_, extended)| *extended);
    let mut value = Vec::new();
    for (position, this_extended) in &run {
        let Some((_, piece)) = parameters.get(*position) else { continue };
        if extended && !this_extended {
            percent(&mut value, piece);
        } else {
            value.extend_from_slice(piece);
        }
        if let Some(taken) = result.get_mut(*position) {
            *taken = None;
        }
    }
    let Some((first, _)) = run.first() else { return };
    let Some((base, ..)) = parameters.get(*first).and_then(|(name, _)| piece_of(name)) else {
        return;
    };
    let mut name = base.to_vec();
    if extended {
        name.push(b'*');
    }
    if let Some(place) = result.get_mut(*first) {
        *place = Some((name, value));
    }
}

/// The name before the first `*`, the number behind it, and whether another `*` follows.
fn piece_of(name: &[u8]) -> Option<(&[u8], usize, bool)> {
    let star = name.iter().position(|&octet| octet == b'*').filter(|&star| star > 0)?;
    let (base, rest) = (&name[..star], &name[star + 1..]);
    let (digits, extended) = match rest.strip_suffix(b"*") {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    // `section` has no leading zeros (RFC 2231 §7).
    let plain =
        digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    let number = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    Some((base, number, extended))
}

/// Octets that are no `attribute-char` (RFC 2231 §7) as percent and two digits.
fn percent(out: &mut Vec<u8>, octets: &[u8]) {
    for &octet in octets {
        if octet.is_ascii_graphic() && !b"*'%()<>@,;:\\\"/[]?=".contains(&octet) {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("%{octet:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&str, &str)], expected: &[(&str, &str)]) {
        let owned =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let given: Vec<Parameter> = given.iter().map(owned).collect();
        let expected: Vec<Parameter> = expected.iter().map(owned).collect();
        assert_eq!(*joined(&given), *expected, "{given:?}");
    }

    #[test]
    fn the_examples_of_rfc_2231_sections_3_and_4_1() {
        check(
            &[
                ("access-type", "URL"),
                ("URL*0", "ftp://"),
                ("URL*1", "cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"),
            ],
            &[
                ("access-type", "URL"),
                ("URL", "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"),
            ],
        );
        check(
            &[
                ("title*0*", "us-ascii'en'This%20is%20even%20more%20"),
                ("title*1*", "%2A%2A%2Afun%2A%2A%2A%20"),
                ("title*2", "isn't it!"),
            ],
            &[(
                "title*",
                "us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!",
            )],
        );
    }

    #[test]
    fn pieces_may_stand_in_any_order_and_among_others() {
        check(&[("N*1", "b"), ("x", "y"), ("n*0", "a"), ("n*2", "c")], &[("x", "y"), ("n", "abc")]);
    }

    #[test]
    fn what_is_broken_stays_as_it_was_written() {
        for broken in [
            &[("n*1", "b")][..],
            &[("n*", "utf-8''a"), ("n*x", "y"), ("*0", "z"), ("n*01", "w")],
            &[("n", "plain"), ("n*0", "a"), ("n*1", "b")],
        ] {
            check(broken, broken);
        }
        check(&[("n*0", "a"), ("n*2", "c")], &[("n", "a"), ("n*2", "c")]);
        // A piece that comes twice counts once.
        check(&[("n*0", "a"), ("n*0", "b")], &[("n", "a"), ("n*0", "b")]);
    }
}
