//! Commands (RFC 5321 §4.1.1, RFC 3207 §4, RFC 4954 §4, RFC 3030 §2).
//!
//! ```text
//! ehlo     = "EHLO" SP ( Domain / address-literal ) CRLF
//! helo     = "HELO" SP Domain CRLF
//! mail     = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF
//! rcpt     = "RCPT TO:" ( "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF
//! data     = "DATA" CRLF          rset = "RSET" CRLF      quit = "QUIT" CRLF
//! vrfy     = "VRFY" SP String CRLF
//! help     = "HELP" [ SP String ] CRLF
//! noop     = "NOOP" [ SP String ] CRLF
//! bdat     = "BDAT" SP 1*DIGIT [ SP "LAST" ] CRLF
//! starttls = "STARTTLS" CRLF
//! auth     = "AUTH" SP sasl-mech [SP initial-response] CRLF
//! ```
//!
//! Laxer than the standard: white space at the end of a line (RFC 5321 §4.1.1 asks for it), one
//! space after `FROM:` and `TO:` (Outlook), underscores in the client's name (hosts of local
//! networks), any printable text after NOOP, HELP and VRFY.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    codec::{self, PlainCommand},
    path::{self, DOMAIN_OCTETS_MAX, Domain, ForwardPath, ReversePath},
};

/// Why a line is no command that can be carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SyntaxError {
    /// 500: the first word is not one of ours.
    #[error("unknown command")]
    UnknownCommand,
    /// 500: an octet that cannot be in a command line: a bare CR or LF, a NUL, a control.
    #[error("control characters in a command line: end lines with CR LF only")]
    ControlOctet,
    /// 501: the command is known, what follows it is wrong.
    #[error("syntax error: use {}", .0.usage())]
    BadArguments(Verb),
    /// 501: the initial response of AUTH is no base64 (RFC 4954 §4 wants 5.5.2 for it).
    #[error("the response cannot be decoded")]
    UndecodableResponse,
    /// 502: known to the standard, not offered here.
    #[error("command not offered")]
    NotOffered,
}

/// The commands we know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// AUTH
    Auth,
    /// BDAT
    Bdat,
    /// DATA
    Data,
    /// EHLO
    Ehlo,
    /// HELO
    Helo,
    /// HELP
    Help,
    /// MAIL
    Mail,
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// RCPT
    Rcpt,
    /// RSET
    Rset,
    /// STARTTLS
    StartTls,
    /// VRFY
    Vrfy,
}

impl Verb {
    /// Recognises the first word of a line, whatever follows it.
    pub fn of_line(line: &[u8]) -> Result<Self, SyntaxError> {
        let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
        let word = line.get(..end).unwrap_or_default().to_ascii_uppercase();
        Ok(match word.as_slice() {
            b"AUTH" => Self::Auth,
            b"BDAT" => Self::Bdat,
            b"DATA" => Self::Data,
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"HELP" => Self::Help,
            b"MAIL" => Self::Mail,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            b"RCPT" => Self::Rcpt,
            b"RSET" => Self::Rset,
            b"STARTTLS" => Self::StartTls,
            b"VRFY" => Self::Vrfy,
            // RFC 5321 §4.1.1.7 and appendix F; extensions that are not announced.
            b"EXPN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"ETRN" => {
                return Err(SyntaxError::NotOffered);
            }
            _ => return Err(SyntaxError::UnknownCommand),
        })
    }

    /// How the command is written, for people.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Auth => "AUTH mechanism [initial-response in base64]",
            Self::Bdat => "BDAT octets [LAST]",
            Self::Data => "DATA",
            Self::Ehlo => "EHLO your.host.name",
            Self::Helo => "HELO your.host.name",
            Self::Help => "HELP [command]",
            Self::Mail => "MAIL FROM:<address> [parameters]",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::Rcpt => "RCPT TO:<address> [parameters]",
            Self::Rset => "RSET",
            Self::StartTls => "STARTTLS",
            Self::Vrfy => "VRFY address",
        }
    }
}

/// What the client calls itself.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClientName(String);

impl ClientName {
    /// Reads a domain, an address literal, or a host name with underscores.
    pub fn parse(text: &str) -> Option<Self> {
        // RFC 6531 §3.7.1: a name outside ASCII is written as an A-label.
        let framed = text.is_ascii().then(|| format!("{text}\r\n"))?;
        let known = path::domain(framed.as_bytes()).is_some_and(|(_, rest)| rest == b"\r\n");
        let lax = (1..=DOMAIN_OCTETS_MAX).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        (known || lax).then(|| Self(text.to_owned()))
    }

    /// The name as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Domain> for ClientName {
    fn from(domain: &Domain) -> Self {
        Self(domain.to_string())
    }
}

/// One parameter of MAIL or RCPT: `esmtp-keyword ["=" esmtp-value]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    keyword: String,
    value: Option<String>,
}

impl Parameter {
    /// Takes a keyword and a value by the standard's grammar.
    pub fn new(keyword: &str, value: Option<&str>) -> Option<Self> {
        let wire = match value {
            Some(value) => format!("{keyword}={value}\r\n"),
            None => format!("{keyword}\r\n"),
        };
        let (read, read_value, rest) = codec::esmtp_param(wire.as_bytes())?;
        (read == keyword && read_value == value && rest == b"\r\n").then_some(())?;
        Some(Self { keyword: keyword.to_ascii_uppercase(), value: value.map(str::to_owned) })
    }

    /// The keyword in capitals.
    pub fn keyword(&self) -> &str {
        &self.keyword
    }

    /// The value, if there is one; then it is not empty.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

/// Octets that must not reach a log.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// Reads base64 by the strict alphabet and padding (RFC 4648 §4).
    pub fn from_base64(text: &[u8]) -> Option<Self> {
        let framed = [text, b"\r\n"].concat();
        let (text, rest) = codec::base64_text(&framed)?;
        (rest == b"\r\n").then_some(())?;
        BASE64.decode(text).ok().map(Self)
    }
}

/// The arguments of AUTH.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthArguments {
    /// The SASL mechanism in capitals.
    pub mechanism: String,
    /// The initial response, decoded; `Some` of nothing for `=` (RFC 4954 §4).
    pub initial_response: Option<Secret>,
}

/// The arguments of BDAT: a piece of the message (RFC 3030 §2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chunk {
    /// Octets that follow the command's line.
    pub octets: u64,
    /// Whether the message ends with them.
    pub last: bool,
}

impl Chunk {
    fn parse(arguments: &str) -> Option<Self> {
        let (size, last) = match arguments.split_once(' ') {
            None => (arguments, false),
            Some((size, word)) => (size, word.eq_ignore_ascii_case("LAST").then_some(true)?),
        };
        let digits = !size.is_empty() && size.bytes().all(|octet| octet.is_ascii_digit());
        Some(Self { octets: digits.then(|| size.parse().ok()).flatten()?, last })
    }
}

/// One command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// AUTH
    Auth(AuthArguments),
    /// BDAT
    Bdat(Chunk),
    /// DATA
    Data,
    /// EHLO
    Ehlo(ClientName),
    /// HELO
    Helo(ClientName),
    /// HELP, with the word that it is asked for.
    Help(Option<String>),
    /// MAIL
    Mail {
        /// Whom the message comes from.
        reverse_path: ReversePath,
        /// Parameters, each keyword once.
        parameters: Vec<Parameter>,
    },
    /// NOOP; its argument is ignored (RFC 5321 §4.1.1.9).
    Noop,
    /// QUIT
    Quit,
    /// RCPT
    Rcpt {
        /// Whom the message goes to.
        forward_path: ForwardPath,
        /// Parameters, each keyword once.
        parameters: Vec<Parameter>,
    },
    /// RSET
    Rset,
    /// STARTTLS
    StartTls,
    /// VRFY; its argument is never looked up (RFC 5321 §7.3).
    Vrfy,
}

impl Command {
    /// Reads one line, given without its CR LF.
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        if line.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t') {
            return Err(SyntaxError::ControlOctet);
        }
        let line = line.trim_ascii_end();
        let verb = Verb::of_line(line)?;
        let framed = [line, b"\r\n"].concat();
        if let Some(plain) = codec::plain_command(&framed) {
            return Self::from_plain(plain).ok_or(SyntaxError::BadArguments(verb));
        }
        let arguments = line.splitn(2, |octet| *octet == b' ').nth(1);
        if verb == Verb::Auth {
            return auth_arguments(arguments.unwrap_or_default()).map(Self::Auth);
        }
        Self::with_arguments(verb, arguments).ok_or(SyntaxError::BadArguments(verb))
    }

    fn from_plain(plain: PlainCommand) -> Option<Self> {
        Some(match plain {
            PlainCommand::Ehlo(name) => Self::Ehlo(ClientName::parse(&name)?),
            PlainCommand::Helo(name) => Self::Helo(ClientName::parse(&name)?),
            PlainCommand::Data => Self::Data,
            PlainCommand::Rset => Self::Rset,
            PlainCommand::Quit => Self::Quit,
            PlainCommand::StartTls => Self::StartTls,
        })
    }

    fn with_arguments(verb: Verb, arguments: Option<&[u8]>) -> Option<Self> {
        let text = || std::str::from_utf8(arguments?).ok();
        match verb {
            Verb::Ehlo => ClientName::parse(text()?).map(Self::Ehlo),
            Verb::Helo => ClientName::parse(text()?).map(Self::Helo),
            Verb::Bdat => Chunk::parse(text()?).map(Self::Bdat),
            Verb::Help => match arguments {
                None => Some(Self::Help(None)),
                Some(_) => text().map(|topic| {
                    let topic = topic.trim();
                    Self::Help((!topic.is_empty()).then(|| topic.to_owned()))
                }),
            },
            Verb::Noop => Some(Self::Noop),
            Verb::Vrfy => arguments.map(|_| Self::Vrfy),
            Verb::Mail => {
                let framed = [after_keyword(arguments?, b"FROM:")?, b"\r\n"].concat();
                let (reverse_path, rest) = path::reverse_path(&framed)?;
                Some(Self::Mail { reverse_path, parameters: parameters(rest)? })
            }
            Verb::Rcpt => {
                let framed = [after_keyword(arguments?, b"TO:")?, b"\r\n"].concat();
                let (forward_path, rest) = path::forward_path(&framed)?;
                Some(Self::Rcpt { forward_path, parameters: parameters(rest)? })
            }
            // AUTH has errors of its own; the others smtp-codec has read without arguments.
            Verb::Auth | Verb::Data | Verb::Quit | Verb::Rset | Verb::StartTls => None,
        }
    }

    /// Writes the command with its CR LF.
    pub fn encode(&self) -> Vec<u8> {
        let mut line = match self {
            Self::Auth(arguments) => arguments.encode(),
            Self::Bdat(Chunk { octets, last }) => {
                format!("BDAT {octets}{}", if *last { " LAST" } else { "" })
            }
            Self::Data => "DATA".to_owned(),
            Self::Ehlo(name) => format!("EHLO {}", name.as_str()),
            Self::Helo(name) => format!("HELO {}", name.as_str()),
            Self::Help(topic) => {
                format!("HELP {}", topic.as_deref().unwrap_or_default()).trim_end().to_owned()
            }
            Self::Mail { reverse_path, parameters } => {
                format!("MAIL FROM:<{reverse_path}>{}", encode_parameters(parameters))
            }
            Self::Noop => "NOOP".to_owned(),
            Self::Quit => "QUIT".to_owned(),
            Self::Rcpt { forward_path, parameters } => {
                format!("RCPT TO:<{forward_path}>{}", encode_parameters(parameters))
            }
            Self::Rset => "RSET".to_owned(),
            Self::StartTls => "STARTTLS".to_owned(),
            Self::Vrfy => "VRFY postmaster".to_owned(),
        };
        line.push_str("\r\n");
        line.into_bytes()
    }
}

impl AuthArguments {
    fn encode(&self) -> String {
        match &self.initial_response {
            None => format!("AUTH {}", self.mechanism),
            Some(Secret(octets)) if octets.is_empty() => format!("AUTH {} =", self.mechanism),
            Some(Secret(octets)) => format!("AUTH {} {}", self.mechanism, BASE64.encode(octets)),
        }
    }
}

/// Returns what follows `FROM:` or `TO:`, less one space.
fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(())?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// `*( SP esmtp-param ) CRLF`; a keyword given twice is an error.
fn parameters(mut rest: &[u8]) -> Option<Vec<Parameter>> {
    let mut taken: Vec<Parameter> = Vec::new();
    while rest != b"\r\n" {
        let (keyword, value, next) = codec::esmtp_param(rest.strip_prefix(b" ")?)?;
        let keyword = keyword.to_ascii_uppercase();
        if taken.iter().any(|parameter| parameter.keyword == keyword) {
            return None;
        }
        taken.push(Parameter { keyword, value: value.map(str::to_owned) });
        rest = next;
    }
    Some(taken)
}

fn encode_parameters(parameters: &[Parameter]) -> String {
    let mut text = String::new();
    for parameter in parameters {
        text.push(' ');
        text.push_str(&parameter.keyword);
        if let Some(value) = &parameter.value {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

/// `sasl-mech [SP ( base64 / "=" )]`, the name by RFC 4422 §3.1.
fn auth_arguments(arguments: &[u8]) -> Result<AuthArguments, SyntaxError> {
    const BAD: SyntaxError = SyntaxError::BadArguments(Verb::Auth);
    let mut words = arguments.splitn(2, |octet| *octet == b' ');
    let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
    let named = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    if !(1..=20).contains(&mechanism.len()) || !mechanism.iter().all(named) {
        return Err(BAD);
    }
    let initial_response = match words.next() {
        None => None,
        Some(b"=") => Some(Secret(Vec::new())),
        Some(b"") => return Err(BAD),
        Some(text) => Some(Secret::from_base64(text).ok_or(SyntaxError::UndecodableResponse)?),
    };
    let mechanism = String::from_utf8(mechanism).map_err(|_| BAD)?;
    Ok(AuthArguments { mechanism, initial_response })
}

#[cfg(test)]
mod tests;
