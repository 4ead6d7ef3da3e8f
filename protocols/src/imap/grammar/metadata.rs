//! The grammar of GETMETADATA and SETMETADATA (RFC 5464 §5).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
};

/// Entries that one command may name: LIST answers each for every mailbox.
const ENTRIES_MAX: usize = 100;

/// Octets of an entry's name.
pub(crate) const ENTRY_OCTETS_MAX: usize = 1_000;

/// The name of an entry, in lower case: names are compared without case (RFC 5464 §3.1).
///
/// It begins with `/private/` or `/shared/`, has no empty component, and nothing but printable
/// ASCII without wildcards.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entry(String);

impl Entry {
    /// Checks `name`; `None` when it can name nothing.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        let printable = |octet: &u8| matches!(octet, b' '..=b'~') && !matches!(octet, b'*' | b'%');
        if name.len() > ENTRY_OCTETS_MAX || !name.iter().all(printable) {
            return None;
        }
        let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
        let rest = name.strip_prefix("/private/").or_else(|| name.strip_prefix("/shared/"))?;
        if rest.split('/').any(str::is_empty) {
            return None;
        }
        Some(Self(name))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only the account itself may see it.
    pub(crate) fn is_private(&self) -> bool {
        self.0.starts_with("/private/")
    }

    /// Whether `other` is this entry, or one so far below it.
    pub(crate) fn covers(&self, other: &str, depth: Depth) -> bool {
        let Some(rest) = other.strip_prefix(self.as_str()) else { return false };
        match (rest.strip_prefix('/'), depth) {
            (None, _) => rest.is_empty(),
            (Some(_), Depth::Zero) => false,
            (Some(below), Depth::One) => !below.contains('/'),
            (Some(_), Depth::Infinity) => true,
        }
    }
}

/// How far below an entry (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Depth {
    #[default]
    Zero,
    One,
    Infinity,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Entries {
    /// At least one.
    pub(crate) names: Vec<Entry>,
    pub(crate) depth: Depth,
    /// Longer values are left out (RFC 5464 §4.2.1).
    pub(crate) size_max: Option<u64>,
}

/// GETMETADATA. A mailbox without name stands for the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GetMetadata {
    pub(crate) mailbox: String,
    pub(crate) wanted: Entries,
}

/// SETMETADATA: entries and their values; `None` removes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SetMetadata {
    pub(crate) mailbox: String,
    pub(crate) values: Vec<(Entry, Option<Vec<u8>>)>,
}

/// Parses what follows the word GETMETADATA. Options stand before the mailbox (§5) or behind it
/// (as in the example of §4.2.2).
pub(super) fn parse_get(mut reader: Reader<'_>) -> Result<GetMetadata, ParseError> {
    reader.expect_space()?;
    let mut wanted = Entries::default();
    let before = reader.peek() == Some(b'(');
    if before {
        options(&mut reader, &mut wanted)?;
        reader.expect_space()?;
    }
    let mailbox = reader.mailbox()?;
    reader.expect_space()?;
    if before {
        wanted.names = entries(&mut reader)?;
    } else {
        wanted = entries_with_options(&mut reader)?;
    }
    reader.end()?;
    Ok(GetMetadata { mailbox, wanted })
}

/// `[getmetadata-options SP] entries`
pub(super) fn entries_with_options(reader: &mut Reader<'_>) -> Result<Entries, ParseError> {
    let mut wanted = Entries::default();
    let mut ahead = reader.clone();
    // No entry is called like an option: they begin with a slash.
    if ahead.take(b'(') && matches!(ahead.peek(), Some(b'D' | b'd' | b'M' | b'm')) {
        options(reader, &mut wanted)?;
        reader.expect_space()?;
    }
    wanted.names = entries(reader)?;
    Ok(wanted)
}

fn options(reader: &mut Reader<'_>, wanted: &mut Entries) -> Result<(), ParseError> {
    reader
        .list(2, false, |reader| {
            let option = reader.keyword()?;
            reader.expect_space()?;
            match option.as_slice() {
                b"MAXSIZE" => wanted.size_max = Some(reader.number()?),
                b"DEPTH" => {
                    wanted.depth = match reader.keyword()?.as_slice() {
                        b"0" => Depth::Zero,
                        b"1" => Depth::One,
                        b"INFINITY" => Depth::Infinity,
                        _ => return Err(SYNTAX),
                    };
                }
                _ => return Err(SYNTAX),
            }
            Ok(())
        })
        .map(drop)
}

/// `entries`
fn entries(reader: &mut Reader<'_>) -> Result<Vec<Entry>, ParseError> {
    if reader.peek() == Some(b'(') {
        return reader.list(ENTRIES_MAX, false, entry);
    }
    Ok(vec![entry(reader)?])
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, ParseError> {
    Entry::new(&reader.astring()?).ok_or(ParseError::Syntax(
        "Nome di annotazione non ammesso / No annotation can have that name",
    ))
}

/// Parses what follows the word SETMETADATA.
pub(super) fn parse_set(mut reader: Reader<'_>) -> Result<SetMetadata, ParseError> {
    reader.expect_space()?;
    let mailbox = reader.mailbox()?;
    reader.expect_space()?;
    let values = reader.list(ENTRIES_MAX, false, |reader| {
        let entry = entry(reader)?;
        reader.expect_space()?;
        let value = match reader.peek() {
            Some(b'~') => Some(reader.literal8()?.to_vec()),
            _ => reader.nstring()?.map(std::borrow::Cow::into_owned),
        };
        Ok((entry, value))
    })?;
    reader.end()?;
    Ok(SetMetadata { mailbox, values })
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn reader(text: &str) -> Reader<'_> {
        Reader::new(text.as_bytes(), NameForm::ModifiedUtf7)
    }

    #[test]
    fn the_examples_of_rfc_5464_are_read() {
        let get = parse_get(reader(" \"\" /shared/comment\r\n")).unwrap();
        assert_eq!((get.mailbox.as_str(), get.wanted.names.len()), ("", 1));
        let get =
            parse_get(reader(" (MAXSIZE 1024) \"INBOX\" (/shared/comment /private/comment)\r\n"));
        assert_eq!(get.unwrap().wanted.size_max, Some(1_024));
        let get = parse_get(reader(" \"INBOX\" (DEPTH 1) (/private/filters/values)\r\n")).unwrap();
        assert_eq!(get.wanted.depth, Depth::One);
        let set = parse_set(reader(
            " INBOX (/PRIVATE/Comment {3}\r\na\rb /shared/comment NIL /private/x ~{2}\r\n\0y)\r\n",
        ))
        .unwrap();
        assert_eq!(set.values[0].0.as_str(), "/private/comment");
        let values: Vec<_> = set.values.iter().map(|(_, value)| value.as_deref()).collect();
        assert_eq!(values, [Some(&b"a\rb"[..]), None, Some(b"\0y")]);
    }

    #[test]
    fn names_that_name_nothing_are_refused() {
        let long = format!("/private/{}", "x".repeat(ENTRY_OCTETS_MAX));
        for wrong in [
            "/private",
            "/private/",
            "/shared//a",
            "/shared/a/",
            "/other/a",
            "a",
            "/shared/*",
            "/shared/%",
            "/shared/à",
            "",
            &long,
        ] {
            assert_eq!(Entry::new(wrong.as_bytes()), None, "{wrong}");
        }
        for wrong in
            [" INBOX ()\r\n", " (DEPTH 2) a /private/a\r\n", " a\r\n", " a (/private/*)\r\n"]
        {
            assert!(parse_get(reader(wrong)).is_err(), "{wrong}");
            assert!(parse_set(reader(wrong)).is_err(), "{wrong}");
        }
        assert!(parse_set(reader(" INBOX (/private/a)\r\n")).is_err());
    }

    #[test]
    fn depth_is_counted_in_components() {
        let entry = Entry::new(b"/private/a").unwrap();
        for (other, zero, one, infinity) in [
            ("/private/a", true, true, true),
            ("/private/a/b", false, true, true),
            ("/private/a/b/c", false, false, true),
            ("/private/ab", false, false, false),
        ] {
            let covered =
                [Depth::Zero, Depth::One, Depth::Infinity].map(|depth| entry.covers(other, depth));
            assert_eq!(covered, [zero, one, infinity], "{other}");
        }
    }
}
