//! The grammar of APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502 §6, RFC 4469 §5, RFC 6855 §4,
//! RFC 8508 §3.5), read around the messages: octets of messages never come here.
//!
//! [`Reading`] takes what stands between two messages and answers with [`Step`]s.
//!
//! Invariants: no list grows without bound: URLs and messages of one command are counted; a command
//! of many literals is read once, not once for each of them.

use storage::mailbox::flags::Flags;
use trust::clock::UnixMillis;

use super::{
    ParseError, flag,
    mailbox_name::NameForm,
    message_url::MessageUrl,
    reader::{Reader, SYNTAX},
    sequence::SequenceSet,
};
use crate::imap::limits::ImapLimits;

/// How a session writes the command, and how much of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Form {
    pub(crate) names: NameForm,
    /// Whether messages may come in UTF-8 (RFC 6855 §4).
    pub(crate) utf8_accept: bool,
    /// Parts of one message that CATENATE puts together.
    pub(crate) parts_max: usize,
    /// Those of them that are octets of other messages.
    pub(crate) urls_max: usize,
}

impl Form {
    /// In a session that bounds commands by `limits`.
    pub(crate) fn new(names: NameForm, utf8_accept: bool, limits: &ImapLimits) -> Self {
        let ImapLimits { append_parts_max, append_urls_max, .. } = *limits;
        Self { names, utf8_accept, parts_max: append_parts_max, urls_max: append_urls_max }
    }
}

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
    /// Behind `CATENATE (`, or behind a part of it.
    InCatenate { first: bool },
}

/// The command while it comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Script {
    target: Target,
    place: Place,
    parts: usize,
    urls: usize,
    form: Form,
}

/// Reads the beginning of a command: `octets` end where the announcement of a literal begins, or with
/// the line. `None` when it is no APPEND or REPLACE, or when the literal is the mailbox's name.
pub(crate) fn begin(octets: &[u8], form: Form) -> Option<Result<Progress, ParseError>> {
    let mut reader = Reader::new(octets, form.names);
    reader.word().ok()?;
    reader.space().then_some(())?;
    let uid = reader.take_keyword(b"UID") && reader.space();
    let replace = match (reader.keyword().ok()?.as_slice(), uid) {
        (b"APPEND", false) => false,
        (b"REPLACE", _) => true,
        _ => return None,
    };
    match head(&mut reader, replace.then_some(uid)) {
        Err(ARGUMENT) => None,
        Err(error) => Some(Err(error)),
        Ok(target) => {
            let script = Script { target, place: Place::First, parts: 0, urls: 0, form };
            Some(Reading::behind(script).read_in(reader, octets.len()))
        }
    }
}

/// What was read ends where the name of a mailbox or a URL must follow: the literal behind it is an
/// argument like that of any other command, and no message.
const ARGUMENT: ParseError = ParseError::Syntax("Manca un argomento / An argument is missing");

fn head(reader: &mut Reader<'_>, replace: Option<bool>) -> Result<Target, ParseError> {
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
    Ok(Target { mailbox, replace })
}

/// What reading came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// A URL must follow, which is the literal behind what was read.
    Argument(Reading),
    /// A message's literal follows, or the command has ended.
    Steps(Script, Vec<Step>),
}

/// A command that is read up to its next message, URL by URL: none is read twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reading {
    script: Script,
    /// What was read says so far.
    steps: Vec<Step>,
    /// How many octets that took.
    read: usize,
}

impl Reading {
    /// Reads on behind a message.
    pub(crate) fn behind(script: Script) -> Self {
        Self { script, steps: Vec::new(), read: 0 }
    }

    /// Reads on in `octets`: all there are since the beginning, or since the message.
    pub(crate) fn go_on(self, octets: &[u8]) -> Result<Progress, ParseError> {
        let rest = octets.get(self.read..).unwrap_or_default();
        let reader = Reader::new(rest, self.script.form.names);
        self.read_in(reader, octets.len())
    }

    fn read_in(mut self, mut reader: Reader<'_>, octets: usize) -> Result<Progress, ParseError> {
        loop {
            self.read = octets.saturating_sub(reader.left());
            match self.script.next(&mut reader, &mut self.steps) {
                Ok(false) => {}
                Ok(true) => return Ok(Progress::Steps(self.script, self.steps)),
                Err(ARGUMENT) => return Ok(Progress::Argument(self)),
                Err(error) => return Err(error),
            }
        }
    }
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

    /// Reads one part of a message, or what stands around one. True at a message's literal and at the
    /// end. After [`ARGUMENT`] the script is as it was.
    fn next(&mut self, reader: &mut Reader<'_>, steps: &mut Vec<Step>) -> Result<bool, ParseError> {
        match self.place {
            Place::InUtf8 => {
                reader.expect(b')')?;
                self.place = Place::AfterMessage;
                Ok(false)
            }
            Place::InCatenate { first: false } if reader.take(b')') => {
                self.place = Place::AfterMessage;
                Ok(false)
            }
            Place::InCatenate { first } => {
                if !first {
                    reader.expect_space()?;
                }
                let literal = self.part(reader, steps)?;
                self.place = Place::InCatenate { first: false };
                Ok(literal)
            }
            Place::AfterMessage if reader.at_end() => {
                steps.push(Step::End);
                Ok(true)
            }
            // One message takes the place of one.
            Place::AfterMessage if self.target.replace.is_some() => Err(SYNTAX),
            Place::First | Place::AfterMessage => self.message(reader, steps),
        }
    }

    /// Reads `SP [flags SP] [date SP]` and how the message is given. True at its literal.
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
            self.place = Place::InCatenate { first: true };
            return Ok(false);
        }
        if self.form.utf8_accept && reader.take_keyword(b"UTF8") {
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
        if self.parts >= self.form.parts_max {
            return Err(ParseError::Syntax("Troppe parti / Too many parts"));
        }
        let literal = match reader.keyword()?.as_slice() {
            b"URL" => {
                if self.urls >= self.form.urls_max {
                    return Err(ParseError::Syntax("Troppi URL / Too many URLs"));
                }
                reader.expect_space()?;
                if reader.at_literal().is_ok() {
                    return Err(ARGUMENT);
                }
                steps.push(Step::Url(MessageUrl::parse(&reader.astring()?, self.form.names)?));
                self.urls += 1;
                false
            }
            b"TEXT" => {
                reader.expect_space()?;
                let eight_bit = reader.take(b'~');
                reader.at_literal()?;
                steps.push(Step::Literal { eight_bit });
                true
            }
            _ => return Err(SYNTAX),
        };
        self.parts += 1;
        Ok(literal)
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

    fn form(utf8_accept: bool) -> Form {
        let names = if utf8_accept { NameForm::Utf8 } else { NameForm::ModifiedUtf7 };
        Form::new(names, utf8_accept, &ImapLimits::default())
    }

    fn script(text: &str, form: Form) -> Result<(Script, Vec<Step>), ParseError> {
        match begin(text.as_bytes(), form).expect("an APPEND")? {
            Progress::Steps(script, steps) => Ok((script, steps)),
            Progress::Argument(reading) => panic!("{reading:?}"),
        }
    }

    fn steps(text: &str) -> Result<Vec<Step>, ParseError> {
        script(text, Form { utf8_accept: true, ..form(false) }).map(|(_, steps)| steps)
    }

    /// What comes behind a message.
    fn feed(script: Script, text: &str) -> Result<(Script, Vec<Step>), ParseError> {
        match Reading::behind(script).go_on(text.as_bytes())? {
            Progress::Steps(script, steps) => Ok((script, steps)),
            Progress::Argument(reading) => panic!("{reading:?}"),
        }
    }

    fn plain() -> Step {
        Step::Begin { flags: Flags::default(), internal_date: None, whole: true }
    }

    #[test]
    fn the_message_is_told_from_a_name_and_from_a_url() {
        let begun = |text: &str| {
            let progress = begin(text.as_bytes(), Form { utf8_accept: true, ..form(false) });
            !matches!(progress, None | Some(Ok(Progress::Argument(_))))
        };
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
        let text = "a APPEND \"Posta inviata\" (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" ";
        let (script, found) = script(text, form(false)).unwrap();
        assert_eq!(script.target().mailbox, "Posta inviata");
        let Step::Begin { flags, internal_date, whole: true } = &found[0] else { panic!() };
        assert!(flags.seen && flags.keywords.len() == 1);
        assert_eq!(*internal_date, Some(UnixMillis(837_596_665_000)));
        let (script, found) = feed(script, " () ~").unwrap();
        assert_eq!(found, [plain(), Step::Literal { eight_bit: true }]);
        assert_eq!(feed(script, "\r\n").unwrap().1, [Step::End]);
    }

    #[test]
    fn parts_are_put_together_in_their_order() {
        // RFC 4469 §5: an example of the standard, with paths of this server.
        let text = "A003 APPEND Drafts (\\Draft) CATENATE (URL \"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER\" TEXT ";
        let (begun, found) = script(text, form(false)).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(matches!(&found[0], Step::Begin { whole: false, .. }));
        assert!(matches!(&found[1], Step::Url(url) if url.mailbox.as_deref() == Some("Drafts")));
        let text = " URL \"/Drafts/;UID=20/;section=1.MIME\" TEXT ";
        let (begun, more) = feed(begun, text).unwrap();
        assert!(matches!(more[..], [Step::Url(_), Step::Literal { eight_bit: false }]));
        let text = "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1\")\r\n";
        let (_, whole) = script(text, form(false)).unwrap();
        assert!(matches!(whole[..], [Step::Begin { .. }, Step::Url(_), Step::End]));
        assert_eq!(feed(begun, ")\r\n").unwrap().1, [Step::End]);
    }

    #[test]
    fn urls_in_literals_are_read_once() {
        let form = Form { urls_max: 3, ..form(false) };
        let read = |progress: Progress| match progress {
            Progress::Argument(reading) => reading,
            Progress::Steps(..) => panic!("{progress:?}"),
        };
        let mut text = b"a APPEND INBOX (\\Seen) CATENATE (URL ".to_vec();
        let mut reading = read(begin(&text, form).unwrap().unwrap());
        for number in 1..=3 {
            // What was read is not looked at any more.
            text[..reading.read].fill(b'!');
            text.extend_from_slice(format!("{{15}}\r\n/INBOX/;UID={number:03} URL ").as_bytes());
            let progress = reading.clone().go_on(&text);
            if number == 3 {
                let too_many = ParseError::Syntax("Troppi URL / Too many URLs");
                assert_eq!(progress, Err(too_many));
                break;
            }
            reading = read(progress.unwrap());
        }
        text.truncate(text.len() - 4);
        text.extend_from_slice(b"TEXT ");
        let Ok(Progress::Steps(script, steps)) = reading.go_on(&text) else { panic!() };
        let uids: Vec<u32> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Url(url) => Some(url.uid.get()),
                _ => None,
            })
            .collect();
        assert_eq!(uids, [1, 2, 3]);
        assert!(matches!(steps.first(), Some(Step::Begin { flags, .. }) if flags.seen));
        // Behind a message the same.
        let mut text = b" URL ".to_vec();
        let progress = Reading::behind(Script { urls: 0, ..script }).go_on(&text).unwrap();
        let reading = read(progress);
        text.extend_from_slice(b"{13}\r\n/INBOX/;UID=4)\r\n");
        text[..reading.read].fill(b'!');
        let Ok(Progress::Steps(_, steps)) = reading.go_on(&text) else { panic!() };
        assert!(matches!(steps[..], [Step::Url(_), Step::End]), "{steps:?}");
    }

    #[test]
    fn parts_are_counted_too() {
        let form = Form { parts_max: 2, ..form(false) };
        let (script, _) = script("a APPEND INBOX CATENATE (TEXT ", form).unwrap();
        let (script, _) = feed(script, " TEXT ").unwrap();
        let too_many = ParseError::Syntax("Troppe parti / Too many parts");
        assert_eq!(feed(script, " TEXT ").map(|(_, steps)| steps), Err(too_many));
    }

    #[test]
    fn a_message_in_utf_8_needs_that_to_be_enabled() {
        let text = "a APPEND INBOX UTF8 (~";
        let (begun, found) = script(text, form(true)).unwrap();
        assert_eq!(found, [plain(), Step::Literal { eight_bit: true }]);
        assert_eq!(feed(begun, ")\r\n").unwrap().1, [Step::End]);
        assert!(script(text, form(false)).is_err());
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
        let (begun, _) = script("a REPLACE 4 Bozze ", form(false)).unwrap();
        let more = feed(begun, " (\\Seen) ").map(|(_, steps)| steps);
        assert_eq!(more, Err(SYNTAX), "one takes the place of one");
    }
}
