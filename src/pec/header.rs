//! The header of a message, edited without touching what is not edited.
//!
//! A [`Header`] is the list of fields of a message or a MIME part as octets. Invariants:
//!
//! * A field that is not edited keeps its octets, its folds and its place; writing an unedited
//!   header gives the octets that were read.
//! * Names are compared without case (RFC 5322 §1.2.2); providers differ in it.
//! * Memory is bounded by [`HEADER_OCTETS_MAX`] and [`HEADER_FIELDS_MAX`].
//!
//! Not here: encoded words ([`super::encoded_word`]), addresses ([`super::header_addresses`]),
//! MIME parameters ([`super::mime`]).

/// Octets a header may have: far above any honest one, far below what would hurt.
pub const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// Fields a header may have.
pub const HEADER_FIELDS_MAX: usize = 4096;
/// Octets a line may have without its line end (RFC 5322 §2.1.1).
pub const LINE_OCTETS_MAX: usize = 998;

/// Why octets are not a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// A line is neither a field nor the continuation of one.
    #[error("a line of the header is not of the form `Name: value`")]
    NotAField,
    /// The header has more than [`HEADER_OCTETS_MAX`] octets.
    #[error("the header has more than {HEADER_OCTETS_MAX} octets")]
    TooLong,
    /// The header has more than [`HEADER_FIELDS_MAX`] fields.
    #[error("the header has more than {HEADER_FIELDS_MAX} fields")]
    TooManyFields,
}

/// One field with its folds and its line end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    octets: Vec<u8>,
    name_octets: usize,
}

impl Field {
    /// Makes `name: value` with a line end. `value` may be folded already; any line end in it
    /// that does not begin a continuation line becomes a space, so that no value can add fields.
    pub fn new(name: &str, value: &[u8]) -> Self {
        let mut octets = Vec::with_capacity(name.len() + value.len() + 4);
        octets.extend_from_slice(name.as_bytes());
        octets.extend_from_slice(b": ");
        let mut rest = value;
        while let Some((&octet, after)) = rest.split_first() {
            if let Some(after_fold) = rest.strip_prefix(b"\r\n")
                && after_fold.first().is_some_and(|next| matches!(next, b' ' | b'\t'))
            {
                octets.extend_from_slice(b"\r\n");
                rest = after_fold;
                continue;
            }
            octets.push(if matches!(octet, b'\r' | b'\n' | 0) { b' ' } else { octet });
            rest = after;
        }
        octets.extend_from_slice(b"\r\n");
        Self { octets, name_octets: name.len() }
    }

    /// The name as written.
    pub fn name(&self) -> &str {
        self.octets.get(..self.name_octets).and_then(|name| str::from_utf8(name).ok()).unwrap_or("")
    }

    /// The whole field as it stands, line end included.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What follows the colon, folds and line end included.
    pub fn raw_value(&self) -> &[u8] {
        let after_name = self.octets.get(self.name_octets..).unwrap_or_default();
        match after_name.iter().position(|octet| *octet == b':') {
            Some(colon) => after_name.get(colon + 1..).unwrap_or_default(),
            None => &[],
        }
    }

    /// The value on one line, without white space around it (RFC 5322 §2.2.3).
    pub fn value(&self) -> Vec<u8> {
        let unfolded: Vec<u8> = self
            .raw_value()
            .iter()
            .copied()
            .filter(|octet| !matches!(octet, b'\r' | b'\n'))
            .collect();
        unfolded.trim_ascii().to_vec()
    }

    fn is_named(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }
}

/// The fields of a message or part, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    fields: Vec<Field>,
}

impl Header {
    /// Reads the header at the beginning of `octets` and returns it with the offset of the body:
    /// what follows the empty line, or the end when there is none.
    pub fn parse(octets: &[u8]) -> Result<(Self, usize), HeaderFault> {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0;
        while let Some(line) = next_line(octets, at) {
            at += line.len();
            if matches!(line, b"\r\n" | b"\n") {
                break;
            }
            if at > HEADER_OCTETS_MAX {
                return Err(HeaderFault::TooLong);
            }
            if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
                fields.last_mut().ok_or(HeaderFault::NotAField)?.octets.extend_from_slice(line);
                continue;
            }
            if fields.len() >= HEADER_FIELDS_MAX {
                return Err(HeaderFault::TooManyFields);
            }
            let name_octets = name_length(line).ok_or(HeaderFault::NotAField)?;
            fields.push(Field { octets: line.to_vec(), name_octets });
        }
        Ok((Self { fields }, at))
    }

    /// Reads what can be read of the header at the beginning of `octets`: lines that are no field,
    /// and everything behind the limits, are left out. For messages that are wrapped or refused
    /// whatever they look like; what is certified goes through [`Header::parse`].
    pub fn readable(octets: &[u8]) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0;
        let mut in_field = false;
        while let Some(line) = next_line(octets, at) {
            at += line.len();
            if matches!(line, b"\r\n" | b"\n") || at > HEADER_OCTETS_MAX {
                break;
            }
            if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
                if let Some(field) = fields.last_mut().filter(|_| in_field) {
                    field.octets.extend_from_slice(line);
                }
                continue;
            }
            let name_octets = name_length(line).filter(|_| fields.len() < HEADER_FIELDS_MAX);
            in_field = name_octets.is_some();
            if let Some(name_octets) = name_octets {
                fields.push(Field { octets: line.to_vec(), name_octets });
            }
        }
        Self { fields }
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields called `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |field| field.is_named(name))
    }

    /// The first field called `name`.
    pub fn first(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.is_named(name))
    }

    /// How many fields are called `name`.
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// The unfolded value of the first field called `name`.
    pub fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.first(name).map(Field::value)
    }

    /// The unfolded value of the first field called `name` as text; octets that are not UTF-8
    /// are replaced. Encoded words stay encoded.
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Appends a field.
    pub fn push(&mut self, field: Field) {
        self.fields.push(field);
    }

    /// Puts `field` in the place of the first field of its name and removes the others of that
    /// name; appends it when there was none.
    pub fn replace(&mut self, field: Field) {
        let place = self.fields.iter().position(|other| other.is_named(field.name()));
        let name = field.name().to_owned();
        match place {
            None => self.fields.push(field),
            Some(place) => {
                let mut index = 0;
                self.fields.retain(|other| {
                    index += 1;
                    index - 1 == place || !other.is_named(&name)
                });
                if let Some(slot) = self.fields.get_mut(place) {
                    *slot = field;
                }
            }
        }
    }

    /// Puts `field` directly behind the first field called `anchor`, or at the end.
    pub fn insert_after(&mut self, anchor: &str, field: Field) {
        let place = self.fields.iter().position(|other| other.is_named(anchor));
        self.fields.insert(place.map_or(self.fields.len(), |place| place + 1), field);
    }

    /// Removes every field called `name` and says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        self.fields.retain(|field| !field.is_named(name));
        before != self.fields.len()
    }

    /// The octets of all fields, without the empty line that ends a header.
    pub fn to_octets(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|field| field.octets.iter().copied()).collect()
    }
}

/// The line at `at` with its line end; `None` at the end. Only LF ends a line: a CR alone is an
/// octet like another, and the formal checks refuse it.
pub(super) fn next_line(octets: &[u8], at: usize) -> Option<&[u8]> {
    let rest = octets.get(at..).filter(|rest| !rest.is_empty())?;
    match rest.iter().position(|octet| *octet == b'\n') {
        Some(end) => rest.get(..=end),
        None => Some(rest),
    }
}

/// Length of the field name at the beginning of `line` (RFC 5322 §3.6.8); white space before the
/// colon, which old programs write (RFC 5322 §4.5), is not part of it.
fn name_length(line: &[u8]) -> Option<usize> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    let valid = !name.is_empty() && name.iter().all(|octet| matches!(octet, 33..=57 | 59..=126));
    valid.then_some(name.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &[u8] =
        b"Received: by a\r\n\tfor b\r\nMESSAGE-ID: <1@x>\r\nsubject :  Ciao\r\n \
        a tutti \r\nReceived: by c\r\n\r\nBody\r\n";

    #[test]
    fn fields_are_found_without_case_and_unfolded() {
        let (header, body) = Header::parse(MESSAGE).unwrap();
        assert_eq!(&MESSAGE[body..], b"Body\r\n");
        assert_eq!(header.text("Message-Id").as_deref(), Some("<1@x>"));
        assert_eq!(header.text("Subject").as_deref(), Some("Ciao a tutti"));
        assert_eq!(header.count("received"), 2);
        assert_eq!(header.to_octets(), &MESSAGE[..body - 2]);
    }

    #[test]
    fn editing_one_field_leaves_the_octets_of_the_others() {
        let (mut header, _) = Header::parse(MESSAGE).unwrap();
        header.replace(Field::new("Message-ID", b"<2@y>"));
        header.insert_after("Message-ID", Field::new("X-Riferimento-Message-ID", b"<1@x>"));
        assert_eq!(
            header.to_octets(),
            b"Received: by a\r\n\tfor b\r\nMessage-ID: <2@y>\r\nX-Riferimento-Message-ID: <1@x>\r\n\
            subject :  Ciao\r\n a tutti \r\nReceived: by c\r\n"
        );
        header.replace(Field::new("Received", b"by d"));
        assert_eq!(header.count("Received"), 1);
        assert!(header.remove("subject"));
        assert!(!header.remove("subject"));
    }

    #[test]
    fn what_is_not_a_field_is_refused() {
        for bad in
            [&b" begins folded\r\n\r\n"[..], b"no colon\r\n\r\n", b": no name\r\n", b"a b: c\r\n"]
        {
            assert_eq!(Header::parse(bad).err(), Some(HeaderFault::NotAField));
        }
        let long = [b"X: ".as_slice(), &vec![b'a'; HEADER_OCTETS_MAX]].concat();
        assert_eq!(Header::parse(&long).err(), Some(HeaderFault::TooLong));
        let many = b"A: b\r\n".repeat(HEADER_FIELDS_MAX + 1);
        assert_eq!(Header::parse(&many).err(), Some(HeaderFault::TooManyFields));
    }

    #[test]
    fn what_can_be_read_of_a_broken_header_is_read() {
        let broken = b" folded\r\nFrom anna Sat Nov 21\r\n\tfolded\r\nSubject: a\r\n b\r\nbad\r\nTo: c\r\n\r\nX: y";
        let header = Header::readable(broken);
        assert_eq!(header.to_octets(), b"Subject: a\r\n b\r\nTo: c\r\n");
        assert_eq!(Header::readable(MESSAGE), Header::parse(MESSAGE).unwrap().0);
        assert_eq!(
            Header::readable(&b"A: b\r\n".repeat(HEADER_FIELDS_MAX + 9)).count("A"),
            HEADER_FIELDS_MAX
        );
    }

    #[test]
    fn a_value_cannot_smuggle_a_field_in() {
        let field = Field::new("Subject", b"a\r\nBcc: x\rb\nc\r\n folded");
        assert_eq!(field.octets(), b"Subject: a  Bcc: x b c\r\n folded\r\n");
    }

    proptest! {
        #[test]
        fn an_unedited_header_writes_what_was_read(octets in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'a'), any::<u8>()], 0..200))
        {
            if let Ok((header, body)) = Header::parse(&octets) {
                let written = header.to_octets();
                prop_assert!(octets.starts_with(&written));
                let separator = &octets[written.len()..body];
                prop_assert!(matches!(separator, b"" | b"\n" | b"\r\n"));
            }
        }
    }
}
