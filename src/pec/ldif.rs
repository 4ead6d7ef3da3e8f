//! LDIF content records (RFC 2849), read and written.
//!
//! Reading takes folded lines, comments, base64 values and either line end; a `dn` line begins a
//! record even without the empty line before it, as in the examples of RFC 6109 §4.5.10. An empty line
//! ends a record: what follows it without a `dn` line belongs to none, and is refused. Change
//! records and values by URL are refused: a directory file states what is, and names no other file.
//!
//! Bounded in octets, records, attributes and the length of a line, so that no file takes more
//! memory than a directory of all providers could.
//!
//! Not here: what the attributes mean ([`super::directory`]).

use super::mime::decode_base64;

/// Octets a file may have.
pub const LDIF_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Records a file may have.
pub const LDIF_RECORDS_MAX: usize = 100_000;
/// Attributes that all records together may have: a domain is one.
pub const LDIF_ATTRIBUTES_MAX: usize = 2_000_000;
/// Octets of a line once it is unfolded: room for a certificate many times over.
pub const LDIF_LINE_OCTETS_MAX: usize = 1024 * 1024;
/// Octets of a written line.
const LINE_OCTETS: usize = 76;
/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why octets are not such a file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LdifFault {
    /// More than [`LDIF_OCTETS_MAX`] octets.
    #[error("the LDIF file has more than {LDIF_OCTETS_MAX} octets")]
    TooLong,
    /// More than [`LDIF_RECORDS_MAX`] records or [`LDIF_ATTRIBUTES_MAX`] attributes.
    #[error(
        "the LDIF file has more than {LDIF_RECORDS_MAX} records or {LDIF_ATTRIBUTES_MAX} attributes at line {0}"
    )]
    TooMuch(usize),
    /// A line of more than [`LDIF_LINE_OCTETS_MAX`] octets.
    #[error("line {0} of the LDIF file has more than {LDIF_LINE_OCTETS_MAX} octets")]
    LineTooLong(usize),
    /// A line is not of the grammar.
    #[error("line {0} of the LDIF file is not `attribute: value`")]
    Line(usize),
    /// A version other than 1.
    #[error("line {0} of the LDIF file names another version than 1")]
    Version(usize),
    /// A change record or a value by URL.
    #[error("line {0} of the LDIF file is a change or refers to another file")]
    NotContent(usize),
}

/// One record: its attributes in order, names in lower case and without the option `binary`, which
/// says how a value travels. An attribute with another option (`;lang-en`) keeps it in its name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LdifRecord {
    attributes: Vec<(String, Vec<u8>)>,
}

impl LdifRecord {
    /// The values of the attribute `name` (lower case), in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.attributes.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// The first value of `name` as text; `None` when absent or not UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.values(name).next()?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Gives attributes other names: `name_of` says which, or `None` to leave one.
    pub(super) fn rename(&mut self, name_of: impl Fn(&str) -> Option<&'static str>) {
        for (name, _) in &mut self.attributes {
            if let Some(other) = name_of(name) {
                other.clone_into(name);
            }
        }
    }
}

/// Reads the records of a file.
pub fn read_ldif(octets: &[u8]) -> Result<Vec<LdifRecord>, LdifFault> {
    if octets.len() > LDIF_OCTETS_MAX {
        return Err(LdifFault::TooLong);
    }
    let octets = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets);
    let mut records: Vec<LdifRecord> = Vec::new();
    let (mut attributes, mut ended) = (0, false);
    for line in LogicalLines::of(octets) {
        let (number, line) = line?;
        if line.is_empty() || line.starts_with(b"#") {
            ended |= line.is_empty();
            continue;
        }
        let (name, value) = attribute(number, &line)?;
        match name.as_str() {
            "changetype" | "control" => return Err(LdifFault::NotContent(number)),
            "version" if records.is_empty() => {
                if value != b"1" {
                    return Err(LdifFault::Version(number));
                }
                continue;
            }
            "dn" => {
                records.push(LdifRecord::default());
                ended = false;
            }
            _ if ended => return Err(LdifFault::Line(number)),
            _ => {}
        }
        attributes += 1;
        if records.len() > LDIF_RECORDS_MAX || attributes > LDIF_ATTRIBUTES_MAX {
            return Err(LdifFault::TooMuch(number));
        }
        let record = records.last_mut().ok_or(LdifFault::Line(number))?;
        record.attributes.push((name, value));
    }
    Ok(records)
}

/// `attrval-spec` of RFC 2849: name and value of a line.
fn attribute(number: usize, line: &[u8]) -> Result<(String, Vec<u8>), LdifFault> {
    let wrong = || LdifFault::Line(number);
    let colon = line.iter().position(|octet| *octet == b':').ok_or_else(wrong)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
    let mut options = name.split(';').filter(|option| *option != "binary");
    let mut name = options.next().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(wrong());
    }
    for option in options {
        name.extend([";", option]);
    }
    let value = match value.split_first() {
        Some((b':', encoded)) => whole_base64(encoded).ok_or_else(wrong)?,
        Some((b'<', _)) => return Err(LdifFault::NotContent(number)),
        // FILL is spaces and nothing else (RFC 2849): a tab belongs to the value.
        _ => without_spaces_around(value).to_vec(),
    };
    Ok((name, value))
}

/// Decodes base64 with all of its padding: a value that was cut off is none.
fn whole_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let encoded = without_spaces_around(encoded);
    let whole = encoded.len().is_multiple_of(4) && !encoded.ends_with(b"===");
    decode_base64(encoded).filter(|_| whole)
}

/// The value without the spaces around it.
fn without_spaces_around(value: &[u8]) -> &[u8] {
    let other = |octet: &u8| *octet != b' ';
    let start = value.iter().position(other).unwrap_or(value.len());
    let end = value.iter().rposition(other).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// Lines unfolded (RFC 2849, note 2), with the number of their first line.
struct LogicalLines<'a> {
    rest: Option<&'a [u8]>,
    /// Lines read so far.
    number: usize,
}

impl<'a> LogicalLines<'a> {
    fn of(octets: &'a [u8]) -> Self {
        Self { rest: Some(octets), number: 0 }
    }

    fn physical(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (line, rest) = match memchr::memchr(b'\n', rest) {
            Some(end) => (rest.get(..end)?, rest.get(end + 1..)),
            None => (rest, None),
        };
        self.rest = rest;
        self.number += 1;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = Result<(usize, Vec<u8>), LdifFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = self.physical()?.to_vec();
        let number = self.number;
        while self.rest.is_some_and(|rest| rest.starts_with(b" ")) {
            let continued = self.physical()?;
            line.extend_from_slice(continued.get(1..).unwrap_or_default());
            if line.len() > LDIF_LINE_OCTETS_MAX {
                break;
            }
        }
        if line.len() > LDIF_LINE_OCTETS_MAX {
            self.rest = None;
            return Some(Err(LdifFault::LineTooLong(number)));
        }
        Some(Ok((number, line)))
    }
}

/// Appends `name: value`, in base64 where the grammar asks for it, folded.
pub fn write_attribute(octets: &mut Vec<u8>, name: &str, value: &[u8], binary: bool) {
    let line = match str::from_utf8(value) {
        Ok(text) if !binary && is_safe(value) => format!("{name}: {text}"),
        _ => {
            let encoded = String::from_utf8(super::mime::encode_base64(value)).unwrap_or_default();
            format!("{name}:: {}", encoded.replace("\r\n", ""))
        }
    };
    for (index, piece) in line.as_bytes().chunks(LINE_OCTETS - 1).enumerate() {
        if index > 0 {
            octets.extend_from_slice(b"\n ");
        }
        octets.extend_from_slice(piece);
    }
    octets.push(b'\n');
}

/// `SAFE-STRING` of RFC 2849, and no space at the end.
fn is_safe(value: &[u8]) -> bool {
    let safe = |octet: &u8| matches!(octet, 1..=127) && !matches!(octet, b'\r' | b'\n');
    value.iter().all(safe)
        && !value.first().is_some_and(|first| b" :<".contains(first))
        && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 2849, examples 2, 3 and 4.
    #[test]
    fn folded_and_encoded_values_of_the_standard_are_read() {
        let file = b"version: 1\n# comment\n  folded\ndn:cn=Barbara Jensen, ou=Product Development, dc=airius, dc=\n com\n\
            cn: Barbara Jensen\ndescription:Babs is a big sailing fan, and travels extensively in sea\n \
            rch of perfect sailing conditions.\r\n\r\ndn: cn=Gern\r\n\
            description:: V2hhdCBhIGNhcmVmdWwgcmVhZGVyIHlvdSBhcmUhICBUaGlzIHZhbHVl\r\n \
            IGlzIGJhc2UtNjQtZW5jb2RlZA==\r\nuserCertificate;binary:: AAE=\r\n";
        let records = read_ldif(file).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(
            records[0].text("dn").as_deref(),
            Some("cn=Barbara Jensen, ou=Product Development, dc=airius, dc=com")
        );
        assert!(
            records[0]
                .text("description")
                .unwrap()
                .ends_with("in search of perfect sailing conditions.")
        );
        assert_eq!(
            records[1].text("description").as_deref(),
            Some("What a careful reader you are!  This value is base-64-encoded")
        );
        assert_eq!(records[1].values("usercertificate").next(), Some(&[0, 1][..]));
    }

    #[test]
    fn what_is_no_content_is_refused_by_line() {
        for (file, fault) in [
            (&b"dn: a\nno colon\n"[..], LdifFault::Line(2)),
            (b"cn: before any dn\n", LdifFault::Line(1)),
            (b"dn: a\nb:: %%\n", LdifFault::Line(2)),
            (b"dn: a\nb:: YQ\n", LdifFault::Line(2)),
            (b"dn: a\nb: c\n\n# nobody's\nb: d\n", LdifFault::Line(5)),
            (b"dn: a\nphoto:< file:///etc/passwd\n", LdifFault::NotContent(2)),
            (b"dn: a\nchangetype: delete\n", LdifFault::NotContent(2)),
            (b"dn: a\ncontrol: 1.2.840.113556.1.4.805 true\n", LdifFault::NotContent(2)),
            (b"# old\nversion: 2\ndn: a\n", LdifFault::Version(2)),
            (b"dn: a\n;binary:: AAE=\n", LdifFault::Line(2)),
        ] {
            assert_eq!(read_ldif(file).err(), Some(fault));
        }
    }

    #[test]
    fn options_other_than_binary_make_another_attribute() {
        let file = b"\xef\xbb\xbfversion: 1\r\ndn:: Y249w6g=\r\nname;lang-en: other\r\nName;BINARY: own\r\n";
        let records = read_ldif(file).unwrap();
        assert_eq!(records[0].text("dn").as_deref(), Some("cn=è"));
        assert_eq!(records[0].text("name").as_deref(), Some("own"));
        assert_eq!(records[0].text("name;lang-en").as_deref(), Some("other"));
    }

    #[test]
    fn a_file_beyond_a_bound_is_refused() {
        let many = "dn: x\n".repeat(LDIF_RECORDS_MAX);
        assert_eq!(read_ldif(many.as_bytes()).map(|records| records.len()), Ok(LDIF_RECORDS_MAX));
        let more = many + "dn: x\n";
        assert_eq!(read_ldif(more.as_bytes()), Err(LdifFault::TooMuch(LDIF_RECORDS_MAX + 1)));
        let attributes = "dn: x\n".to_owned() + &"a:\n".repeat(LDIF_ATTRIBUTES_MAX);
        assert!(matches!(read_ldif(attributes.as_bytes()), Err(LdifFault::TooMuch(_))));
        let folded = "dn: x\na: ".to_owned() + &"b\n ".repeat(LDIF_LINE_OCTETS_MAX) + "\n";
        assert_eq!(read_ldif(folded.as_bytes()), Err(LdifFault::LineTooLong(2)));
        let long = vec![b'a'; LDIF_OCTETS_MAX + 1];
        assert_eq!(read_ldif(&long), Err(LdifFault::TooLong));
    }

    #[test]
    fn a_value_keeps_its_tabs() {
        for value in [&b"\t"[..], b"\ta", b"a\t", b"a\tb"] {
            let mut file = b"dn: x\n".to_vec();
            write_attribute(&mut file, "description", value, false);
            assert_eq!(read_ldif(&file).unwrap()[0].values("description").next(), Some(value));
        }
    }

    proptest! {
        #[test]
        fn a_written_value_reads_back(value in proptest::collection::vec(any::<u8>(), 0..300), text in "[ -~è:<]{0,200}") {
            for value in [value, text.into_bytes()] {
                let mut file = b"dn: x\n".to_vec();
                write_attribute(&mut file, "description", &value, false);
                prop_assert!(file.split(|octet| *octet == b'\n').all(|line| line.len() <= LINE_OCTETS));
                let records = read_ldif(&file).unwrap();
                prop_assert_eq!(records[0].values("description").next(), Some(value.as_slice()));
            }
        }
    }
}
