//! What the snapshots' floor says in English, in Italian: what `store check` finds there, and its errors.
//!
//! An error that a restore has noted is a sentence by now: [`trouble`] knows it by its words.
//!
//! Not here: errors of the store ([`super::store`]), the kinds for programs (`control::operations::check`), what an error means for who asked
//! (`control::operations::snapshot`).

use ::snapshots::{check::SnapshotFault, error::SnapshotError};

use super::{Text, below, store};

/// A fault as a person reads it, after the name of its object.
#[must_use]
pub fn fault(fault: &SnapshotFault) -> Text {
    let italian = match fault {
        SnapshotFault::Damaged { detail } => return below::detail(detail),
        SnapshotFault::NoAccount => "non è di alcuna casella".to_owned(),
        SnapshotFault::NoSecret => "manca il segreto della casella".to_owned(),
        SnapshotFault::NotLater => "non è successiva a quella precedente".to_owned(),
        SnapshotFault::ChainBroken => "non nomina l'istantanea precedente".to_owned(),
        SnapshotFault::Miscounted => {
            "la sua riga conta altro rispetto a quanto ha il suo stato".to_owned()
        }
        SnapshotFault::PageLost { page, detail } => {
            let detail = below::detail(detail);
            format!("la sua pagina {page} manca o è danneggiata: {}", detail.italian)
        }
        SnapshotFault::RowsMiscounted { counted, found } => {
            format!("un albero ha {found} righe dove ne sono contate {counted}")
        }
        SnapshotFault::MessageLost { message, uid } => {
            format!("il messaggio {message} dello UID {uid} manca o è un altro")
        }
        SnapshotFault::NotListed => "una pagina partita dopo non è elencata".to_owned(),
        SnapshotFault::ListedWrongly => "è elencata una pagina che non è partita dopo".to_owned(),
        SnapshotFault::ListedUnderNone => {
            "è elencato ciò che è partito dopo un'istantanea che non c'è".to_owned()
        }
        SnapshotFault::Leftover => "la pagina non è di alcuna istantanea".to_owned(),
        SnapshotFault::RunChainBroken => "non nomina il giro precedente".to_owned(),
        SnapshotFault::RunsMiscounted => {
            "dell'ultimo giro dice altro rispetto alla riga di quello".to_owned()
        }
        SnapshotFault::ListedUnderNoRun => "è di un giro che non c'è".to_owned(),
        SnapshotFault::LeftoverOfRuns => "la pagina non è di alcun giro".to_owned(),
    };
    Text::filled(italian, fault.to_string())
}

/// What a person is told about an error of the snapshots' floor.
#[must_use]
pub fn error(error: &SnapshotError) -> Text {
    let remedy = "eseguire `ceralacca store check` e ripristinare da un back-up";
    let italian = match error {
        SnapshotError::PageMissing(page) => {
            format!("manca la pagina {page} di un'istantanea: {remedy}")
        }
        SnapshotError::Damaged { object, detail } => {
            let (object, detail) = (below::object(object), below::detail(detail));
            format!("danneggiato: {} ({}): {remedy}", object.italian, detail.italian)
        }
        SnapshotError::LimitExceeded { what, limit, remedy } => {
            let (what, remedy) = (below::object(what), below::object(remedy));
            format!("{} supera il limite di {limit}: {}", what.italian, remedy.italian)
        }
        SnapshotError::NoSuchSnapshot { number, .. } => {
            format!("l'istantanea {number} non c'è (più): elencarle di nuovo")
        }
        SnapshotError::TooSoon(_) => {
            "c'è già un'istantanea di questo secondo: riprovare tra un secondo".to_owned()
        }
        SnapshotError::TooBusy(_) => {
            "la casella cambia troppo in fretta per un'istantanea: riprovare più tardi".to_owned()
        }
        SnapshotError::Held { number, reason, .. } => {
            format!("l'istantanea {number} è trattenuta ({reason}): togliere prima il vincolo")
        }
        SnapshotError::TooManyRestores { limit, .. } => format!(
            "la casella ha già {limit} ripristini che non sono finiti: aspettarne uno, o annullarlo"
        ),
        SnapshotError::InPlaceOpen { number, .. } => format!(
            "il ripristino {number} rimette i messaggi dove erano e non è finito: aspettarlo, riprenderlo (restore-resume) o annullarlo (restore-cancel)"
        ),
        SnapshotError::NotPresent => {
            "l'istantanea non contiene un tale messaggio: `ceralacca snapshot browse` mostra quelli che contiene".to_owned()
        }
        SnapshotError::Store(error) => return store::error(error),
        // A variant of a newer floor.
        other => format!("errore delle istantanee ({other})"),
    };
    Text::filled(italian, error.to_string())
}

/// Why a restore stopped, as its job notes it: an error's English.
#[must_use]
pub fn trouble(english: &str) -> Text {
    store::sentence(english)
}

#[cfg(test)]
mod tests {
    use storage::{error::StoreError, ids::AccountId};

    use super::*;
    use crate::texts::Language;

    #[test]
    fn every_error_is_said_in_italian_and_in_english() {
        let account = AccountId(7);
        let reason = "causa 12".to_owned();
        let stopped = StoreError::OverQuota { resource: "octets", used: 9, limit: 10 };
        let damaged = StoreError::Damaged {
            object: "message 3 of account 7".to_owned(),
            detail: "the record is empty".to_owned(),
        };
        for (met, italian) in [
            (SnapshotError::NoSuchSnapshot { account, number: 3 }, "l'istantanea 3 non c'è"),
            (SnapshotError::TooSoon(account), "c'è già un'istantanea di questo secondo"),
            (SnapshotError::TooBusy(account), "la casella cambia troppo in fretta"),
            (
                SnapshotError::Held { account, number: 3, reason },
                "l'istantanea 3 è trattenuta (causa 12)",
            ),
            (
                SnapshotError::TooManyRestores { account, limit: 20 },
                "la casella ha già 20 ripristini",
            ),
            (SnapshotError::InPlaceOpen { account, number: 2 }, "il ripristino 2 rimette"),
            (SnapshotError::NotPresent, "l'istantanea non contiene"),
            (
                SnapshotError::LimitExceeded {
                    what: "the number of mailboxes of an account",
                    limit: 8,
                    remedy: "delete some of them first",
                },
                "il numero delle cartelle di una casella supera il limite di 8: eliminarne prima alcune",
            ),
            (
                SnapshotError::Damaged { object: "account 7".to_owned(), detail: "it is empty" },
                "danneggiato: casella 7 (è vuoto)",
            ),
            (stopped.into(), "spazio esaurito: usati 9 ottetti su 10"),
            (damaged.into(), "danneggiato: messaggio 3 della casella 7 (la riga è vuota)"),
            (StoreError::Conflict.into(), "i dati sono cambiati nel frattempo"),
            (StoreError::Closed.into(), "l'archivio si sta chiudendo"),
            (
                StoreError::NoSuchMailboxName("Clienti".to_owned()).into(),
                "nessuna cartella si chiama",
            ),
        ] {
            let text = error(&met);
            assert!(text.get(Language::Italian).starts_with(italian), "{text:?}");
            assert_eq!(text.get(Language::English), met.to_string());
        }
    }

    #[test]
    fn why_a_restore_stopped_is_said_in_italian_where_the_error_is_known() {
        let over = StoreError::OverQuota { resource: "mailboxes", used: 5, limit: 5 }.to_string();
        let known = trouble(&over);
        assert_eq!(known.get(Language::Italian), "troppe cartelle: 5 su 5; eliminarne alcune");
        assert_eq!(known.get(Language::English), over);
        let missing = trouble(::snapshots::restore::CHUNKS_MISSING);
        assert!(missing.get(Language::Italian).starts_with("mancano chunk dei messaggi"));
        assert_eq!(trouble("else").get(Language::Italian), "errore dell'archivio (else)");
    }

    #[test]
    fn a_fault_is_said_with_its_values_in_both_languages() {
        let lost = fault(&SnapshotFault::MessageLost { message: 4, uid: 2 });
        assert_eq!(lost.get(Language::Italian), "il messaggio 4 dello UID 2 manca o è un altro");
        assert_eq!(lost.get(Language::English), "message 4 of UID 2 is missing or another");
        let counted = fault(&SnapshotFault::RowsMiscounted { counted: 3, found: 2 });
        assert_eq!(counted.get(Language::Italian), "un albero ha 2 righe dove ne sono contate 3");
    }
}
