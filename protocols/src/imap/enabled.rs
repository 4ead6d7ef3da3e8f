//! What the client has enabled (RFC 5161, RFC 9051 §6.3.1): how the session speaks from then on.
//!
//! Invariant: nothing is switched off again but by UNAUTHENTICATE (RFC 8437 §2).

use super::grammar::mailbox_name::NameForm;

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
}
