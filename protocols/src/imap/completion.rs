//! How a command ends: OK, NO or BAD, a response code, and one line for people.
//!
//! The text is Italian first, English second, in ASCII as RFC 3501 §9 `text` wants it. It never
//! holds internals: those go to the log, here, once.

use std::borrow::Cow;

use storage::error::StoreError;

use super::grammar::ParseError;
use crate::{access::is_of_snapshots, lines::Disconnect};

/// The condition of a tagged response (RFC 3501 §7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    Ok,
    No,
    Bad,
}

/// The end of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Completion {
    pub(crate) condition: Condition,
    pub(crate) code: Option<Cow<'static, str>>,
    pub(crate) text: Cow<'static, str>,
}

impl Completion {
    /// OK without a code.
    pub(crate) fn ok(text: &'static str) -> Self {
        Self { condition: Condition::Ok, code: None, text: text.into() }
    }

    /// OK with a code.
    pub(crate) fn ok_with(code: impl Into<Cow<'static, str>>, text: &'static str) -> Self {
        Self { code: Some(code.into()), ..Self::ok(text) }
    }

    /// NO with a code (RFC 5530 §3).
    pub(crate) fn no(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition: Condition::No, code: Some(code.into()), text: text.into() }
    }

    /// BAD: the command is wrong as it stands.
    pub(crate) fn bad(text: &'static str) -> Self {
        Self { condition: Condition::Bad, code: None, text: text.into() }
    }

    /// Writes the response line behind `tag`.
    pub(crate) fn line(&self, tag: &str) -> String {
        let condition = match self.condition {
            Condition::Ok => "OK",
            Condition::No => "NO",
            Condition::Bad => "BAD",
        };
        match &self.code {
            Some(code) => format!("{tag} {condition} [{code}] {}\r\n", self.text),
            None => format!("{tag} {condition} {}\r\n", self.text),
        }
    }
}

impl From<ParseError> for Completion {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Syntax(text) => Self::bad(text),
            ParseError::Impossible { code, text } => Self::no(code, text),
        }
    }
}

/// Why a command did not do what it says.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The session goes on.
    Refused(Completion),
    /// It does not.
    Disconnected(Disconnect),
}

/// How a command ends.
pub(crate) type CommandResult = Result<Completion, Failure>;

impl From<Disconnect> for Failure {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnected(disconnect)
    }
}

impl From<Completion> for Failure {
    fn from(completion: Completion) -> Self {
        Self::Refused(completion)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(refusal(&error))
    }
}

/// Turns an error of the store into what the peer reads, and logs what he must not.
pub(crate) fn refusal(error: &StoreError) -> Completion {
    match error {
        StoreError::NoSuchMailboxName(name) if is_of_snapshots(name) => no_such_snapshot(),
        StoreError::SnapshotExpired { .. } => no_such_snapshot(),
        StoreError::NoSuchMailboxName(_) | StoreError::NoSuchMailbox { .. } => Completion::no(
            "NONEXISTENT",
            "La cartella non esiste: aggiornare l'elenco / No such mailbox: list them again",
        ),
        StoreError::MailboxExists(_) => Completion::no(
            "ALREADYEXISTS",
            "La cartella esiste gia': scegliere un altro nome / The mailbox exists: choose another name",
        ),
        StoreError::InvalidMailboxName { .. } => Completion::no(
            "CANNOT",
            "Nome di cartella non ammesso / A mailbox cannot have that name",
        ),
        StoreError::ProtectedMailbox(_) => Completion::no(
            "CANNOT",
            "Questa cartella non si puo' eliminare o rinominare / This mailbox cannot be deleted or renamed",
        ),
        StoreError::NoSuchMessage { .. } | StoreError::NoSuchUid { .. } => expunged(),
        // Not UNAVAILABLE, which invites to try again (RFC 5530 §3).
        StoreError::Erased { .. } => Completion::no(
            "CANNOT",
            "Messaggio cancellato per ordine o per diritto dell'interessato: il contenuto non esiste piu' / Message erased by order or by right: its content exists no more",
        ),
        StoreError::OverQuota { resource, used, limit } => over_quota(resource, *used, *limit),
        StoreError::ReadOnly => Completion::no(
            "CANNOT",
            "Cartella in sola lettura: copiare i messaggi altrove / Read-only: copy the messages to another mailbox",
        ),
        StoreError::LimitExceeded { limit, .. } => Completion::no(
            "LIMIT",
            format!("Limite di {limit} superato / Limit of {limit} exceeded"),
        ),
        StoreError::Exhausted(_) => Completion::no(
            "LIMIT",
            "Cartella esaurita: copiare i messaggi in una nuova / Mailbox used up: copy its messages to a new one",
        ),
        StoreError::NoSuchAccount(_) => {
            Completion::no("CONTACTADMIN", "La casella non esiste piu' / The account is gone")
        }
        temporary if temporary.is_temporary() => {
            log(temporary);
            Completion::no(
                "UNAVAILABLE",
                "Servizio momentaneamente non disponibile, riprovare / Not available now, try again later",
            )
        }
        damaged @ StoreError::Damaged { .. } => {
            log(damaged);
            Completion::no(
                "CORRUPTION",
                "Dati danneggiati nell'archivio, segnalato ai gestori / Damaged data in the store, reported to the operators",
            )
        }
        other => refusal_of_attributes(other),
    }
}

/// Says which tier is full.
fn over_quota(resource: &str, used: u64, limit: u64) -> Completion {
    let text = if resource.starts_with("archive ") {
        format!(
            "Archivio pieno ({used} di {limit}): eliminare messaggi da Archivio o ampliarlo / Archive full ({used} of {limit}): delete messages there or buy more space"
        )
    } else {
        format!(
            "Spazio esaurito ({used} di {limit}): eliminare messaggi o ampliare la casella / Over quota ({used} of {limit}): delete messages or buy more space"
        )
    };
    Completion::no("OVERQUOTA", text)
}

/// [`refusal`] of what is said of mailboxes, and of what should not happen.
fn refusal_of_attributes(error: &StoreError) -> Completion {
    match error {
        StoreError::SpecialUseTaken(_) => Completion::no(
            "USEATTR",
            "Un'altra cartella ha gia' quell'uso / Another mailbox has that use already",
        ),
        StoreError::TooManyAnnotations(limit) => Completion::no(
            "METADATA TOOMANY",
            format!(
                "Una casella tiene {limit} annotazioni: eliminarne / An account keeps {limit} annotations: remove some"
            ),
        ),
        StoreError::AnnotationTooLarge(limit) => Completion {
            code: Some(format!("METADATA MAXSIZE {limit}").into()),
            ..Completion::no(
                "",
                "Annotazione troppo lunga: accorciarla / Annotation too long: shorten it",
            )
        },
        StoreError::OtherAccount => Completion::no(
            "CANNOT",
            "Cartella di un'altra casella: scaricare i messaggi e caricarli nella propria / Mailbox of another account: download the messages and append them to your own",
        ),
        other => {
            log(other);
            Completion::no(
                "SERVERBUG",
                "Errore interno, segnalato ai gestori / Internal error, reported to the operators",
            )
        }
    }
}

fn no_such_snapshot() -> Completion {
    Completion::no(
        "NONEXISTENT",
        "Istantanea inesistente o scaduta: elencare Snapshot/% / No such snapshot, or it has expired: list Snapshot/%",
    )
}

/// What snapshots show is never changed, and nothing is put beside it.
pub(crate) fn snapshot_stays() -> Completion {
    Completion::no(
        "CANNOT",
        "Le istantanee non si modificano: copiare i messaggi in una cartella della casella / Snapshots never change: copy the messages to a mailbox of the account",
    )
}

/// Nobody may ask for a snapshot where none are taken.
pub(crate) fn no_snapshots() -> Completion {
    Completion::no("CANNOT", "Il gestore non scatta istantanee / This provider takes no snapshots")
}

/// Some of the messages that a command names by number are gone (RFC 5530 §3, RFC 2180 §4.1).
pub(crate) fn expunged() -> Completion {
    Completion::no(
        "EXPUNGEISSUED",
        "Alcuni messaggi sono stati eliminati / Some of the messages were expunged",
    )
}

fn log(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "an IMAP command failed in the store");
}

#[cfg(test)]
mod tests {
    use storage::ids::AccountId;

    use super::*;

    #[test]
    fn texts_are_one_line_of_printable_ascii() {
        let errors = [
            StoreError::NoSuchMailboxName("à".to_owned()),
            StoreError::NoSuchMailboxName("Snapshot/à".to_owned()),
            StoreError::SnapshotExpired { account: AccountId(1), number: 2 },
            StoreError::MailboxExists("è\r\n".to_owned()),
            StoreError::InvalidMailboxName { name: "\r\n".to_owned(), reason: "ò" },
            StoreError::ProtectedMailbox("INBOX".to_owned()),
            StoreError::OverQuota { resource: "octets", used: 1, limit: 2 },
            StoreError::OverQuota { resource: "archive octets", used: 1, limit: 2 },
            StoreError::ReadOnly,
            StoreError::SpecialUseTaken("ò".to_owned()),
            StoreError::TooManyAnnotations(3),
            StoreError::AnnotationTooLarge(4),
            StoreError::OtherAccount,
            StoreError::Exhausted("UIDs"),
            StoreError::Conflict,
            StoreError::Erased { object: "è".to_owned(), at: trust::clock::UnixMillis(0) },
            StoreError::LimitExceeded { what: "message", limit: 3, remedy: "" },
            StoreError::Damaged { object: "é".to_owned(), detail: "\n".to_owned() },
        ];
        for error in errors {
            let line = refusal(&error).line("a1");
            let text = line.strip_suffix("\r\n").unwrap();
            assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{line}");
            assert!(text.starts_with("a1 NO ["), "{line}");
            assert!(text.contains(" / "), "{line}");
        }
    }

    #[test]
    fn codes_are_those_of_rfc_5530() {
        assert_eq!(
            refusal(&StoreError::MailboxExists(String::new())).code.as_deref(),
            Some("ALREADYEXISTS")
        );
        assert_eq!(refusal(&StoreError::Conflict).code.as_deref(), Some("UNAVAILABLE"));
    }
}
