//! What FETCH tells of a message without reading it (RFC 9051 §7.5.2): from its row and its
//! summary.

use jiff::tz::TimeZone;
use storage::{
    mailbox::view::{ListedMessage, MailboxView},
    summary::Summary,
};

use super::{
    body_structure::{Form, write_body},
    envelope::write_envelope,
};
use crate::imap::{
    grammar::{
        FetchItem,
        write::{self, Strings},
    },
    object_id,
};

/// One message and how it is told.
pub(crate) struct Attributes<'a> {
    pub(crate) view: &'a dyn MailboxView,
    pub(crate) row: &'a ListedMessage,
    pub(crate) summary: &'a Summary,
    /// Whether the message is `\Recent`.
    pub(crate) recent: bool,
    pub(crate) strings: Strings,
    pub(crate) zone: &'a TimeZone,
}

impl Attributes<'_> {
    /// Writes an item; nothing for one that is answered with octets of the message.
    pub(crate) fn write(&self, out: &mut Vec<u8>, item: &FetchItem) {
        let Self { row, summary, strings, .. } = *self;
        let mut put = |text: String| out.extend_from_slice(text.as_bytes());
        match item {
            FetchItem::Uid => put(format!("UID {}", row.uid)),
            FetchItem::Rfc822Size => put(format!("RFC822.SIZE {}", row.size)),
            FetchItem::ModSeq => put(format!("MODSEQ ({})", row.mod_seq)),
            FetchItem::EmailId => {
                put(format!("EMAILID ({})", object_id::email_id(self.view, row.email_number)));
            }
            // The store keeps no threads (RFC 8474 §5.2).
            FetchItem::ThreadId => put("THREADID NIL".to_owned()),
            FetchItem::Flags => {
                put("FLAGS ".to_owned());
                write::flags(out, &row.flags, self.recent);
            }
            FetchItem::InternalDate => {
                put("INTERNALDATE ".to_owned());
                write::date_time(out, row.internal_date, self.zone);
            }
            FetchItem::SaveDate => {
                put("SAVEDATE ".to_owned());
                write::date_time(out, row.save_date, self.zone);
            }
            FetchItem::Envelope => {
                put("ENVELOPE ".to_owned());
                write_envelope(out, &summary.envelope, strings);
            }
            FetchItem::Body => {
                put("BODY ".to_owned());
                write_body(out, &summary.body, Form::Basic, strings);
            }
            FetchItem::BodyStructure => {
                put("BODYSTRUCTURE ".to_owned());
                write_body(out, &summary.body, Form::Extended, strings);
            }
            // It was made when the message came, so that LAZY never has to wait
            // (RFC 8970 §3.1, §4).
            FetchItem::Preview { .. } => {
                put("PREVIEW ".to_owned());
                write::text(out, summary.preview.as_bytes(), strings);
            }
            FetchItem::Rfc822
            | FetchItem::Rfc822Header
            | FetchItem::Rfc822Text
            | FetchItem::Section { .. }
            | FetchItem::Binary { .. }
            | FetchItem::BinarySize { .. } => {}
        }
    }
}
