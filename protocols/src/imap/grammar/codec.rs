//! `imap-codec` and its types, turned into ours. Nothing else in the program names that crate.
//!
//! Strings may hold UTF-8 in quotes, which RFC 3501 §9 does not allow: curl and PHP's client send
//! passwords so.

use imap_codec::{CommandCodec, decode::Decoder as _};
use imap_types::{
    command::{Command as CodecCommand, CommandBody},
    mailbox::{ListMailbox, Mailbox},
};

use super::{
    Command, ParseError,
    mailbox_name::NameForm,
    reader::{self, SYNTAX},
};

fn decode(octets: &[u8]) -> Option<CommandBody<'_>> {
    match CommandCodec::default().decode(octets) {
        Ok(([], CodecCommand { body, .. })) => Some(body),
        _ => None,
    }
}

/// Parses any command but APPEND and those whose grammar is ours.
pub(super) fn command(octets: &[u8], names: NameForm) -> Result<Command, ParseError> {
    let body = decode(octets).ok_or(SYNTAX)?;
    Ok(match body {
        CommandBody::Capability => Command::Capability,
        CommandBody::Noop => Command::Noop,
        CommandBody::Logout => Command::Logout,
        CommandBody::Id { .. } => Command::Id,
        CommandBody::StartTLS => Command::StartTls,
        CommandBody::Namespace => Command::Namespace,
        CommandBody::Idle => Command::Idle,
        CommandBody::Check => Command::Check,
        CommandBody::Close => Command::Close,
        CommandBody::Unselect => Command::Unselect,
        CommandBody::Login { username, password } => Command::Login {
            login: text(username.as_ref())?,
            password: text(password.declassify().as_ref())?,
        },
        CommandBody::Authenticate { mechanism, initial_response } => Command::Authenticate {
            mechanism: mechanism.to_string().to_ascii_uppercase(),
            initial_response: initial_response.map(|octets| octets.declassify().to_vec()),
        },
        other => with_names(other, names)?,
    })
}

/// Parses the commands that name mailboxes or messages.
fn with_names(body: CommandBody<'_>, names: NameForm) -> Result<Command, ParseError> {
    Ok(match body {
        CommandBody::Lsub { reference, mailbox_wildcard } => Command::Lsub {
            reference: name(&reference, names)?,
            pattern: pattern(&mailbox_wildcard, names)?,
        },
        CommandBody::GetQuota { root } => Command::GetQuota { root: root.as_ref().to_vec() },
        CommandBody::GetQuotaRoot { mailbox } => {
            Command::GetQuotaRoot { mailbox: name(&mailbox, names)? }
        }
        CommandBody::Delete { mailbox } => Command::Delete { mailbox: name(&mailbox, names)? },
        CommandBody::Rename { from, to } => {
            Command::Rename { from: name(&from, names)?, to: name(&to, names)? }
        }
        CommandBody::Subscribe { mailbox } => {
            Command::Subscribe { mailbox: name(&mailbox, names)?, subscribed: true }
        }
        CommandBody::Unsubscribe { mailbox } => {
            Command::Subscribe { mailbox: name(&mailbox, names)?, subscribed: false }
        }
        _ => return Err(SYNTAX),
    })
}

fn text(octets: &[u8]) -> Result<String, ParseError> {
    String::from_utf8(octets.to_vec()).map_err(|_| SYNTAX)
}

fn name(mailbox: &Mailbox<'_>, names: NameForm) -> Result<String, ParseError> {
    match mailbox {
        Mailbox::Inbox => Ok("INBOX".to_owned()),
        Mailbox::Other(other) => reader::mailbox(other.as_ref(), names),
    }
}

fn pattern(pattern: &ListMailbox<'_>, names: NameForm) -> Result<String, ParseError> {
    let encoded = match pattern {
        ListMailbox::Token(token) => token.as_ref(),
        ListMailbox::String(string) => string.as_ref(),
    };
    reader::pattern(encoded, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_rfc_3501_are_read() {
        let parsed = |line: &str| command(line.as_bytes(), NameForm::ModifiedUtf7).unwrap();
        assert_eq!(
            parsed("a LOGIN SMITH \"SES\\\"AME\"\r\n"),
            Command::Login { login: "SMITH".to_owned(), password: "SES\"AME".to_owned() }
        );
        assert_eq!(
            parsed("a LOGIN {3+}\r\nabc \"perché\"\r\n"),
            Command::Login { login: "abc".to_owned(), password: "perché".to_owned() }
        );
        assert_eq!(
            parsed("a delete iNBoX/Attivit&AOA-\n"),
            Command::Delete { mailbox: "INBOX/Attività".to_owned() }
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in
            ["a LOGIN x\r\n", "a NOOP now\r\n", "a DELETE &Jjo!\r\n", "a LOGIN {3}\r\na\0b c\r\n"]
        {
            assert!(command(wrong.as_bytes(), NameForm::ModifiedUtf7).is_err(), "{wrong}");
        }
    }
}
