//! Content-Type and Content-Disposition: a value and its parameters (RFC 2045 §5.1, RFC 2183 §2).
//!
//! Parameters keep their order, their names as written (also RFC 2231 §3 `name*0*`) and their values
//! unquoted. What the grammar does not allow is read as the common clients do: unquoted values
//! run to the next semicolon, comments count for nothing, a missing value is empty.

use super::header::trim;
use crate::summary::Parameter;

/// Parameters of one field at most.
pub const PARAMETERS_MAX: usize = 256;

/// Splits `value` at its first semicolon outside quotes and comments, and reads the parameters.
#[must_use]
pub fn parse(value: &[u8]) -> (Vec<u8>, Vec<Parameter>) {
    let mut rest = value;
    let mut parts = Vec::new();
    while parts.len() <= PARAMETERS_MAX {
        let (part, after) = part(rest);
        parts.push(part);
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let mut parts = parts.into_iter();
    let head = parts.next().map(|part| trim(&part.octets).to_vec()).unwrap_or_default();
    let parameters = parts.filter_map(parameter).collect();
    (head, parameters)
}

/// What stands between two semicolons, comments left out, quotes taken off.
#[derive(Default)]
struct Part {
    octets: Vec<u8>,
    /// The octets that were quoted, so that their white space and `=` count as text.
    quoted: Option<(usize, usize)>,
}

fn part(value: &[u8]) -> (Part, Option<&[u8]>) {
    let mut part = Part::default();
    let mut position = 0;
    let mut comments = 0_usize;
    let mut in_quotes = false;
    while let Some(&octet) = value.get(position) {
        position += 1;
        match octet {
            b'\\' if in_quotes || comments > 0 => {
                if let Some(&escaped) = value.get(position) {
                    position += 1;
                    if comments == 0 {
                        part.octets.push(escaped);
                    }
                }
            }
            b'"' if comments == 0 => {
                in_quotes = !in_quotes;
                let end = part.octets.len();
                let start = part.quoted.map_or(end, |(start, _)| start);
                part.quoted = Some((start, end));
            }
            _ if in_quotes => part.octets.push(octet),
            b'(' => comments += 1,
            b')' if comments > 0 => comments -= 1,
            _ if comments > 0 => {}
            b';' => return (part, value.get(position..)),
            _ => part.octets.push(octet),
        }
    }
    if in_quotes {
        let start = part.quoted.map_or(0, |(start, _)| start);
        part.quoted = Some((start, part.octets.len()));
    }
    (part, None)
}

fn parameter(part: Part) -> Option<Parameter> {
    let Part { octets, quoted } = part;
    let equals = octets.iter().position(|&octet| octet == b'=');
    let Some(equals) = equals else {
        let name = trim(&octets);
        return (!name.is_empty()).then(|| (name.to_vec(), Vec::new()));
    };
    let name = trim(&octets[..equals]);
    let value = match quoted {
        Some((start, end)) if start > equals => octets.get(start..end).unwrap_or_default(),
        _ => trim(&octets[equals + 1..]),
    };
    (!name.is_empty()).then(|| (name.to_vec(), value.to_vec()))
}

/// The value of a parameter; its pieces joined when it is continued (RFC 2231 §3).
#[must_use]
pub fn value_of(parameters: &[Parameter], name: &str) -> Option<Vec<u8>> {
    let find = |wanted: &str| {
        let found = |(name, _): &&Parameter| name.eq_ignore_ascii_case(wanted.as_bytes());
        parameters.iter().find(found).map(|(_, value)| value.clone())
    };
    if let Some(value) = find(name) {
        return Some(value);
    }
    let mut joined = find(&format!("{name}*0"))?;
    for piece in 1..PARAMETERS_MAX {
        match find(&format!("{name}*{piece}")) {
            Some(value) => joined.extend_from_slice(&value),
            None => break,
        }
    }
    Some(joined)
}

/// Splits a media type; `None` when it is not two names with a slash between.
#[must_use]
pub fn media_type(head: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let slash = head.iter().position(|&octet| octet == b'/')?;
    let (kind, subtype) = (trim(&head[..slash]), trim(&head[slash + 1..]));
    let token = |name: &[u8]| {
        !name.is_empty()
            && name
                .iter()
                .all(|&octet| octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet))
    };
    (token(kind) && token(subtype)).then(|| (kind.to_vec(), subtype.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> (String, Vec<(String, String)>) {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (head, parameters) = parse(value.as_bytes());
        (text(&head), parameters.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn values_and_parameters_of_the_standards_examples() {
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
        let cases: [Case<'_>; 10] = [
            // RFC 2045 §5.1.
            ("text/plain; charset=us-ascii (Plain text)", "text/plain", &[("charset", "us-ascii")]),
            ("text/plain; charset=\"us-ascii\"", "text/plain", &[("charset", "us-ascii")]),
            // RFC 2046 §5.1.1.
            (
                "multipart/mixed; boundary=\"gc0pJq0M:08jU534c0p\"",
                "multipart/mixed",
                &[("boundary", "gc0pJq0M:08jU534c0p")],
            ),
            // RFC 2183 §3.
            (
                "attachment; filename=genome.jpeg; modification-date=\"Wed, 12 Feb 1997 16:29:51 -0500\"",
                "attachment",
                &[
                    ("filename", "genome.jpeg"),
                    ("modification-date", "Wed, 12 Feb 1997 16:29:51 -0500"),
                ],
            ),
            // RFC 2231 §3 and §4.1: kept as written.
            (
                "application/x-stuff; title*0*=us-ascii'en'This%20is; title*1=\"x = y; z\"",
                "application/x-stuff",
                &[("title*0*", "us-ascii'en'This%20is"), ("title*1", "x = y; z")],
            ),
            // Outside the grammar.
            (
                "text/plain; name=my file.txt; ;x",
                "text/plain",
                &[("name", "my file.txt"), ("x", "")],
            ),
            ("text/plain; name=\"a\\\"b", "text/plain", &[("name", "a\"b")]),
            ("text/plain; name = \" \"", "text/plain", &[("name", " ")]),
            ("", "", &[]),
            (";;=x", "", &[]),
        ];
        for (value, head, parameters) in cases {
            let parameters = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<Vec<_>>();
            assert_eq!(parsed(value), (head.to_owned(), parameters), "{value}");
        }
    }

    #[test]
    fn a_continued_parameter_is_joined() {
        let (_, parameters) = parse(b"multipart/mixed; boundary*0=ab; boundary*1=\"cd\"");
        assert_eq!(value_of(&parameters, "boundary"), Some(b"abcd".to_vec()));
        assert_eq!(value_of(&parameters, "charset"), None);
    }

    #[test]
    fn media_types_need_two_names() {
        assert_eq!(media_type(b"Text/PLAIN"), Some((b"Text".to_vec(), b"PLAIN".to_vec())));
        for broken in ["text", "text/", "/plain", "te xt/plain", "a/b/c", ""] {
            assert_eq!(media_type(broken.as_bytes()), None, "{broken}");
        }
    }
}
