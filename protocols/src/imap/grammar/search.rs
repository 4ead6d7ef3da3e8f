//! The grammar of SEARCH (RFC 3501 §6.4.4, §9 `search`; RFC 4731 §3.1) and of the program that SORT,
//! THREAD and ESEARCH have too.
//!
//! It is ours because `imap-codec` stops at eight levels, which mail clients that look for ten
//! senders exceed, holds sizes in 32 bits, and knows no later form of the command.
//!
//! Invariants: keys and levels are bounded by [`ImapLimits`]; texts are folded
//! ([`storage::text::fold`]) here, once.

use std::{ops::RangeInclusive, sync::Arc};

use jiff::civil::Date;
use storage::{ids::AccountId, mailbox::flags::Keyword, text::fold};

use super::{
    ParseError,
    reader::{self, Reader},
    results::Results,
    sequence::SequenceSet,
};
use crate::imap::limits::ImapLimits;

/// SEARCH and UID SEARCH.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchCommand {
    /// What is told of what is found, in an ESEARCH response; `None` = in a SEARCH response.
    pub(crate) results: Option<Results>,
    pub(crate) program: SearchProgram,
    /// Whether the charset of its texts is named.
    pub(crate) charset: bool,
    pub(crate) uid: bool,
}

/// A system flag that a key asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SystemFlag {
    Answered,
    Deleted,
    Draft,
    Flagged,
    Recent,
    Seen,
}

/// An envelope field that a key looks into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EnvelopeField {
    Bcc,
    Cc,
    From,
    Subject,
    To,
}

/// How a date is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DateComparison {
    Before,
    On,
    Since,
}

/// Which octets a text key looks through.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Area {
    /// `BODY`: not the message's own header.
    Body,
    /// `TEXT`: header and body.
    Text,
}

/// One search key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SearchKey {
    All,
    And(Vec<SearchKey>),
    Or(Box<(SearchKey, SearchKey)>),
    Not(Box<SearchKey>),
    Sequence(SequenceSet),
    Uid(SequenceSet),
    /// A sequence set or a set of UIDs, resolved against a mailbox. Shared: every `$` of a search
    /// stands for the same set, which may be long.
    Ranges {
        uid: bool,
        ranges: Arc<[RangeInclusive<u32>]>,
    },
    Flag {
        flag: SystemFlag,
        set: bool,
    },
    /// `RECENT UNSEEN`.
    New,
    Keyword {
        keyword: Keyword,
        set: bool,
    },
    InternalDate(DateComparison, Date),
    SentDate(DateComparison, Date),
    /// When the message came into this mailbox (RFC 8514 §4.3).
    SavedDate(DateComparison, Date),
    /// `SAVEDATESUPPORTED`: every mailbox here keeps that date.
    SaveDateSupported,
    /// At most so many seconds old (RFC 5032 §4).
    Younger(u32),
    /// At least so many seconds old.
    Older(u32),
    /// Changed at this MODSEQ or later (RFC 7162 §3.1.5).
    ModSeq(u64),
    /// The identifier of a message (RFC 8474 §6): the other account whose it is, and its number there;
    /// `None` = one that no message here can have.
    EmailId(Option<(Option<AccountId>, u64)>),
    /// The identifier of a thread: no message here has one.
    ThreadId,
    Larger(u64),
    Smaller(u64),
    Envelope {
        field: EnvelopeField,
        folded: String,
    },
    Header {
        name: Vec<u8>,
        folded: String,
    },
    Content {
        area: Area,
        folded: String,
    },
}

/// A set that every message must be in, or out of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) inside: bool,
    /// Whether it is one of UIDs.
    pub(crate) uid: bool,
    /// They ascend and do not touch.
    pub(crate) ranges: &'a [RangeInclusive<u32>],
}

/// What to look for: every key must hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchProgram {
    pub(crate) keys: Vec<SearchKey>,
}

impl SearchProgram {
    /// Calls `visit` for every key, those inside others included.
    pub(crate) fn visit<'a>(&'a self, mut visit: impl FnMut(&'a SearchKey)) {
        let mut waiting: Vec<&SearchKey> = self.keys.iter().collect();
        while let Some(key) = waiting.pop() {
            visit(key);
            match key {
                SearchKey::And(keys) => waiting.extend(keys),
                SearchKey::Or(two) => waiting.extend([&two.0, &two.1]),
                SearchKey::Not(key) => waiting.push(key),
                _ => {}
            }
        }
    }

    /// Resolves every set against a mailbox whose largest sequence number and UID are given, and in
    /// which `$` stands for the UIDs `saved`.
    pub(crate) fn resolve(
        &mut self,
        largest_number: u32,
        largest_uid: u32,
        saved: &Arc<[RangeInclusive<u32>]>,
        account: Option<AccountId>,
    ) {
        let mut waiting: Vec<&mut SearchKey> = self.keys.iter_mut().collect();
        while let Some(key) = waiting.pop() {
            match key {
                SearchKey::And(keys) => waiting.extend(keys),
                SearchKey::Or(two) => {
                    let (first, second) = two.as_mut();
                    waiting.extend([first, second]);
                }
                SearchKey::Not(key) => waiting.push(key),
                SearchKey::Sequence(SequenceSet::Saved) | SearchKey::Uid(SequenceSet::Saved) => {
                    *key = SearchKey::Ranges { uid: true, ranges: Arc::clone(saved) };
                }
                SearchKey::Sequence(set) => {
                    *key = SearchKey::Ranges {
                        uid: false,
                        ranges: set.resolve(largest_number).into(),
                    };
                }
                SearchKey::Uid(set) => {
                    *key = SearchKey::Ranges { uid: true, ranges: set.resolve(largest_uid).into() };
                }
                SearchKey::EmailId(id) if id.is_some_and(|(of, _)| of != account) => *id = None,
                _ => {}
            }
        }
    }

    /// The resolved sets that a message must be in, or must not be in, whatever else is asked for.
    pub(crate) fn bounds(&self) -> Vec<Bound<'_>> {
        let mut bounds = Vec::new();
        let mut waiting: Vec<&SearchKey> = self.keys.iter().collect();
        while let Some(key) = waiting.pop() {
            let (key, inside) = match key {
                SearchKey::Not(key) => (&**key, false),
                key => (key, true),
            };
            match key {
                SearchKey::And(keys) if inside => waiting.extend(keys),
                SearchKey::Ranges { uid, ranges } => {
                    bounds.push(Bound { inside, uid: *uid, ranges });
                }
                _ => {}
            }
        }
        bounds
    }

    /// Says whether `test` holds for some key.
    pub(crate) fn has(&self, test: impl Fn(&SearchKey) -> bool) -> bool {
        let mut has = false;
        self.visit(|key| has |= test(key));
        has
    }

    /// Says whether a key asks for MODSEQs: the answer then tells one (RFC 7162 §3.1.5).
    pub(crate) fn asks_mod_seq(&self) -> bool {
        self.has(|key| matches!(key, SearchKey::ModSeq(_)))
    }

    /// Says whether a key names messages by sequence number.
    pub(crate) fn names_numbers(&self) -> bool {
        self.has(|key| matches!(key, SearchKey::Sequence(SequenceSet::Ranges(_))))
    }

    /// Says whether a key means something in one session's selected mailbox only: sequence numbers
    /// and `$`.
    pub(crate) fn is_of_selection(&self) -> bool {
        self.has(|key| matches!(key, SearchKey::Sequence(_) | SearchKey::Uid(SequenceSet::Saved)))
    }

    /// Returns how many ranges its sequence sets have.
    pub(crate) fn ranges(&self) -> usize {
        let mut ranges = 0;
        self.visit(|key| {
            if let SearchKey::Sequence(set) | SearchKey::Uid(set) = key {
                ranges += set.ranges();
            }
        });
        ranges
    }
}

const SYNTAX: ParseError = ParseError::Syntax("Criteri di ricerca errati / Wrong search criteria");
const TOO_MANY: ParseError =
    ParseError::Syntax("Troppi criteri di ricerca / Too many search criteria");
const TOO_DEEP: ParseError =
    ParseError::Syntax("Criteri di ricerca troppo annidati / Search criteria nested too deeply");
pub(crate) const BAD_CHARSET: ParseError = ParseError::Impossible {
    code: "BADCHARSET (UTF-8 US-ASCII)",
    text: "Set di caratteri non gestito, usare UTF-8 / Unknown charset, use UTF-8",
};

/// Parses what follows the word SEARCH.
pub(super) fn parse(
    mut reader: Reader<'_>,
    uid: bool,
    limits: &ImapLimits,
) -> Result<SearchCommand, ParseError> {
    let results = Results::take(&mut reader, limits.items_max)?;
    let (program, charset) = program(reader, limits)?;
    Ok(SearchCommand { results, program, charset, uid })
}

/// Parses `[SP "CHARSET" SP charset] 1*(SP search-key)` to the end of the command; says whether
/// there is a charset.
pub(super) fn program(
    mut reader: Reader<'_>,
    limits: &ImapLimits,
) -> Result<(SearchProgram, bool), ParseError> {
    let before = reader.clone();
    let charset = reader.space() && reader.take_keyword(b"CHARSET") && reader.space();
    if charset {
        check_charset(&reader.astring().map_err(ours)?)?;
    } else {
        reader = before;
    }
    Ok((keys(reader, limits)?, charset))
}

/// Charsets of texts: UTF-8, and what is a part of it.
pub(super) fn check_charset(charset: &[u8]) -> Result<(), ParseError> {
    let known = [&b"UTF-8"[..], b"US-ASCII"];
    if known.iter().any(|name| charset.eq_ignore_ascii_case(name)) {
        Ok(())
    } else {
        Err(BAD_CHARSET)
    }
}

/// Parses `1*(SP search-key)` to the end of the command.
pub(super) fn keys(reader: Reader<'_>, limits: &ImapLimits) -> Result<SearchProgram, ParseError> {
    Parser { reader, keys: 0, limits }.program().map_err(ours)
}

/// A wrong search is called so.
fn ours(error: ParseError) -> ParseError {
    match error {
        reader::SYNTAX => SYNTAX,
        other => other,
    }
}

struct Parser<'a, 'l> {
    reader: Reader<'a>,
    keys: usize,
    limits: &'l ImapLimits,
}

impl Parser<'_, '_> {
    fn program(&mut self) -> Result<SearchProgram, ParseError> {
        let mut keys = Vec::new();
        while self.reader.space() {
            keys.push(self.key(1)?);
        }
        if keys.is_empty() {
            return Err(SYNTAX);
        }
        self.reader.end()?;
        Ok(SearchProgram { keys })
    }

    fn key(&mut self, depth: usize) -> Result<SearchKey, ParseError> {
        self.keys += 1;
        if self.keys > self.limits.search_keys_max {
            return Err(TOO_MANY);
        }
        if depth > self.limits.search_depth_max {
            return Err(TOO_DEEP);
        }
        if self.reader.take(b'(') {
            let mut keys = vec![self.key(depth + 1)?];
            while self.reader.space() {
                keys.push(self.key(depth + 1)?);
            }
            return if self.reader.take(b')') { Ok(SearchKey::And(keys)) } else { Err(SYNTAX) };
        }
        let word = self.reader.word()?;
        if word.first().is_some_and(|octet| octet.is_ascii_digit() || b"*$".contains(octet)) {
            return SequenceSet::parse(word).map(SearchKey::Sequence).ok_or(SYNTAX);
        }
        let upper = word.to_ascii_uppercase();
        if let Some(key) = flag_key(&upper) {
            return Ok(key);
        }
        match upper.as_slice() {
            b"NOT" => {
                self.reader.expect_space()?;
                Ok(SearchKey::Not(Box::new(self.key(depth + 1)?)))
            }
            b"OR" => {
                self.reader.expect_space()?;
                let first = self.key(depth + 1)?;
                self.reader.expect_space()?;
                Ok(SearchKey::Or(Box::new((first, self.key(depth + 1)?))))
            }
            other => {
                self.reader.expect_space()?;
                self.key_with_argument(other)
            }
        }
    }

    fn key_with_argument(&mut self, name: &[u8]) -> Result<SearchKey, ParseError> {
        use DateComparison::{Before, On, Since};
        let envelope = |field, folded| SearchKey::Envelope { field, folded };
        Ok(match name {
            b"BCC" => envelope(EnvelopeField::Bcc, self.text()?),
            b"CC" => envelope(EnvelopeField::Cc, self.text()?),
            b"FROM" => envelope(EnvelopeField::From, self.text()?),
            b"SUBJECT" => envelope(EnvelopeField::Subject, self.text()?),
            b"TO" => envelope(EnvelopeField::To, self.text()?),
            b"BODY" => SearchKey::Content { area: Area::Body, folded: self.text()? },
            b"TEXT" => SearchKey::Content { area: Area::Text, folded: self.text()? },
            b"HEADER" => {
                let name = self.reader.astring()?.into_owned();
                self.reader.expect_space()?;
                SearchKey::Header { name, folded: self.text()? }
            }
            b"KEYWORD" => SearchKey::Keyword { keyword: self.reader.flag_keyword()?, set: true },
            b"UNKEYWORD" => SearchKey::Keyword { keyword: self.reader.flag_keyword()?, set: false },
            b"BEFORE" => SearchKey::InternalDate(Before, self.reader.date()?),
            b"ON" => SearchKey::InternalDate(On, self.reader.date()?),
            b"SINCE" => SearchKey::InternalDate(Since, self.reader.date()?),
            b"SENTBEFORE" => SearchKey::SentDate(Before, self.reader.date()?),
            b"SENTON" => SearchKey::SentDate(On, self.reader.date()?),
            b"SENTSINCE" => SearchKey::SentDate(Since, self.reader.date()?),
            b"SAVEDBEFORE" => SearchKey::SavedDate(Before, self.reader.date()?),
            b"SAVEDON" => SearchKey::SavedDate(On, self.reader.date()?),
            b"SAVEDSINCE" => SearchKey::SavedDate(Since, self.reader.date()?),
            b"YOUNGER" => SearchKey::Younger(self.reader.nonzero()?.get()),
            b"OLDER" => SearchKey::Older(self.reader.nonzero()?.get()),
            b"MODSEQ" => SearchKey::ModSeq(self.mod_seq()?),
            b"EMAILID" => SearchKey::EmailId(email_id(self.object_id()?)),
            b"THREADID" => self.object_id().map(|_| SearchKey::ThreadId)?,
            b"LARGER" => SearchKey::Larger(self.reader.number()?),
            b"SMALLER" => SearchKey::Smaller(self.reader.number()?),
            b"UID" => SearchKey::Uid(self.reader.sequence_set()?),
            // Not `*`, which may be below what is named (RFC 9738 §3.2).
            b"UIDAFTER" => not_uids(&format!("1:{}", self.reader.nonzero()?))?,
            b"UIDBEFORE" => not_uids(&format!("{}:{}", self.reader.nonzero()?, u32::MAX))?,
            _ => return Err(SYNTAX),
        })
    }

    /// `[entry-name SP entry-type SP] mod-sequence-valzer`. A message has one MODSEQ for all of its
    /// flags, whichever is named (RFC 7162 §3.1.5).
    fn mod_seq(&mut self) -> Result<u64, ParseError> {
        if self.reader.peek() == Some(b'"') {
            let entry = self.reader.string()?;
            self.reader.expect_space()?;
            let kind = self.reader.keyword()?;
            self.reader.expect_space()?;
            let known = [&b"PRIV"[..], b"SHARED", b"ALL"].contains(&kind.as_slice());
            if !known || entry.len() <= 7 || !entry[..7].eq_ignore_ascii_case(b"/flags/") {
                return Err(SYNTAX);
            }
        }
        let mod_seq = self.reader.number()?;
        if i64::try_from(mod_seq).is_ok() { Ok(mod_seq) } else { Err(SYNTAX) }
    }

    /// `objectid` (RFC 8474 §7).
    fn object_id(&mut self) -> Result<&[u8], ParseError> {
        let word = self.reader.word()?;
        let is_octet = |octet: &u8| octet.is_ascii_alphanumeric() || b"_-".contains(octet);
        if word.len() <= 255 && word.iter().all(is_octet) { Ok(word) } else { Err(SYNTAX) }
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let octets = self.reader.astring()?;
        std::str::from_utf8(&octets).map(fold).map_err(|_| BAD_CHARSET)
    }
}

/// All messages but those with UIDs in `range`.
fn not_uids(range: &str) -> Result<SearchKey, ParseError> {
    let set = SequenceSet::parse(range.as_bytes()).ok_or(SYNTAX)?;
    Ok(SearchKey::Not(Box::new(SearchKey::Uid(set))))
}

/// The message that EMAILID calls so, as FETCH writes it: `M`, the account if it is another one's,
/// and the number.
fn email_id(written: &[u8]) -> Option<(Option<AccountId>, u64)> {
    let digits = std::str::from_utf8(written.strip_prefix(b"M")?).ok()?;
    let number =
        |digits: &str| digits.parse().ok().filter(|number: &u64| number.to_string() == digits);
    Some(match digits.split_once('-') {
        Some((account, digits)) => (Some(AccountId(number(account)?)), number(digits)?),
        None => (None, number(digits)?),
    })
}

fn flag_key(name: &[u8]) -> Option<SearchKey> {
    use SystemFlag::{Answered, Deleted, Draft, Flagged, Recent, Seen};
    let flag = |flag, set| Some(SearchKey::Flag { flag, set });
    match name {
        b"ALL" => Some(SearchKey::All),
        b"NEW" => Some(SearchKey::New),
        b"SAVEDATESUPPORTED" => Some(SearchKey::SaveDateSupported),
        b"ANSWERED" => flag(Answered, true),
        b"DELETED" => flag(Deleted, true),
        b"DRAFT" => flag(Draft, true),
        b"FLAGGED" => flag(Flagged, true),
        b"RECENT" => flag(Recent, true),
        b"SEEN" => flag(Seen, true),
        b"OLD" => flag(Recent, false),
        b"UNANSWERED" => flag(Answered, false),
        b"UNDELETED" => flag(Deleted, false),
        b"UNDRAFT" => flag(Draft, false),
        b"UNFLAGGED" => flag(Flagged, false),
        b"UNSEEN" => flag(Seen, false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::mailbox_name::NameForm, *};

    fn parse_within(line: &str, limits: &ImapLimits) -> Result<SearchProgram, ParseError> {
        let arguments = line.strip_prefix("a SEARCH").unwrap();
        let reader = Reader::new(arguments.as_bytes(), NameForm::ModifiedUtf7);
        super::parse(reader, false, limits).map(|command| command.program)
    }

    fn parse(line: &str) -> Result<SearchProgram, ParseError> {
        parse_within(line, &ImapLimits::default())
    }

    fn keys(line: &str) -> Vec<SearchKey> {
        parse(line).unwrap().keys
    }

    #[test]
    fn the_example_of_rfc_3501_section_6_4_4() {
        assert_eq!(
            keys("a SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"\r\n"),
            vec![
                SearchKey::Flag { flag: SystemFlag::Flagged, set: true },
                SearchKey::InternalDate(DateComparison::Since, jiff::civil::date(1994, 2, 1)),
                SearchKey::Not(Box::new(SearchKey::Envelope {
                    field: EnvelopeField::From,
                    folded: "smith".to_owned()
                })),
            ]
        );
    }

    #[test]
    fn literals_charsets_and_nesting_are_read() {
        assert_eq!(
            keys("a SEARCH charset utf-8 text {7}\r\nPerché\r\n"),
            vec![SearchKey::Content { area: Area::Text, folded: fold("perché") }]
        );
        assert_eq!(
            keys("a SEARCH OR (1:3,* UID 7) HEADER X-Y {0+}\r\n\r\n"),
            vec![SearchKey::Or(Box::new((
                SearchKey::And(vec![
                    SearchKey::Sequence(SequenceSet::parse(b"1:3,*").unwrap()),
                    SearchKey::Uid(SequenceSet::parse(b"7").unwrap()),
                ]),
                SearchKey::Header { name: b"X-Y".to_vec(), folded: String::new() },
            )))]
        );
    }

    #[test]
    fn keys_of_extensions_are_read() {
        use DateComparison::Before;
        for (written, key) in [
            ("$", SearchKey::Sequence(SequenceSet::Saved)),
            ("UID $", SearchKey::Uid(SequenceSet::Saved)),
            ("YOUNGER 259200", SearchKey::Younger(259_200)),
            ("OLDER 1", SearchKey::Older(1)),
            ("SAVEDBEFORE 1-Feb-1994", SearchKey::SavedDate(Before, jiff::civil::date(1994, 2, 1))),
            ("SaveDateSupported", SearchKey::SaveDateSupported),
            ("MODSEQ 620162338", SearchKey::ModSeq(620_162_338)),
            ("MODSEQ \"/flags/\\\\draft\" all 0", SearchKey::ModSeq(0)),
            ("EMAILID M17", SearchKey::EmailId(Some((None, 17)))),
            ("EMAILID M4-17", SearchKey::EmailId(Some((Some(AccountId(4)), 17)))),
            ("EMAILID M4-", SearchKey::EmailId(None)),
            ("EMAILID M017", SearchKey::EmailId(None)),
            ("EMAILID x-_", SearchKey::EmailId(None)),
            ("THREADID T1", SearchKey::ThreadId),
        ] {
            assert_eq!(keys(&format!("a SEARCH {written}\r\n")), vec![key], "{written}");
        }
    }

    #[test]
    fn wrong_searches_are_refused() {
        for wrong in [
            "a SEARCH $1\r\n",
            "a SEARCH YOUNGER 0\r\n",
            "a SEARCH OLDER 4294967296\r\n",
            "a SEARCH MODSEQ 9223372036854775808\r\n",
            "a SEARCH MODSEQ \"/flags/\" all 1\r\n",
            "a SEARCH MODSEQ \"/flags/x\" mine 1\r\n",
            "a SEARCH EMAILID a.b\r\n",
            "a SEARCH RETURN (ALL)\r\n",
            "a SEARCH\r\n",
            "a SEARCH \r\n",
            "a SEARCH ALL \r\n",
            "a SEARCH (ALL\r\n",
            "a SEARCH ()\r\n",
            "a SEARCH NOT\r\n",
            "a SEARCH OR ALL\r\n",
            "a SEARCH FROM\r\n",
            "a SEARCH SINCE 31-Feb-2020\r\n",
            "a SEARCH LARGER -1\r\n",
            "a SEARCH FROM \"x\r\n",
            "a SEARCH 0\r\n",
            "a SEARCH CHARSET UTF-8\r\n",
        ] {
            assert_eq!(parse(wrong), Err(SYNTAX), "{wrong}");
        }
        assert_eq!(parse("a SEARCH CHARSET X ALL\r\n"), Err(BAD_CHARSET));
    }

    #[test]
    fn nesting_and_number_of_keys_are_bounded() {
        let limits = ImapLimits { search_depth_max: 10, ..ImapLimits::default() };
        let nested = |levels: usize| format!("a SEARCH {}ALL\r\n", "NOT ".repeat(levels));
        assert!(parse_within(&nested(9), &limits).is_ok());
        assert_eq!(parse_within(&nested(10), &limits), Err(TOO_DEEP));
        assert_eq!(parse(&format!("a SEARCH {}\r\n", "(".repeat(60_000))), Err(TOO_DEEP));
        assert_eq!(parse(&format!("a SEARCH{}\r\n", " ALL".repeat(1_001))), Err(TOO_MANY));
    }
}
