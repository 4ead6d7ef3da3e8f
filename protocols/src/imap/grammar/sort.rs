//! The grammar of SORT (RFC 5256 §5, RFC 5267 §3, RFC 5957 §4) and THREAD (RFC 5256 §5).

use super::{
    ParseError,
    reader::{Reader, SYNTAX},
    results::Results,
    search::{self, SearchProgram},
};
use crate::imap::limits::ImapLimits;

/// Sort keys in one command: more than there are, each in both orders.
const CRITERIA_MAX: usize = 32;

/// What messages are sorted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SortBy {
    /// INTERNALDATE, time included.
    Arrival,
    /// The mailbox of the first `Cc`.
    Cc,
    /// When the message was sent, in UTC.
    Date,
    /// What is displayed of the first `From` (RFC 5957 §3).
    DisplayFrom,
    /// What is displayed of the first `To`.
    DisplayTo,
    /// The mailbox of the first `From`.
    From,
    Size,
    /// The base subject.
    Subject,
    /// The mailbox of the first `To`.
    To,
}

impl SortBy {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Arrival, "ARRIVAL"),
        (Self::Cc, "CC"),
        (Self::Date, "DATE"),
        (Self::DisplayFrom, "DISPLAYFROM"),
        (Self::DisplayTo, "DISPLAYTO"),
        (Self::From, "FROM"),
        (Self::Size, "SIZE"),
        (Self::Subject, "SUBJECT"),
        (Self::To, "TO"),
    ];

    fn of(word: &[u8]) -> Option<Self> {
        let named = |(_, name): &&(Self, &str)| name.as_bytes() == word;
        Self::ALL.iter().find(named).map(|(by, _)| *by)
    }

    /// Its name.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(by, _)| *by == self).map_or("", |(_, name)| name)
    }
}

/// One sort criterion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Criterion {
    pub(crate) by: SortBy,
    /// The largest first.
    pub(crate) reverse: bool,
}

/// SORT and UID SORT.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortCommand {
    /// The first decides; the next where it does not, and so on.
    pub(crate) criteria: Vec<Criterion>,
    /// What is told, in an ESEARCH response; `None` = everything, in a SORT response.
    pub(crate) results: Option<Results>,
    pub(crate) program: SearchProgram,
    /// Whether its charset is UTF-8, not a part of it.
    pub(crate) utf8: bool,
    pub(crate) uid: bool,
}

/// How messages are put into threads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Threading {
    /// RFC 5256 §3, ORDEREDSUBJECT.
    OrderedSubject,
    /// RFC 5256 §3, REFERENCES.
    References,
    /// The Internet-Draft draft-ietf-morg-inthread: REFERENCES without subjects, the threads in the
    /// order in which something last arrived.
    Refs,
}

impl Threading {
    /// Each, and its name.
    pub(crate) const ALL: [(Self, &'static str); 3] = [
        (Self::OrderedSubject, "ORDEREDSUBJECT"),
        (Self::References, "REFERENCES"),
        (Self::Refs, "REFS"),
    ];
}

/// THREAD and UID THREAD.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ThreadCommand {
    pub(crate) threading: Threading,
    pub(crate) program: SearchProgram,
    /// Whether its charset is UTF-8, not a part of it.
    pub(crate) utf8: bool,
    pub(crate) uid: bool,
}

/// Parses what follows the word SORT.
pub(super) fn parse(
    mut reader: Reader<'_>,
    uid: bool,
    limits: &ImapLimits,
) -> Result<SortCommand, ParseError> {
    let results = Results::take(&mut reader, limits.items_max)?;
    reader.expect_space()?;
    let criteria = reader.list(CRITERIA_MAX, false, |reader| {
        let reverse = reader.take_keyword(b"REVERSE");
        if reverse {
            reader.expect_space()?;
        }
        let by = SortBy::of(&reader.keyword()?).ok_or(SYNTAX)?;
        Ok(Criterion { by, reverse })
    })?;
    let (program, utf8) = with_charset(reader, limits)?;
    Ok(SortCommand { criteria, results, program, utf8, uid })
}

/// Parses what follows the word THREAD.
pub(super) fn parse_thread(
    mut reader: Reader<'_>,
    uid: bool,
    limits: &ImapLimits,
) -> Result<ThreadCommand, ParseError> {
    reader.expect_space()?;
    let word = reader.keyword()?;
    let mut known = Threading::ALL.into_iter();
    let (threading, _) = known.find(|(_, name)| name.as_bytes() == word).ok_or(SYNTAX)?;
    let (program, utf8) = with_charset(reader, limits)?;
    Ok(ThreadCommand { threading, program, utf8, uid })
}

/// `SP charset 1*(SP search-key)`: here the charset must be said; says whether it is UTF-8. What stands in
/// its place of a command without one is wrong, not unknown.
fn with_charset(
    mut reader: Reader<'_>,
    limits: &ImapLimits,
) -> Result<(SearchProgram, bool), ParseError> {
    reader.expect_space()?;
    let charset = reader.astring()?;
    let program = search::keys(reader, limits)?;
    search::check_charset(&charset)?;
    Ok((program, charset.eq_ignore_ascii_case(b"UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{mailbox_name::NameForm, search::SearchKey},
        *,
    };

    fn reader(text: &str) -> Reader<'_> {
        Reader::new(text.as_bytes(), NameForm::ModifiedUtf7)
    }

    #[test]
    fn the_examples_of_rfc_5256_section_3() {
        let limits = ImapLimits::default();
        let sort = parse(reader(" (reverse SUBJECT DATE) UTF-8 ALL\r\n"), true, &limits).unwrap();
        let criterion = |by, reverse| Criterion { by, reverse };
        let criteria = vec![criterion(SortBy::Subject, true), criterion(SortBy::Date, false)];
        assert_eq!(sort.criteria, criteria);
        assert_eq!((sort.results, sort.program.keys), (None, vec![SearchKey::All]));
        let thread = parse_thread(reader(" OrderedSubject UTF-8 ALL\r\n"), false, &limits);
        assert_eq!(thread.unwrap().threading, Threading::OrderedSubject);
    }

    #[test]
    fn wrong_commands_are_refused() {
        let limits = ImapLimits::default();
        let sort = |text: &str| parse(reader(text), false, &limits);
        for wrong in [
            " () UTF-8 ALL\r\n",
            " (REVERSE) UTF-8 ALL\r\n",
            " (REVERSE REVERSE DATE) UTF-8 ALL\r\n",
            " (BCC) UTF-8 ALL\r\n",
            " (DATE) UTF-8\r\n",
            " (DATE) ALL\r\n",
            " DATE UTF-8 ALL\r\n",
        ] {
            assert!(sort(wrong).is_err(), "{wrong}");
        }
        assert!(sort(&format!(" ({}DATE) UTF-8 ALL\r\n", "DATE ".repeat(31))).is_ok());
        assert!(sort(&format!(" ({}DATE) UTF-8 ALL\r\n", "DATE ".repeat(32))).is_err());
        assert_eq!(sort(" (DATE) X ALL\r\n"), Err(search::BAD_CHARSET));
        let thread = |text: &str| parse_thread(reader(text), false, &limits);
        assert!(thread(" JWZ UTF-8 ALL\r\n").is_err());
        assert!(thread(" REFERENCES ALL\r\n").is_err());
    }
}
