//! `[receipts]`: what the rules leave open about receipts, where providers differ.

use super::{
    reader::Reader,
    source::Raw,
    value::{Setting, quoted},
};
use crate::{pec::brief::BriefHash, texts::Text};

/// `[receipts]`: the form of receipts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiptsSettings {
    /// What the hashes of a brief receipt are taken of (RFC 6109 §3.3.2.2).
    pub brief_hash: BriefHash,
}

impl Setting for BriefHash {
    fn expected() -> Text {
        Text::fixed("\"encoded\" oppure \"decoded\"", "\"encoded\" or \"decoded\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "encoded" => Some(Self::Encoded),
            "decoded" => Some(Self::Decoded),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Encoded => "encoded",
            Self::Decoded => "decoded",
        })
    }
}

impl ReceiptsSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "receipts",
            Text::fixed(
                "La forma delle ricevute, dove le regole la lasciano aperta.",
                "The form of receipts, where the rules leave it open.",
            ),
        );
        let brief_hash = section.key(
            "brief_hash",
            BriefHash::Encoded,
            Text::fixed(
                "Le impronte di una ricevuta breve: dell'allegato codificato, come sta nella busta (\"encoded\"), o del file (\"decoded\").",
                "The hashes of a brief receipt: of the attachment as encoded in the envelope (\"encoded\"), or of the file (\"decoded\").",
            ),
        );
        Self { brief_hash }
    }
}
