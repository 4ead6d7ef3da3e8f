//! `[imap]`: what only IMAP has.

use super::{reader::Reader, units::Octets};
use crate::texts::Text;

/// `[imap]`: annotations, patterns of LIST, and who sets space.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImapSettings {
    /// Addresses of accounts that may set the space of others (SETQUOTA).
    pub quota_operators: Vec<String>,
    /// Annotations of one account.
    pub annotations_per_account_max: u32,
    /// Octets of all annotations of one account, names counted.
    pub annotation_octets_per_account_max: Octets,
    /// Octets of the value of one annotation.
    pub annotation_octets_max: Octets,
    /// Patterns of one LIST.
    pub list_patterns_max: usize,
    /// Octets of all patterns of one LIST.
    pub list_pattern_octets_max: Octets,
}

const SIZE: (Octets, Octets) = (Octets::kilobytes(1), Octets::megabytes(16));

impl ImapSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "imap",
            Text::fixed(
                "Annotazioni, elenchi di cartelle e chi imposta lo spazio via IMAP.",
                "Annotations, lists of mailboxes, and who sets space by IMAP.",
            ),
        );
        Self {
            quota_operators: section.key(
                "quota_operators",
                Vec::new(),
                Text::fixed(
                    "Caselle degli operatori che impostano lo spazio altrui con SETQUOTA, come [\"operatore@pec.example\"].",
                    "Accounts of operators who set the space of others by SETQUOTA, such as [\"operatore@pec.example\"].",
                ),
            ),
            annotations_per_account_max: section.within(
                "annotations_per_account_max",
                1_000,
                (1, 100_000),
                Text::fixed(
                    "Annotazioni (METADATA) di una casella, tutte le cartelle insieme.",
                    "Annotations (METADATA) of one account, all mailboxes together.",
                ),
            ),
            annotation_octets_per_account_max: section.within(
                "annotation_octets_per_account_max",
                Octets::kilobytes(256),
                SIZE,
                Text::fixed(
                    "Ottetti di tutte le annotazioni di una casella, nomi compresi.",
                    "Octets of all annotations of one account, names counted.",
                ),
            ),
            annotation_octets_max: section.within(
                "annotation_octets_max",
                Octets::kilobytes(16),
                SIZE,
                Text::fixed(
                    "Ottetti del valore di un'annotazione.",
                    "Octets of the value of one annotation.",
                ),
            ),
            list_patterns_max: section.within(
                "list_patterns_max",
                100,
                (1, 10_000),
                Text::fixed("Modelli di nomi in un LIST.", "Patterns of names in one LIST."),
            ),
            list_pattern_octets_max: section.within(
                "list_pattern_octets_max",
                Octets::kilobytes(4),
                (Octets::kilobytes(1), Octets::kilobytes(64)),
                Text::fixed(
                    "Ottetti di tutti i modelli di un LIST.",
                    "Octets of all patterns of one LIST.",
                ),
            ),
        }
    }
}
