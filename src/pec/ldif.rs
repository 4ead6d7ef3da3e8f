//! LDIF content records (RFC 2849), read and written.
//!
//! Reading takes folded lines, comments, base64 values and either line end; a `dn` line begins a
//! record even without the empty line before it, as in the examples of RFC 6109 §4.5.10. Change
//! records and values by URL are refused: a directory file states what is, and names no other file.
//!
//! Not here: what the attributes mean ([`super::directory`]).

use super::mime::decode_base64;

/// Octets a file may have.
pub const LDIF_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Octets of a written line.
const LINE_OCTETS: usize = 76;

/// Why octets are not such a file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LdifFault {
    /// More than [`LDIF_OCTETS_MAX`] octets.
    #[error("the LDIF file has more than {LDIF_OCTETS_MAX} octets")]
    TooLong,
    /// A line is not of the grammar.
    #[error("line {0} of the LDIF file is not `attribute: value`")]
    Line(usize),
    /// A change record or a value by URL.
    #[error("line {0} of the LDIF file is a change or refers to another file")]
    NotContent(usize),
}

/// One record: its attributes in order, names without options and in lower case.
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
}

/// Reads the records of a file.
pub fn read_ldif(octets: &[u8]) -> Result<Vec<LdifRecord>, LdifFault> {
    if octets.len() > LDIF_OCTETS_MAX {
        return Err(LdifFault::TooLong);
    }
    let mut records: Vec<LdifRecord> = Vec::new();
    for (number, line) in logical_lines(octets) {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let colon = line.iter().position(|octet| *octet == b':').ok_or(LdifFault::Line(number))?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let name = name.split(|octet| *octet == b';').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
        let value = match value.split_first() {
            Some((b':', encoded)) => decode_base64(encoded).ok_or(LdifFault::Line(number))?,
            Some((b'<', _)) => return Err(LdifFault::NotContent(number)),
            // FILL is spaces and nothing else (RFC 2849): a tab belongs to the value.
            _ => without_spaces_around(value).to_vec(),
        };
        match name.as_str() {
            "" => return Err(LdifFault::Line(number)),
            "changetype" => return Err(LdifFault::NotContent(number)),
            "version" if records.is_empty() => continue,
            "dn" => records.push(LdifRecord::default()),
            _ => {}
        }
        let record = records.last_mut().ok_or(LdifFault::Line(number))?;
        record.attributes.push((name, value));
    }
    Ok(records)
}

/// The value without the spaces around it.
fn without_spaces_around(value: &[u8]) -> &[u8] {
    let other = |octet: &u8| *octet != b' ';
    let start = value.iter().position(other).unwrap_or(value.len());
    let end = value.iter().rposition(other).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Lines unfolded (RFC 2849, note 2), with the number of their first line.
fn logical_lines(octets: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.strip_prefix(b" "), lines.last_mut()) {
            (Some(continued), Some((_, last))) => last.extend_from_slice(continued),
            _ => lines.push((index + 1, line.to_vec())),
        }
    }
    lines
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
            (b"dn: a\nphoto:< file:///etc/passwd\n", LdifFault::NotContent(2)),
            (b"dn: a\nchangetype: delete\n", LdifFault::NotContent(2)),
        ] {
            assert_eq!(read_ldif(file).err(), Some(fault));
        }
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
