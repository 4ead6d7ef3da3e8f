//! How a command is answered (RFC 1939 §3), and the codes in front of errors (RFC 2449 §8,
//! RFC 3206).

use super::texts::{Language, Text};

/// What tells a client, rather than a person, why something was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Code {
    /// The credentials, or who has them (RFC 3206 §5).
    Auth,
    /// Something that is over soon (RFC 3206 §4).
    SysTemp,
    /// Something that somebody has to mend (RFC 3206 §4).
    SysPerm,
    /// Another session has the maildrop (RFC 2449 §8.1.2).
    InUse,
    /// The last login was a moment ago (RFC 2449 §8.1.1).
    LoginDelay,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::InUse => "IN-USE",
            Self::LoginDelay => "LOGIN-DELAY",
        }
    }
}

/// How a command is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// `+OK` and a sentence.
    Ok(Text),
    /// `+OK` and what only programs read.
    Values(String),
    /// `+OK`, how many messages there are and how many octets they have.
    Messages { count: usize, octets: u64, lines: Option<Vec<String>> },
    /// `+OK`, and lines behind it that end with a point.
    Lines(Text, Vec<String>),
    /// `+OK`, the tag of the language, and a sentence in it (RFC 6856 §3.1).
    Language(Text),
    /// `-ERR`
    Error(Option<Code>, Text),
    /// `-ERR`, and the command counts as a wrong one.
    Wrong(Text),
    /// Everything was sent already.
    Sent,
}

impl Reply {
    /// `-ERR` with a code.
    pub(super) fn coded(code: Code, text: Text) -> Self {
        Self::Error(Some(code), text)
    }

    /// The octets on the wire.
    pub(super) fn written(self, language: Language) -> String {
        match self {
            Self::Ok(text) => format!("+OK {}\r\n", text.get(language)),
            Self::Values(values) => format!("+OK {values}\r\n"),
            Self::Messages { count, octets, lines } => {
                let messages = super::texts::MESSAGES.get(language);
                let first = format!("+OK {count} {messages} ({octets})\r\n");
                lines.map_or(first.clone(), |lines| multi_line(&first, &lines))
            }
            Self::Lines(text, lines) => {
                multi_line(&format!("+OK {}\r\n", text.get(language)), &lines)
            }
            Self::Language(text) => format!("+OK {} {}\r\n", language.tag(), text.get(language)),
            Self::Error(Some(code), text) => {
                format!("-ERR [{}] {}\r\n", code.name(), text.get(language))
            }
            Self::Error(None, text) | Self::Wrong(text) => {
                format!("-ERR {}\r\n", text.get(language))
            }
            Self::Sent => String::new(),
        }
    }
}

/// No line of ours begins with a point.
fn multi_line(first: &str, lines: &[String]) -> String {
    let octets = lines.iter().map(|line| line.len() + 2).sum::<usize>();
    let mut written = String::with_capacity(first.len() + octets + 3);
    written.push_str(first);
    for line in lines {
        written.extend([line, "\r\n"]);
    }
    written.push_str(".\r\n");
    written
}
