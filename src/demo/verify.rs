//! Verifies what the providers made, with public tools only: the S/MIME signature with `openssl`,
//! the certification data with `xmllint` against the document type of the rules.

use std::path::{Path, PathBuf};

use super::{
    entity::Entity,
    tools::{ToolError, run},
};
use crate::pec::daticert::DATICERT_DTD;

/// Why a message does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot keep {path}: check the disk")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the signed content has no {0}")]
    NoPart(&'static str),
    #[error("From is `{from}`, but the certificate is for `{certified}`")]
    Signer { from: String, certified: String },
    #[error("{header} and the certification data disagree: `{outside}` and `{inside}`")]
    Disagreement { header: &'static str, outside: String, inside: String },
}

/// A provider's message whose signature and certification data hold.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// `tipo` of the certification data.
    pub(super) kind: String,
    /// `errore` of the certification data.
    pub(super) error: String,
    /// `ricevuta/@tipo`: the kind of delivery receipt.
    pub(super) receipt: String,
    /// The identifier of the transmission, without angle brackets.
    pub(super) identifier: String,
    /// The client's Message-ID, with its angle brackets.
    pub(super) message_id: String,
    /// The recipient whom the message speaks of.
    pub(super) recipient: String,
    /// `dd/mm/yyyy hh:mm:ss zone`.
    pub(super) instant: String,
    /// The original message, when it is inside.
    pub(super) original: Option<Vec<u8>>,
}

/// Verifies messages against one authority, keeping what it cuts out beside them.
#[derive(Debug)]
pub(super) struct Verifier {
    authority: PathBuf,
    document_type: PathBuf,
}

impl Verifier {
    /// Keeps the document type in `folder`.
    pub(super) fn new(authority: &Path, folder: &Path) -> Result<Self, VerifyError> {
        let document_type = folder.join("daticert.dtd");
        keep(&document_type, DATICERT_DTD.as_bytes())?;
        Ok(Self { authority: authority.to_owned(), document_type })
    }

    /// Verifies the message in `file`.
    pub(super) async fn verify(&self, file: &Path) -> Result<Verified, VerifyError> {
        let content = self.signed_content(file).await?;
        let entity = Entity::cut(&content).ok_or(VerifyError::NoPart("header"))?;
        let data = entity
            .leaf_named("daticert.xml")
            .and_then(|leaf| leaf.decoded())
            .ok_or(VerifyError::NoPart("daticert.xml"))?;
        let data_file = file.with_extension("daticert.xml");
        keep(&data_file, &data)?;
        let mut verified = self.certification_data(&data_file).await?;
        verified.original = entity.leaf_named("postacert.eml").and_then(|leaf| leaf.decoded());
        agree_with_header(file, &verified)?;
        Ok(verified)
    }

    /// The octets under the signature, after `openssl` has verified the signature, the chain up to the
    /// authority and the purpose, and after the signer has been compared with From (RFC 6109 §2.1).
    async fn signed_content(&self, file: &Path) -> Result<Vec<u8>, VerifyError> {
        let signer = file.with_extension("signer.pem");
        let arguments = [
            "cms".as_ref(),
            "-verify".as_ref(),
            "-in".as_ref(),
            file.as_os_str(),
            "-CAfile".as_ref(),
            self.authority.as_os_str(),
            "-signer".as_ref(),
            signer.as_os_str(),
        ];
        let content = run("openssl", arguments, &[]).await?;
        let arguments = [
            "x509".as_ref(),
            "-noout".as_ref(),
            "-email".as_ref(),
            "-in".as_ref(),
            signer.as_os_str(),
        ];
        let printed = run("openssl", arguments, &[]).await?;
        let certified = String::from_utf8_lossy(&printed).trim().to_owned();
        let message = read(file)?;
        let from =
            Entity::cut(&message).and_then(|entity| entity.value("From")).unwrap_or_default();
        if !certified.is_empty() && from.to_lowercase().contains(&certified.to_lowercase()) {
            return Ok(content);
        }
        Err(VerifyError::Signer { from, certified })
    }

    /// Validates `file` and reads what the checks need.
    async fn certification_data(&self, file: &Path) -> Result<Verified, VerifyError> {
        let arguments = [
            "--noout".as_ref(),
            "--nonet".as_ref(),
            "--dtdvalid".as_ref(),
            self.document_type.as_os_str(),
            file.as_os_str(),
        ];
        run("xmllint", arguments, &[]).await?;
        let paths = [
            "/postacert/@tipo",
            "/postacert/@errore",
            "/postacert/dati/ricevuta/@tipo",
            "/postacert/dati/identificativo",
            "/postacert/dati/msgid",
            "/postacert/dati/consegna",
            "/postacert/dati/data/giorno",
            "/postacert/dati/data/ora",
            "/postacert/dati/data/@zona",
        ];
        let query = format!("concat({})", paths.join(",'\n',"));
        let arguments = ["--nonet".as_ref(), "--xpath".as_ref(), query.as_ref(), file.as_os_str()];
        let printed = run("xmllint", arguments, &[]).await?;
        let text = String::from_utf8_lossy(&printed).into_owned();
        let mut values = text.split('\n').map(|value| value.trim().to_owned());
        let mut next = || values.next().unwrap_or_default();
        Ok(Verified {
            kind: next(),
            error: next(),
            receipt: next(),
            identifier: next(),
            message_id: next(),
            recipient: next(),
            instant: format!("{} {} {}", next(), next(), next()),
            original: None,
        })
    }
}

/// The marker header must say what the certification data say (RFC 6109 §2.1.1).
fn agree_with_header(file: &Path, verified: &Verified) -> Result<(), VerifyError> {
    let message = read(file)?;
    let outside = Entity::cut(&message);
    let value = |name| outside.and_then(|entity| entity.value(name)).unwrap_or_default();
    let header = if verified.kind == "posta-certificata" { "X-Trasporto" } else { "X-Ricevuta" };
    let pairs = [
        (header, value(header), verified.kind.clone()),
        (
            "X-Riferimento-Message-ID",
            value("X-Riferimento-Message-ID"),
            verified.message_id.clone(),
        ),
    ];
    for (header, outside, inside) in pairs {
        if outside != inside {
            return Err(VerifyError::Disagreement { header, outside, inside });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, VerifyError> {
    std::fs::read(path).map_err(|source| VerifyError::File { path: path.to_owned(), source })
}

fn keep(path: &Path, octets: &[u8]) -> Result<(), VerifyError> {
    std::fs::write(path, octets)
        .map_err(|source| VerifyError::File { path: path.to_owned(), source })
}
