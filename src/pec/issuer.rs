//! The provider as issuer of signed messages, and the messages before they are signed.
//!
//! Everything that a provider generates is signed (RFC 6109 §2.1); its From is always the
//! provider's service address, which is also the address inside the signing certificate.
//!
//! Not here: keys and signatures (`trust`), which message is due when (the engine).

use trust::smime::sign::{MessageSigner, SignError, multipart_signed};

use super::{
    address::Address,
    daticert::CertificationData,
    encoded_word::encode,
    header::{Field, Header},
    identifier::IdentifierSource,
    instant::CertifiedInstant,
};

/// Who issues: what stands in every receipt, notice and envelope of one provider.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The descriptive name (gestore emittente), as in the directory.
    pub name: String,
    /// `posta-certificata@<provider mail domain>`.
    pub service_address: Address,
    /// Where its identifiers come from.
    pub identifiers: IdentifierSource,
}

/// A message complete but for its signature.
///
/// The finished message is `header`, then the MIME fields of `multipart/signed`, an empty line,
/// and the signed entity with its signature.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// The top-level fields without MIME-Version and Content-Type, each with its line end, no
    /// empty line.
    pub header: Vec<u8>,
    /// The entity to sign: `multipart/mixed` with its MIME header, line ends CR LF.
    pub entity: Vec<u8>,
    /// The Message-ID in brackets. Anomaly envelopes repeat that of the received message, and are
    /// given one when it has none.
    pub message_id: String,
    /// The certification data inside; anomaly envelopes have none.
    pub data: Option<CertificationData>,
}

impl Unsealed {
    /// Signs the entity and returns the whole message. `signer` is the key of the issuer whose
    /// service address stands in From (RFC 6109 §2.1).
    ///
    /// Blocks while it signs; call it on the pool for signing. The included message is copied
    /// once more here, on its way to the store.
    pub fn seal(&self, signer: &dyn MessageSigner, issuer: &Issuer) -> Result<Vec<u8>, SignError> {
        multipart_signed(signer, &self.header, &self.entity, &issuer.identifiers.boundary())
    }
}

/// The subject of a generated message: `prefix` and the original's subject on one line.
pub(super) fn prefixed_subject(prefix: &str, subject: Option<&str>) -> Field {
    let text = match subject.map(str::trim) {
        None | Some("") => prefix.trim_end().to_owned(),
        Some(subject) => format!("{prefix}{subject}"),
    };
    Field::new("Subject", encode(&text, "Subject".len()).as_bytes())
}

impl Issuer {
    /// The header of a receipt or notice: the fixed set of RFC 6109 §3.1.2 to §3.3.3.
    pub(super) fn notice_header(
        &self,
        markers: &[(&str, &str)],
        at: &CertifiedInstant,
        subject: Field,
        to: &str,
        reference: Option<Field>,
    ) -> (Header, String) {
        let message_id = self.identifiers.message_id(at);
        let mut header = Header::default();
        for (name, value) in markers {
            header.push(Field::new(name, value.as_bytes()));
        }
        header.push(Field::new("Date", at.header_date().as_bytes()));
        header.push(subject);
        header.push(Field::new("From", self.service_address.as_str().as_bytes()));
        header.push(Field::new("To", to.as_bytes()));
        header.push(Field::new("Message-ID", message_id.as_bytes()));
        if let Some(reference) = reference {
            header.push(reference);
        }
        (header, message_id)
    }
}
