//! What `store check` of the storage floor finds, kind by kind, in Italian and English.
//!
//! Not here: details of records that cannot be read ([`super::below`]), the engine's own faults and
//! those of the registry (beside their values, in `control::operations::check`).

use storage::check::{Counter, Fault};

use super::{Text, below};

/// A fault as a person reads it, after the name of its object.
#[must_use]
pub fn fault(fault: &Fault) -> Text {
    match fault {
        Fault::Damaged { detail } => below::detail(detail),
        other => Text::filled(italian(other), other.to_string()),
    }
}

fn italian(fault: &Fault) -> String {
    match fault {
        Fault::Damaged { detail } => detail.clone(),
        Fault::AddressLost { address } => format!("il suo indirizzo {address} non porta lì"),
        Fault::AddressLeadsElsewhere { account } => {
            format!("porta alla casella {account}, che ne ha un altro")
        }
        Fault::NoAccount { account } => format!("la casella {account} non esiste"),
        Fault::MailboxesMiscounted { counted, found } => {
            format!("conta {counted} cartelle e ne ha {found}")
        }
        Fault::UsageMiscounted { what, counted, found } => {
            format!("il suo uso è {counted} {0}, le sue righe ne hanno {found}", counter(*what))
        }
        Fault::Miscounted { what, counted, found } => {
            format!("conta {counted} {0}, le sue righe ne hanno {found}", counter(*what))
        }
        Fault::ChangesMiscounted { rows, entries } => {
            format!("{rows} righe hanno {entries} voci nell'indice")
        }
        Fault::NameLeadsElsewhere { mailbox } => {
            format!("porta alla cartella {mailbox}, che non si chiama così")
        }
        Fault::NameLost { name } => format!("il suo nome {name:?} non porta lì"),
        Fault::BlockDiffers { uid } => {
            format!("dice altro rispetto alle righe dopo lo UID {uid}")
        }
        Fault::NoMessage { number } => format!("il suo messaggio {number} non esiste"),
        Fault::ReferencesMiscounted { rows, recorded } => {
            format!("{rows} righe lo nominano, annotate ne sono {recorded}")
        }
        Fault::DepartedUnderNothing { snapshot } => {
            format!("figura partito sotto l'istantanea {snapshot}, che non fu mai presa")
        }
        Fault::DepartedHasRows { rows } => format!("figura partito e ha {rows} righe"),
        Fault::DepartedTwice { times } => format!("figura partito {times} volte"),
        without_values => sentence(without_values).to_owned(),
    }
}

/// Kinds that have no values.
fn sentence(fault: &Fault) -> &'static str {
    match fault {
        Fault::NoSettings => "non ha impostazioni",
        Fault::NoMailbox => "la cartella non esiste",
        Fault::MailboxIdNotBelowNext => "il suo MailboxId non è sotto il prossimo",
        Fault::UidValidityTwice => "un'altra cartella ha il suo UIDVALIDITY",
        Fault::UidValidityNotBelowNext => "il suo UIDVALIDITY non è sotto il prossimo",
        Fault::HighestModSeqNotBelowNext => {
            "il suo HIGHESTMODSEQ non è sotto il prossimo MODSEQ della casella"
        }
        Fault::TierDiffers => "non è contata dove dice il suo nome, tra la posta e l'archivio",
        Fault::RecentAfterUidNext => "i suoi messaggi recenti cominciano dopo UIDNEXT",
        Fault::DeletionsDisagree => {
            "la sua riga e l'elenco delle eliminazioni in corso non sono d'accordo"
        }
        Fault::NoChangeEntry => "una riga con quel MODSEQ e quello UID non ha la voce nell'indice",
        Fault::UidNotBelowNext => "lo UID non è sotto UIDNEXT",
        Fault::ModSeqAboveHighest => "il MODSEQ è sopra lo HIGHESTMODSEQ della cartella",
        Fault::EmailNumberNotBelowNext => "lo EmailNumber non è sotto il prossimo della casella",
        Fault::NeverGiven => "nomina uno UID o un MODSEQ mai assegnato",
        Fault::ExpungedHasRow => "chiama rimosso uno UID che ha una riga",
        Fault::RowDiffers => "dimensione o digest non sono quelli del suo messaggio",
        Fault::NumberNotBelowNext => "il suo numero non è sotto il prossimo della casella",
        Fault::ReferencesOfNothing => "sono annotate righe di un messaggio che manca",
        Fault::DepartedMissing => "figura partito e non esiste",
        Fault::SnapshotNotBelowNext => {
            "quel che annota della sua ultima istantanea non è sotto i suoi prossimi numeri"
        }
        Fault::ErasuresDisagree => {
            "la sua riga e l'elenco dei messaggi cancellati non sono d'accordo"
        }
        Fault::SummaryAlone => "ha un riassunto e nessuna riga",
        Fault::NoSummary => "non ha riassunto",
        Fault::SummarySize => "il suo riassunto ha un'altra dimensione",
        Fault::SummaryErasure => {
            "la sua riga e il suo riassunto non sono d'accordo se fu cancellato"
        }
        Fault::HeadersDiffer => "un blocco ha intestazioni diverse dal suo riassunto",
        Fault::HeldKey => "la sua chiave non è di 16 ottetti",
        // Said by `italian`, with their values.
        Fault::Damaged { .. }
        | Fault::AddressLost { .. }
        | Fault::AddressLeadsElsewhere { .. }
        | Fault::NoAccount { .. }
        | Fault::MailboxesMiscounted { .. }
        | Fault::UsageMiscounted { .. }
        | Fault::Miscounted { .. }
        | Fault::ChangesMiscounted { .. }
        | Fault::NameLeadsElsewhere { .. }
        | Fault::NameLost { .. }
        | Fault::BlockDiffers { .. }
        | Fault::NoMessage { .. }
        | Fault::DepartedUnderNothing { .. }
        | Fault::DepartedHasRows { .. }
        | Fault::DepartedTwice { .. }
        | Fault::ReferencesMiscounted { .. } => "danneggiato",
    }
}

fn counter(what: Counter) -> &'static str {
    match what {
        Counter::Messages => "messaggi",
        Counter::Unseen => "messaggi senza \\Seen",
        Counter::Deleted => "messaggi con \\Deleted",
        Counter::Octets => "ottetti",
        Counter::ChargedOctets => "ottetti addebitati",
        Counter::ArchiveOctets => "ottetti dell'archivio",
        Counter::ArchiveMessages => "messaggi dell'archivio",
    }
}

#[cfg(test)]
mod tests {
    use storage::ids::{AccountId, EmailNumber, MailboxId};

    use super::*;
    use crate::texts::Language;

    #[test]
    fn a_fault_is_said_with_its_values_in_both_languages() {
        let rows: [(Fault, &str, &str); 8] = [
            (
                Fault::Miscounted { what: Counter::Unseen, counted: 5, found: 4 },
                "conta 5 messaggi senza \\Seen, le sue righe ne hanno 4",
                "it counts 5 messages without \\Seen, its rows have 4",
            ),
            (
                Fault::UsageMiscounted { what: Counter::Octets, counted: 9, found: 8 },
                "il suo uso è 9 ottetti, le sue righe ne hanno 8",
                "its usage is 9 octets, its rows have 8",
            ),
            (
                Fault::ReferencesMiscounted { rows: 2, recorded: 1 },
                "2 righe lo nominano, annotate ne sono 1",
                "2 rows refer to it, recorded are 1",
            ),
            (
                Fault::NameLeadsElsewhere { mailbox: MailboxId(3) },
                "porta alla cartella 3, che non si chiama così",
                "it leads to mailbox 3, which is not called that",
            ),
            (
                Fault::NoMessage { number: EmailNumber(7) },
                "il suo messaggio 7 non esiste",
                "its message 7 does not exist",
            ),
            (
                Fault::NoAccount { account: AccountId(8) },
                "la casella 8 non esiste",
                "account 8 does not exist",
            ),
            (
                Fault::Damaged { detail: "3 octets instead of 5".to_owned() },
                "3 ottetti invece di 5",
                "3 octets instead of 5",
            ),
            (
                Fault::Damaged { detail: "a library's words".to_owned() },
                "danneggiato (a library's words)",
                "a library's words",
            ),
        ];
        for (found, italian, english) in rows {
            let text = fault(&found);
            assert_eq!(text.get(Language::Italian), italian);
            assert_eq!(text.get(Language::English), english);
        }
    }
}
