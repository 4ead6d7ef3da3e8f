//! What is parsed once from a message and kept beside its recipe, so that listing a mailbox
//! touches no chunk.
//!
//! The values are those of IMAP's ENVELOPE and BODYSTRUCTURE (RFC 9051 §7.5.2): header values are
//! kept as they stand, unfolded but not decoded, in octets, because mail holds what it likes.
//! Offsets count from the first octet of the message.
//!
//! Not here: the parser (`mime`), the record on disk ([`record`](mod@record)).

pub mod record;

/// The summary of one message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Octets of the whole message (RFC822.SIZE).
    pub size: u64,
    /// The top-level header's envelope fields.
    pub envelope: Envelope,
    /// The MIME tree; the root is the message itself.
    pub body: BodyPart,
    /// The top-level header's `References`, which ENVELOPE does not have.
    pub references: Option<Vec<u8>>,
    /// At most 200 characters of the first readable text (RFC 8970), empty when there is none.
    pub preview: String,
    /// The message was erased: nothing here was parsed from it but its size.
    pub erased: bool,
}

impl Summary {
    /// What stands in place of the summary of a message of `size` octets that was erased: lists
    /// show `envelope`.
    #[must_use]
    pub fn of_erased(size: u64, envelope: Envelope) -> Self {
        let body = BodyPart {
            media_type: b"text".to_vec(),
            media_subtype: b"plain".to_vec(),
            ..BodyPart::default()
        };
        Self { size, envelope, body, references: None, preview: String::new(), erased: true }
    }
}

/// The fields of RFC 9051 §7.5.2 ENVELOPE. `None` = the field is absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Envelope {
    /// `Date`.
    pub date: Option<Vec<u8>>,
    /// `Subject`.
    pub subject: Option<Vec<u8>>,
    /// `From`.
    pub from: Vec<Address>,
    /// `Sender`; not defaulted to From here, the protocol does that.
    pub sender: Vec<Address>,
    /// `Reply-To`; likewise.
    pub reply_to: Vec<Address>,
    /// `To`.
    pub to: Vec<Address>,
    /// `Cc`.
    pub cc: Vec<Address>,
    /// `Bcc`.
    pub bcc: Vec<Address>,
    /// `In-Reply-To`.
    pub in_reply_to: Option<Vec<u8>>,
    /// `Message-ID`.
    pub message_id: Option<Vec<u8>>,
}

/// One address of an address list. A group is a start (`mailbox` = group name, `host` = `None`),
/// its members, and an end (both `None`), as in RFC 9051 §7.5.2.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Address {
    /// The display name, unquoted, not decoded.
    pub name: Option<Vec<u8>>,
    /// The source route (RFC 5322 §4.4 obs-route).
    pub route: Option<Vec<u8>>,
    /// The local part, unquoted.
    pub mailbox: Option<Vec<u8>>,
    /// The domain.
    pub host: Option<Vec<u8>>,
}

/// One node of the MIME tree (RFC 2045, 2046).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BodyPart {
    /// First octet of this part's header; the header ends where the body begins.
    pub header_offset: u64,
    /// First octet of this part's body.
    pub body_offset: u64,
    /// Octets of the body, without the line end that belongs to the boundary.
    pub body_octets: u64,
    /// Lines of the body (text/* and message/rfc822).
    pub body_lines: u64,
    /// Media type, as written; `text` when absent or broken.
    pub media_type: Vec<u8>,
    /// Media subtype, as written; `plain` when absent or broken.
    pub media_subtype: Vec<u8>,
    /// Parameters of Content-Type, in order.
    pub parameters: Vec<Parameter>,
    /// Content-ID.
    pub content_id: Option<Vec<u8>>,
    /// Content-Description.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding; `None` stands for 7bit.
    pub encoding: Option<Vec<u8>>,
    /// Content-MD5.
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition with its parameters.
    pub disposition: Option<Disposition>,
    /// Content-Language.
    pub languages: Vec<Vec<u8>>,
    /// Content-Location.
    pub location: Option<Vec<u8>>,
    /// The parts of a multipart, in order; for an unencoded message/rfc822 the one part that is
    /// the embedded message.
    pub parts: Vec<BodyPart>,
    /// The envelope of an embedded message (message/rfc822 only).
    pub embedded_envelope: Option<Box<Envelope>>,
}

/// Name and value of a MIME parameter, the value unquoted.
pub type Parameter = (Vec<u8>, Vec<u8>);

/// A Content-Disposition (RFC 2183): its type and its parameters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Disposition {
    /// `inline`, `attachment` or what else was written.
    pub kind: Vec<u8>,
    /// Parameters, in order.
    pub parameters: Vec<Parameter>,
}
