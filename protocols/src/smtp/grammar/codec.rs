//! The one place where `smtp-codec` is called.
//!
//! Its parsers are written for streams: they ask for more when the input ends where more of the
//! same could follow. Every input here therefore ends in CR LF, which no rule but the last one
//! takes.

use smtp_codec::{
    parse::{self as rules, command as command_rules, response as response_rules},
    types::{self as codec, Capability, DomainOrAddress, Response},
};

/// What smtp-codec reads without loss: commands without parameters.
pub(super) enum PlainCommand {
    /// EHLO with a domain.
    Ehlo(String),
    /// HELO with a domain.
    Helo(String),
    /// DATA
    Data,
    /// RSET
    Rset,
    /// QUIT
    Quit,
    /// STARTTLS
    StartTls,
}

/// Reads a whole line that ends in CR LF, if it is one of the plain commands.
pub(super) fn plain_command(line: &[u8]) -> Option<PlainCommand> {
    let (b"", command) = command_rules::command(line).ok()? else { return None };
    match command {
        codec::Command::Ehlo { domain_or_address: DomainOrAddress::Domain(domain) } => {
            Some(PlainCommand::Ehlo(domain))
        }
        codec::Command::Helo { domain_or_address: DomainOrAddress::Domain(domain) } => {
            Some(PlainCommand::Helo(domain))
        }
        codec::Command::Data => Some(PlainCommand::Data),
        codec::Command::Rset => Some(PlainCommand::Rset),
        codec::Command::Quit => Some(PlainCommand::Quit),
        codec::Command::StartTLS => Some(PlainCommand::StartTls),
        _ => None,
    }
}

/// `Dot-string = Atom *("." Atom)`; returns it and the rest.
pub(super) fn dot_string(input: &[u8]) -> Option<(&str, &[u8])> {
    let (rest, taken) = command_rules::Dot_string(input).ok()?;
    Some((taken, rest))
}

/// `esmtp-keyword ["=" esmtp-value]`; returns both and the rest. A value may have UTF-8 in it, which
/// smtp-codec does not know (RFC 6531 §3.3).
pub(super) fn esmtp_param(input: &[u8]) -> Option<(&str, Option<&str>, &[u8])> {
    let (rest, keyword) = command_rules::esmtp_keyword(input).ok()?;
    match rest.strip_prefix(b"=") {
        None => Some((keyword, None, rest)),
        Some(rest) => {
            let belongs = |octet: &u8| matches!(octet, 33..=60 | 62..=126 | 128..);
            let end = rest.iter().position(|octet| !belongs(octet)).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end)?;
            let value = std::str::from_utf8(value).ok().filter(|value| !value.is_empty())?;
            Some((keyword, Some(value), rest))
        }
    }
}

/// The alphabet and padding of base64, not its length; returns it and the rest.
pub(super) fn base64_text(input: &[u8]) -> Option<(&str, &[u8])> {
    let (rest, taken) = rules::base64(input).ok()?;
    Some((taken, rest))
}

/// `Reply-code`: three digits, of which smtp-codec checks no more than that.
pub(super) fn reply_code(input: &[u8]) -> Option<(u16, &[u8])> {
    let (rest, code) = response_rules::Reply_code(input).ok()?;
    Some((code, rest))
}

/// Reads one `ehlo-line`, given without its line end.
pub(super) fn ehlo_line(line: &str) -> Option<Capability> {
    let framed = format!("{line}\r\n");
    let (rest, capability) = response_rules::ehlo_line(framed.as_bytes()).ok()?;
    // Its keywords match by prefix: what is left over belonged to another keyword.
    (rest == b"\r\n").then_some(capability)
}

/// Writes the reply to EHLO.
pub(super) fn ehlo_reply(domain: &str, capabilities: Vec<Capability>) -> Vec<u8> {
    let mut octets = Vec::new();
    let reply = Response::ehlo(domain, None::<String>, capabilities);
    // Writing into memory does not fail.
    let _ = reply.serialize(&mut octets);
    octets
}
