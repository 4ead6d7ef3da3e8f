//! What the client has enabled (RFC 5161, RFC 9051 §6.3.1): how the session speaks from then on.
//!
//! Invariant: nothing is switched off again but by UNAUTHENTICATE (RFC 8437 §2).

use super::{
    completion::Completion,
    grammar::{
        Command, Fetch, ParseError,
        mailbox_name::NameForm,
        multisearch::MultiSearch,
        search::{BAD_CHARSET, SearchCommand},
        sort::{SortCommand, ThreadCommand},
        write::Strings,
    },
};

/// The switches of one session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Enabled {
    /// Changes are told with their MODSEQ (RFC 7162 §3.1).
    pub(crate) condstore: bool,
    /// `VANISHED` takes the place of `EXPUNGE` (RFC 7162 §3.2).
    pub(crate) qresync: bool,
    /// UTF8=ACCEPT (RFC 6855 §3).
    pub(crate) utf8_accept: bool,
    /// IMAP4rev2 (RFC 9051).
    pub(crate) rev2: bool,
    /// UIDONLY: no sequence numbers any more (RFC 9586 §3).
    pub(crate) uid_only: bool,
}

impl Enabled {
    /// How names of mailboxes are spelt.
    pub(crate) fn names(self) -> NameForm {
        if self.utf8_accept || self.rev2 { NameForm::Utf8 } else { NameForm::ModifiedUtf7 }
    }

    /// How strings are written.
    pub(crate) fn strings(self) -> Strings {
        if self.utf8_accept || self.rev2 { Strings::Utf8 } else { Strings::Ascii }
    }

    /// The answer to a command that cannot be read. After UTF8=ACCEPT a charset is not unknown but
    /// wrong: who names it must not be told to name another one.
    pub(crate) fn unreadable(self, error: ParseError) -> Completion {
        if self.utf8_accept && error == BAD_CHARSET { only_utf8() } else { error.into() }
    }

    /// Refuses what a command may not say before, or after, something was enabled.
    pub(crate) fn admits(self, command: &Command) -> Result<(), Completion> {
        let resync = match command {
            Command::Select(select) => select.qresync.as_ref(),
            _ => None,
        };
        // Match data pair numbers with UIDs (RFC 9586 §3.7).
        let with_numbers = resync.is_some_and(|resync| resync.matched.is_some());
        if self.uid_only && (command.names_numbers() || with_numbers) {
            return Err(uid_required());
        }
        // RFC 6855 §3, erratum 4029: no charset where it may be left out, UTF-8 where it may not
        // (RFC 5256 §5). IMAP4rev2 alone takes one (RFC 9051 §6.4.4).
        let charset = matches!(
            command,
            Command::Search(SearchCommand { charset: true, .. })
                | Command::MultiSearch(MultiSearch { charset: true, .. })
                | Command::Sort(SortCommand { utf8: false, .. })
                | Command::Thread(ThreadCommand { utf8: false, .. })
        );
        if self.utf8_accept && charset {
            return Err(only_utf8());
        }
        let vanished = matches!(command, Command::Fetch(Fetch { vanished: true, .. }));
        // RFC 7162 §3.2.5, §3.2.6.
        if !self.qresync && (resync.is_some() || vanished) {
            return Err(Completion::bad("Prima ENABLE QRESYNC / ENABLE QRESYNC first"));
        }
        Ok(())
    }
}

/// Another charset after UTF8=ACCEPT (RFC 6855 §3).
fn only_utf8() -> Completion {
    Completion::bad(
        "Dopo UTF8=ACCEPT i criteri sono in UTF-8: SEARCH senza CHARSET, SORT e THREAD con UTF-8 / Once UTF8=ACCEPT is enabled, search in UTF-8: SEARCH without CHARSET, SORT and THREAD with UTF-8",
    )
}

/// A command names messages by number after ENABLE UIDONLY (RFC 9586 §3).
pub(crate) fn uid_required() -> Completion {
    Completion {
        code: Some("UIDREQUIRED".into()),
        ..Completion::bad(
            "UIDONLY: solo UID, non numeri / Message numbers are not allowed once UIDONLY is enabled",
        )
    }
}
