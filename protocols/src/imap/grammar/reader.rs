//! The octets of one command, taken token by token (RFC 9051 §9).
//!
//! Every grammar of ours reads through it, so that a string, a number or a set is the same thing
//! in all commands. Literals were read by `frame` already and stand in the octets.
//!
//! Not here: what a command looks like (its own file in `grammar`).

use std::{borrow::Cow, num::NonZeroU32};

use jiff::civil::Date;
use storage::{ids::ModSeq, mailbox::flags::Keyword};

use super::{
    ParseError,
    mailbox_name::{self, NameForm},
    sequence::SequenceSet,
};

/// The command is not in the grammar.
pub(crate) const SYNTAX: ParseError =
    ParseError::Syntax("Comando sconosciuto o argomenti errati / Unknown command or bad arguments");

const BAD_NAME: ParseError = ParseError::Impossible {
    code: "CANNOT",
    text: "Il nome non e' in UTF-7 modificato o in UTF-8 / The name is neither in modified UTF-7 nor in UTF-8",
};

/// What is left of a command.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    names: NameForm,
}

impl<'a> Reader<'a> {
    /// Reads `octets`, in which mailboxes are named in the form `names`.
    pub(crate) fn new(octets: &'a [u8], names: NameForm) -> Self {
        Self { rest: octets, names }
    }

    /// Takes `octet` if it is the next.
    pub(crate) fn take(&mut self, octet: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == octet => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Says what the next octet is.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `octet`, which must be the next.
    pub(crate) fn expect(&mut self, octet: u8) -> Result<(), ParseError> {
        if self.take(octet) { Ok(()) } else { Err(SYNTAX) }
    }

    /// Takes a space if it is the next octet.
    pub(crate) fn space(&mut self) -> bool {
        self.take(b' ')
    }

    /// Takes a space, which must be the next octet.
    pub(crate) fn expect_space(&mut self) -> Result<(), ParseError> {
        self.expect(b' ')
    }

    /// How many octets are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The command must end here: a line end, and nothing behind it.
    pub(crate) fn end(&self) -> Result<(), ParseError> {
        if self.at_end() { Ok(()) } else { Err(SYNTAX) }
    }

    /// Nothing may be left: the announcement of a literal was cut off here.
    pub(crate) fn at_literal(&self) -> Result<(), ParseError> {
        if self.rest.is_empty() { Ok(()) } else { Err(SYNTAX) }
    }

    /// Whether the command ends here.
    pub(crate) fn at_end(&self) -> bool {
        matches!(self.rest, b"\r\n" | b"\n")
    }

    /// Takes octets up to a space, a parenthesis, a quote or the line end; at least one.
    pub(crate) fn word(&mut self) -> Result<&'a [u8], ParseError> {
        let ends = |octet: &u8| matches!(octet, b' ' | b'(' | b')' | b'"' | b'{' | b'\r' | b'\n');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        // NUL stands nowhere but in a literal8 (RFC 9051 §9 CHAR).
        if word.is_empty() || word.contains(&0) {
            return Err(SYNTAX);
        }
        self.rest = rest;
        Ok(word)
    }

    /// Takes a word, written in capitals: what the grammar compares without case.
    pub(crate) fn keyword(&mut self) -> Result<Vec<u8>, ParseError> {
        self.word().map(<[u8]>::to_ascii_uppercase)
    }

    /// Takes `word` (in capitals) where it is the next word, in any case; takes nothing else.
    pub(crate) fn take_keyword(&mut self, word: &[u8]) -> bool {
        let before = self.rest;
        if self.word().is_ok_and(|found| found.eq_ignore_ascii_case(word)) {
            return true;
        }
        self.rest = before;
        false
    }

    /// `astring`
    pub(crate) fn astring(&mut self) -> Result<Cow<'a, [u8]>, ParseError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.word().map(Into::into),
        }
    }

    /// `string`
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>, ParseError> {
        match self.peek() {
            Some(b'"') => self.quoted().map(Into::into),
            Some(b'{') => self.literal().map(Into::into),
            _ => Err(SYNTAX),
        }
    }

    /// `nstring`
    pub(crate) fn nstring(&mut self) -> Result<Option<Cow<'a, [u8]>>, ParseError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string().map(Some),
            _ if self.take_keyword(b"NIL") => Ok(None),
            _ => Err(SYNTAX),
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, ParseError> {
        let mut text = Vec::new();
        let mut octets = self.rest.iter().enumerate().skip(1);
        while let Some((position, octet)) = octets.next() {
            match octet {
                b'"' => {
                    self.rest = &self.rest[position + 1..];
                    return Ok(text);
                }
                b'\\' => match octets.next() {
                    Some((_, escaped @ (b'"' | b'\\'))) => text.push(*escaped),
                    _ => return Err(SYNTAX),
                },
                b'\r' | b'\n' | 0 => return Err(SYNTAX),
                other => text.push(*other),
            }
        }
        Err(SYNTAX)
    }

    /// Takes a literal: `{n}` or `{n+}`, line end, octets without NUL.
    fn literal(&mut self) -> Result<&'a [u8], ParseError> {
        let octets = self.announced()?;
        if octets.contains(&0) { Err(SYNTAX) } else { Ok(octets) }
    }

    fn announced(&mut self) -> Result<&'a [u8], ParseError> {
        let line = self.rest.iter().position(|&octet| octet == b'\n').ok_or(SYNTAX)?;
        let (announcement, rest) = self.rest.split_at(line + 1);
        let digits: Vec<u8> = announcement.iter().copied().filter(u8::is_ascii_digit).collect();
        let length: usize = String::from_utf8_lossy(&digits).parse().map_err(|_| SYNTAX)?;
        let octets = rest.get(..length).ok_or(SYNTAX)?;
        self.rest = &rest[length..];
        Ok(octets)
    }

    /// `literal8`: `~{n}` or `~{n+}`, line end, any octets (RFC 9051 §9).
    pub(crate) fn literal8(&mut self) -> Result<&'a [u8], ParseError> {
        self.expect(b'~')?;
        self.announced()
    }

    /// `number64`
    pub(crate) fn number(&mut self) -> Result<u64, ParseError> {
        let word = self.word()?;
        if !word.iter().all(u8::is_ascii_digit) {
            return Err(SYNTAX);
        }
        String::from_utf8_lossy(word).parse().map_err(|_| SYNTAX)
    }

    /// `nz-number`
    pub(crate) fn nonzero(&mut self) -> Result<NonZeroU32, ParseError> {
        u32::try_from(self.number()?).ok().and_then(NonZeroU32::new).ok_or(SYNTAX)
    }

    /// `mod-sequence-valzer`: 63 bits (RFC 7162 §7).
    pub(crate) fn mod_seq(&mut self) -> Result<ModSeq, ParseError> {
        let number = self.number()?;
        if i64::try_from(number).is_err() { Err(SYNTAX) } else { Ok(ModSeq(number)) }
    }

    /// `date`: `1-Feb-1994`, also between quotes.
    pub(crate) fn date(&mut self) -> Result<Date, ParseError> {
        let text = self.astring()?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Date::strptime("%d-%b-%Y", text).ok())
            .ok_or(SYNTAX)
    }

    /// `flag-keyword`
    pub(crate) fn flag_keyword(&mut self) -> Result<Keyword, ParseError> {
        let word = self.word()?;
        std::str::from_utf8(word).ok().and_then(|w| Keyword::new(w).ok()).ok_or(SYNTAX)
    }

    /// `sequence-set`
    pub(crate) fn sequence_set(&mut self) -> Result<SequenceSet, ParseError> {
        SequenceSet::parse(self.word()?).ok_or(SYNTAX)
    }

    /// `mailbox`: the name in UTF-8.
    pub(crate) fn mailbox(&mut self) -> Result<String, ParseError> {
        mailbox(&self.astring()?, self.names)
    }

    /// `list-mailbox`: a name that may hold wildcards, in UTF-8.
    pub(crate) fn list_mailbox(&mut self) -> Result<String, ParseError> {
        pattern(&self.astring()?, self.names)
    }

    /// `"(" item *(SP item) ")"`, of at most `items_max` items; `()` where `empty_too`.
    pub(crate) fn list<T>(
        &mut self,
        items_max: usize,
        empty_too: bool,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.expect(b'(')?;
        if empty_too && self.take(b')') {
            return Ok(Vec::new());
        }
        let mut items = vec![item(self)?];
        while self.space() {
            if items.len() >= items_max {
                return Err(SYNTAX);
            }
            items.push(item(self)?);
        }
        self.expect(b')')?;
        Ok(items)
    }
}

/// Reads the name of a mailbox. INBOX is the one name, or first level of a name, that is compared
/// without case (RFC 9051 §5.1).
pub(super) fn mailbox(octets: &[u8], names: NameForm) -> Result<String, ParseError> {
    let mut name = mailbox_name::read(octets, names).ok_or(BAD_NAME)?;
    let first_level = name.split('/').next().unwrap_or_default();
    if first_level.eq_ignore_ascii_case("INBOX") {
        name.replace_range(..5, "INBOX");
    }
    Ok(name)
}

/// Reads a name that may hold wildcards.
pub(super) fn pattern(octets: &[u8], names: NameForm) -> Result<String, ParseError> {
    mailbox_name::read(octets, names).ok_or(BAD_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> Reader<'_> {
        Reader::new(text.as_bytes(), NameForm::ModifiedUtf7)
    }

    #[test]
    fn strings_are_read_in_each_of_their_forms() {
        let mut read = reader("abc \"a \\\"b\\\\\" {3}\r\nx\ry {0+}\r\n NIL \"\"\r\n");
        for expected in [&b"abc"[..], b"a \"b\\", b"x\ry", b""] {
            assert_eq!(read.astring().unwrap().as_ref(), expected);
            assert!(read.space());
        }
        assert_eq!(read.nstring(), Ok(None));
        assert!(read.space());
        assert_eq!(read.nstring().unwrap().unwrap().as_ref(), b"");
        assert_eq!(read.end(), Ok(()));
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for wrong in
            ["\"a\r\n", "\"a\\b\"\r\n", "{4}\r\nabc", "{9}\r\n", "(\r\n", "a\0b\r\n", "\r\n", ""]
        {
            assert_eq!(reader(wrong).astring(), Err(SYNTAX), "{wrong}");
        }
        assert_eq!(reader("{2}\r\n\0a\r\n").astring(), Err(SYNTAX));
    }

    #[test]
    fn names_are_read_in_the_form_of_the_session() {
        assert_eq!(reader("Attivit&AOA-\r\n").mailbox().unwrap(), "Attività");
        assert_eq!(reader("inbox\r\n").mailbox().unwrap(), "INBOX");
        assert_eq!(reader("inBox/a\r\n").mailbox().unwrap(), "INBOX/a");
        assert_eq!(reader("inboxes\r\n").mailbox().unwrap(), "inboxes");
        assert_eq!(reader("\"Attività\"\r\n").mailbox(), Err(BAD_NAME));
        let utf8 = |text: &'static str| Reader::new(text.as_bytes(), NameForm::Utf8).mailbox();
        assert_eq!(utf8("\"Attività\"\r\n").unwrap(), "Attività");
        assert_eq!(utf8("Tizio&Caio\r\n").unwrap(), "Tizio&Caio");
    }

    #[test]
    fn lists_are_bounded() {
        let numbers = |text: &str| reader(text).list(3, false, Reader::number);
        assert_eq!(numbers("(1 2 3)"), Ok(vec![1, 2, 3]));
        for wrong in ["(1 2 3 4)", "()", "(1 ", "1", "(1,2)", "( 1)"] {
            assert_eq!(numbers(wrong), Err(SYNTAX), "{wrong}");
        }
        assert_eq!(reader("()").list(3, true, Reader::number), Ok(vec![]));
    }
}
