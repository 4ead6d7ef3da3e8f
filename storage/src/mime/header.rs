//! The header fields that the store looks at, and how they are gathered from raw lines.
//!
//! Values are unfolded (RFC 5322 §2.2.3: the line end before white space goes, the white space
//! stays) and trimmed, not decoded. Of a field that stands more than once the first counts:
//! that is the one most clients show. Lines without a colon, which no rule allows, are passed over.

/// A field that is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each variant is the field of that name")]
pub enum FieldName {
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    ContentType,
    ContentTransferEncoding,
    ContentId,
    ContentDescription,
    ContentDisposition,
    ContentMd5,
    ContentLanguage,
    ContentLocation,
    References,
}

const NAMES: [(&str, FieldName); 19] = [
    ("date", FieldName::Date),
    ("subject", FieldName::Subject),
    ("from", FieldName::From),
    ("sender", FieldName::Sender),
    ("reply-to", FieldName::ReplyTo),
    ("to", FieldName::To),
    ("cc", FieldName::Cc),
    ("bcc", FieldName::Bcc),
    ("in-reply-to", FieldName::InReplyTo),
    ("message-id", FieldName::MessageId),
    ("content-type", FieldName::ContentType),
    ("content-transfer-encoding", FieldName::ContentTransferEncoding),
    ("content-id", FieldName::ContentId),
    ("content-description", FieldName::ContentDescription),
    ("content-disposition", FieldName::ContentDisposition),
    ("content-md5", FieldName::ContentMd5),
    ("content-language", FieldName::ContentLanguage),
    ("content-location", FieldName::ContentLocation),
    ("references", FieldName::References),
];

/// A name is looked for in this many octets at the start of a line.
const NAME_OCTETS_MAX: usize = 64;

/// The kept fields of one header.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartHeader {
    values: [Option<Vec<u8>>; NAMES.len()],
}

impl PartHeader {
    /// The value of a field; `None` when it is absent.
    #[must_use]
    pub fn get(&self, name: FieldName) -> Option<&[u8]> {
        self.values.get(name as usize)?.as_deref()
    }

    fn set(&mut self, name: FieldName, value: &[u8]) {
        if let Some(kept @ None) = self.values.get_mut(name as usize) {
            *kept = Some(trim(value).to_vec());
        }
    }
}

/// Gathers the fields of one header after the other.
#[derive(Debug)]
pub(crate) struct HeaderReader {
    header: PartHeader,
    /// The field that is being read, unfolded, its name included until it is known.
    field: Vec<u8>,
    reading: Reading,
    at_line_start: bool,
    octets_left: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    Name,
    Value(FieldName),
    Nothing,
}

impl HeaderReader {
    /// Keeps at most `octets_max` octets over all headers that it reads.
    pub(crate) fn new(octets_max: usize) -> Self {
        Self {
            header: PartHeader::default(),
            field: Vec::new(),
            reading: Reading::Nothing,
            at_line_start: true,
            octets_left: octets_max,
        }
    }

    /// Takes in octets of one line, without its line end.
    pub(crate) fn line(&mut self, octets: &[u8]) {
        let Some(&first) = octets.first() else { return };
        if self.at_line_start {
            self.at_line_start = false;
            if !matches!(first, b' ' | b'\t') {
                self.close_field();
                self.reading = Reading::Name;
            }
        }
        match self.reading {
            Reading::Name => self.name(octets),
            Reading::Value(_) => self.value(octets),
            Reading::Nothing => {}
        }
    }

    /// Ends the line.
    pub(crate) fn line_end(&mut self) {
        self.at_line_start = true;
    }

    /// Ends the header and returns it.
    pub(crate) fn take(&mut self) -> PartHeader {
        self.close_field();
        self.at_line_start = true;
        std::mem::take(&mut self.header)
    }

    fn name(&mut self, octets: &[u8]) {
        let Some(colon) = octets.iter().take(NAME_OCTETS_MAX).position(|&octet| octet == b':')
        else {
            self.field.extend(octets.iter().take(NAME_OCTETS_MAX));
            if self.field.len() > NAME_OCTETS_MAX {
                self.field.clear();
                self.reading = Reading::Nothing;
            }
            return;
        };
        self.field.extend_from_slice(&octets[..colon]);
        // White space before the colon: RFC 5322 §4.5 obsolete fields.
        let name = trim(&self.field);
        let known = NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        self.field.clear();
        self.reading = known.map_or(Reading::Nothing, |&(_, name)| Reading::Value(name));
        if known.is_some() {
            self.value(&octets[colon + 1..]);
        }
    }

    fn value(&mut self, octets: &[u8]) {
        let kept = &octets[..octets.len().min(self.octets_left)];
        self.octets_left -= kept.len();
        self.field.extend_from_slice(kept);
    }

    fn close_field(&mut self) {
        if let Reading::Value(name) = self.reading {
            self.header.set(name, &self.field);
        }
        self.field.clear();
        self.reading = Reading::Nothing;
    }
}

/// Takes white space off both ends.
pub(crate) fn trim(octets: &[u8]) -> &[u8] {
    octets.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&[u8]], octets_max: usize) -> PartHeader {
        let mut reader = HeaderReader::new(octets_max);
        for line in lines {
            for part in line.chunks(3) {
                reader.line(part);
            }
            reader.line_end();
        }
        reader.take()
    }

    #[test]
    fn fields_are_unfolded_and_trimmed_and_the_first_of_each_counts() {
        let header = read(
            &[
                b"from nobody",
                b" continues nothing",
                b"SUBJECT :  One",
                b"\ttwo ",
                b" three  ",
                b"Subject: other",
                b"X-Long: ignored",
                b" and this",
                b"to:a@b.example",
                b"Date:",
            ],
            1_000,
        );
        assert_eq!(header.get(FieldName::Subject), Some(b"One\ttwo  three".as_slice()));
        assert_eq!(header.get(FieldName::To), Some(b"a@b.example".as_slice()));
        assert_eq!(header.get(FieldName::Date), Some(b"".as_slice()));
        assert_eq!(header.get(FieldName::From), None);
    }

    #[test]
    fn only_so_many_octets_are_kept_over_all_headers() {
        let header = read(&[b"Subject: 123456789", b"To: late"], 5);
        assert_eq!(header.get(FieldName::Subject), Some(b"1234".as_slice()));
        assert_eq!(header.get(FieldName::To), Some(b"".as_slice()));
    }
}
