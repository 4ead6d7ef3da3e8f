//! The grammar of APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502 §6, RFC 4469 §5, RFC 6855 §4,
//! RFC 8508 §3.5), read around the messages: octets of messages never come here.
//!
//! [`Script`] is fed with what stands between two messages and answers with [`Step`]s.
//!
//! Invariant: no list grows without bound: URLs and messages of one command are counted.

use storage::mailbox::flags::Flags;
use trust::clock::UnixMillis;

use super::{
    ParseError, flag,
    mailbox_name::NameForm,
    message_url::MessageUrl,
    reader::{Reader, SYNTAX},
    sequence::SequenceSet,
};

/// Parts of one message that CATENATE puts together.
const PARTS_MAX: usize = 1_000;

/// Those of them that are octets of other messages.
const URLS_MAX: usize = 100;

/// What a message replaces (RFC 8508 §3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Replace {
    /// The message: one.
    pub(crate) set: SequenceSet,
    pub(crate) uid: bool,
}

/// The command as far as it is the same for all its messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) mailbox: String,
    pub(crate) replace: Option<Replace>,
}

/// What comes next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// A message begins; it has nothing yet. It is one literal whose size is its own, or not.
    Begin { flags: Flags, internal_date: Option<UnixMillis>, whole: bool },
    /// The octets of another message, or of a part of one.
    Url(MessageUrl),
    /// A literal that was announced behind what was read.
    Literal { eight_bit: bool },
    /// The command is complete.
    End,
}

/// Where in the grammar the command is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Behind the name of the mailbox.
    First,
    /// Behind a message that was one literal.
    AfterMessage,
    /// Behind the literal of `UTF8 (`.
    InUtf8,
    /// Behind a part of `CATENATE (`.
    InCatenate,
}

/// The command while it comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Script {
    target: Target,
    place: Place,
    parts: usize,
    urls: usize,
    utf8_accept: bool,
    names: NameForm,
}

/// Reads the beginning of a command: `octets` end where the announcement of a literal begins, or with
/// the line. `None` when it is no APPEND or REPLACE, or when the literal is not a message.
pub(crate) fn begin(
    octets: &[u8],
    names: NameForm,
    utf8_accept: bool,
) -> Option<Result<(Script, Vec<Step>), ParseError>> {
    let mut reader = Reader::new(octets, names);
    reader.word().ok()?;
    reader.space().then_some(())?;
    let uid = reader.take_keyword(b"UID") && reader.space();
    let replace = match (reader.keyword().ok()?.as_slice(), uid) {
        (b"APPEND", false) => false,
        (b"REPLACE", _) => true,
        _ => return None,
    };
    match head(reader, replace.then_some(uid), names, utf8_accept) {
        Err(ARGUMENT) => None,
        begun => Some(begun),
    }
}

/// What was read ends where the name of a mailbox or a URL must follow: the literal behind it is an
/// argument like that of any other command, and no message.
pub(crate) const ARGUMENT: ParseError =
    ParseError::Syntax("Manca un argomento / An argument is missing");

fn head(
    mut reader: Reader<'_>,
    replace: Option<bool>,
    names: NameForm,
    utf8_accept: bool,
) -> Result<(Script, Vec<Step>), ParseError> {
    reader.expect_space()?;
    let replace = match replace {
        None => None,
        Some(uid) => {
            let set = reader.sequence_set()?;
            reader.expect_space()?;
            Some(Replace { set, uid })
        }
    };
    if reader.at_literal().is_ok() {
        return Err(ARGUMENT);
    }
    let mailbox = reader.mailbox()?;
    let target = Target { mailbox, replace };
    let mut script = Script { target, place: Place::First, parts: 0, urls: 0, utf8_accept, names };
    let steps = script.read(reader)?;
    Ok((script, steps))
}

impl Script {
    /// Into which mailbox, and in place of what.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it names the message that it replaces by sequence number.
    pub(crate) fn names_numbers(&self) -> bool {
        self.target.replace.as_ref().is_some_and(|replace| !replace.uid)
    }

    /// Reads what stands behind the last literal, up to the next one or the end of the command. After an
    /// error the script is as it was.
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Result<Vec<Step>, ParseError> {
        let mut next = self.clone();
        let steps = next.read(Reader::new(octets, self.names))?;
        *self = next;
        Ok(steps)
    }

    fn read(&mut self, mut reader: Reader<'_>) -> Result<Vec<Step>, ParseError> {
        let mut steps = Vec::new();
        if self.place == Place::InUtf8 {
            reader.expect(b')')?;
            self.place = Place::AfterMessage;
        }
        loop {
            match self.place {
                Place::InCatenate => {
                    if reader.take(b')') {
                        self.place = Place::AfterMessage;
                    } else {
                        reader.expect_space()?;
                        if self.part(&mut reader, &mut steps)? {
                            return Ok(steps);
                        }
                    }
                }
                Place::AfterMessage if reader.at_end() => {
                    steps.push(Step::End);
                    return Ok(steps);
                }
                // One message takes the place of one.
                Place::AfterMessage if self.target.replace.is_some() => return Err(SYNTAX),
                Place::First | Place::AfterMessage => {
                    if self.message(&mut reader, &mut steps)? {
                        return Ok(steps);
                    }
                }
                Place::InUtf8 => return Err(SYNTAX),
            }
        }
    }

    /// Reads `SP [flags SP] [date SP]` and how the message is given. True at a literal.
    fn message(
        &mut self,
        reader: &mut Reader<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<bool, ParseError> {
        reader.expect_space()?;
        let mut flags = Flags::default();
        if reader.peek() == Some(b'(') {
            flags = flag::flags(reader, FLAGS_MAX)?;
            reader.expect_space()?;
        }
        let mut internal_date = None;
        if reader.peek() == Some(b'"') {
            internal_date = Some(date_time(reader)?);
            reader.expect_space()?;
        }
        (self.parts, self.urls) = (0, 0);
        if reader.take_keyword(b"CATENATE") {
            reader.expect_space()?;
            reader.expect(b'(')?;
            steps.push(Step::Begin { flags, internal_date, whole: false });
            self.place = Place::InCatenate;
            return self.part(reader, steps);
        }
        if self.utf8_accept && reader.take_keyword(b"UTF8") {
            reader.expect_space()?;
            reader.expect(b'(')?;
            reader.expect(b'~')?;
            reader.at_literal()?;
            steps.push(Step::Begin { flags, internal_date, whole: true });
            steps.push(Step::Literal { eight_bit: true });
            self.place = Place::InUtf8;
            return Ok(true);
        }
        let eight_bit = reader.take(b'~');
        reader.at_literal()?;
        steps.push(Step::Begin { flags, internal_date, whole: true });
        steps.push(Step::Literal { eight_bit });
        self.place = Place::AfterMessage;
        Ok(true)
    }

    /// Reads a part of CATENATE. True at a literal.
    fn part(&mut self, reader: &mut Reader<'_>, steps: &mut Vec<Step>) -> Result<bool, ParseError> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(ParseError::Syntax("Troppe parti / Too many parts"));
        }
        match reader.keyword()?.as_slice() {
            b"URL" => {
                self.urls += 1;
                if self.urls > URLS_MAX {
                    return Err(ParseError::Syntax("Troppi URL / Too many URLs"));
                }
                reader.expect_space()?;
                if reader.at_literal().is_ok() {
                    return Err(ARGUMENT);
                }
                steps.push(Step::Url(MessageUrl::parse(&reader.astring()?, self.names)?));
                Ok(false)
            }
            b"TEXT" => {
                reader.expect_space()?;
                let eight_bit = reader.take(b'~');
                reader.at_literal()?;
                steps.push(Step::Literal { eight_bit });
                Ok(true)
            }
            _ => Err(SYNTAX),
        }
    }
}

/// Flags in one list.
const FLAGS_MAX: usize = 1_000;

/// `date-time`: `"17-Jul-1996 02:44:25 -0700"`.
fn date_time(reader: &mut Reader<'_>) -> Result<UnixMillis, ParseError> {
    let text = reader.string()?;
    let text = std::str::from_utf8(&text).map_err(|_| SYNTAX)?;
    // The day may be written with a space in place of its first digit (RFC 9051 §9 date-day-fixed).
    jiff::Zoned::strptime("%d-%b-%Y %H:%M:%S %z", text.trim_start())
        .map(|instant| UnixMillis(instant.timestamp().as_millisecond()))
        .map_err(|_| SYNTAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Result<Vec<Step>, ParseError> {
        let begun = begin(text.as_bytes(), NameForm::ModifiedUtf7, true);
        begun.expect("an APPEND").map(|(_, steps)| steps)
    }

    fn plain() -> Step {
        Step::Begin { flags: Flags::default(), internal_date: None, whole: true }
    }

    #[test]
    fn the_message_is_told_from_a_name_and_from_a_url() {
        let begun = |text: &str| begin(text.as_bytes(), NameForm::ModifiedUtf7, true).is_some();
        for none in [
            "a APPEND ",
            "a LOGIN ",
            "a REPLACE 4 ",
            "a UID REPLACE 4 ",
            "a APPEND INBOX CATENATE (URL ",
            "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1\" URL ",
            "a UID APPEND INBOX ",
        ] {
            assert!(!begun(none), "{none}");
        }
        for some in [
            "a APPEND URL ",
            "a APPEND APPEND ",
            "a APPEND INBOX ",
            "a append {5}\r\nINBOX (\\Seen) ",
            "a REPLACE 4 Bozze ",
        ] {
            assert!(begun(some), "{some}");
        }
    }

    #[test]
    fn flags_and_dates_belong_to_each_message() {
        let literal = Step::Literal { eight_bit: false };
        assert_eq!(steps("a APPEND INBOX "), Ok(vec![plain(), literal.clone()]));
        let (mut script, found) = begin(
            b"a APPEND \"Posta inviata\" (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" ",
            NameForm::ModifiedUtf7,
            false,
        )
        .unwrap()
        .unwrap();
        assert_eq!(script.target().mailbox, "Posta inviata");
        let Step::Begin { flags, internal_date, whole: true } = &found[0] else { panic!() };
        assert!(flags.seen && flags.keywords.len() == 1);
        assert_eq!(*internal_date, Some(UnixMillis(837_596_665_000)));
        assert_eq!(script.feed(b" () ~"), Ok(vec![plain(), Step::Literal { eight_bit: true }]));
        assert_eq!(script.feed(b"\r\n"), Ok(vec![Step::End]));
    }

    #[test]
    fn parts_are_put_together_in_their_order() {
        // RFC 4469 §5: an example of the standard, with paths of this server.
        let text = "A003 APPEND Drafts (\\Draft) CATENATE (URL \"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER\" TEXT ";
        let (mut script, found) =
            begin(text.as_bytes(), NameForm::ModifiedUtf7, false).unwrap().unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(&found[0], Step::Begin { whole: false, .. }));
        assert!(matches!(&found[1], Step::Url(url) if url.mailbox.as_deref() == Some("Drafts")));
        let more = script.feed(b" URL \"/Drafts/;UID=20/;section=1.MIME\" TEXT ").unwrap();
        assert!(matches!(more[..], [Step::Url(_), Step::Literal { eight_bit: false }]));
        let (_, whole) = begin(
            b"a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1\")\r\n",
            NameForm::ModifiedUtf7,
            false,
        )
        .unwrap()
        .unwrap();
        assert!(matches!(whole[..], [Step::Begin { .. }, Step::Url(_), Step::End]));
        assert_eq!(script.feed(b")\r\n"), Ok(vec![Step::End]));
    }

    #[test]
    fn a_message_in_utf_8_needs_that_to_be_enabled() {
        let text = b"a APPEND INBOX UTF8 (~";
        let (mut script, found) = begin(text, NameForm::Utf8, true).unwrap().unwrap();
        assert_eq!(found, [plain(), Step::Literal { eight_bit: true }]);
        assert_eq!(script.feed(b")\r\n"), Ok(vec![Step::End]));
        assert!(begin(text, NameForm::ModifiedUtf7, false).unwrap().is_err());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [
            "a APPEND INBOX\r\n",
            "a APPEND INBOX (\\Recent) ",
            "a APPEND INBOX \"17-Jul-1996\" ",
            "a APPEND INBOX CATENATE ()\r\n",
            "a APPEND INBOX CATENATE (FILE ",
            "a APPEND INBOX CATENATE (URL \"x\" \r\n",
            "a APPEND INBOX  ",
            "a REPLACE x Bozze ",
        ] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
        let (mut script, _) =
            begin(b"a REPLACE 4 Bozze ", NameForm::ModifiedUtf7, false).unwrap().unwrap();
        assert_eq!(script.feed(b" (\\Seen) "), Err(SYNTAX), "one takes the place of one");
    }
}
