//! What the store says in English when it refuses or fails, in Italian.
//!
//! Its errors are found by their words, so that one that was noted as a sentence (a restore that
//! stopped) is known as well as one that was just met. `tests/house` compares this list with the
//! sources of the store.
//!
//! Not here: the lists of `repair` and `scrub`, names of objects and their damages ([`super::below`]).

use std::error::Error;

use storage::error::StoreError;

use super::{Text, below};

/// What a person is told about an error of the store.
#[must_use]
pub fn error(error: &StoreError) -> Text {
    sentence(&with_causes(error))
}

/// What a person is told about any error: of the store in both languages, else the message of the cause,
/// in English.
#[must_use]
pub fn of_machine(error: &(dyn Error + 'static)) -> Text {
    if let Some(known) = error.downcast_ref::<StoreError>() {
        return self::error(known);
    }
    let text = with_causes(error);
    Text::filled(text.clone(), text)
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error of the store, or of snapshots, by its English.
#[must_use]
pub fn sentence(english: &str) -> Text {
    let italian =
        translated(english).unwrap_or_else(|| format!("errore dell'archivio ({english})"));
    Text::filled(italian, english.to_owned())
}

/// Whether an error stands here.
#[must_use]
pub fn is_known(english: &str) -> bool {
    translated(english).is_some()
}

fn translated(english: &str) -> Option<String> {
    let fixed = FIXED.iter().find(|(fixed, _)| *fixed == english);
    fixed.map(|(_, italian)| (*italian).to_owned()).or_else(|| below::translated(english, &FILLED))
}

const FIXED: [(&str, &str); 8] = [
    (
        "the catalog changed meanwhile: read again and retry",
        "i dati sono cambiati nel frattempo: riprovare",
    ),
    ("the store is shutting down: retry later", "l'archivio si sta chiudendo: riprovare più tardi"),
    (
        "the mailbox is read-only: copy the messages to another mailbox instead",
        "la cartella è di sola lettura: copiare i messaggi in un'altra",
    ),
    (
        "the mailbox belongs to another account: read the message and append it instead",
        "la cartella è di un'altra casella: leggere il messaggio e inserirlo",
    ),
    (
        "this object store belongs to another installation: check folder, bucket and prefix of [objects] and [backup]; \
         a new store wants an empty one",
        "questi oggetti sono di un'altra installazione: controllare folder, bucket e prefix di [objects] e [backup]; \
         un archivio nuovo ne vuole di vuoti",
    ),
    (
        "this store was restored for a rehearsal: it can be read and checked, but it serves, ships and collects nothing",
        "questo archivio è stato ripristinato per una prova: si può leggere e controllare, ma non serve, non spedisce e \
         non raccoglie nulla",
    ),
    (
        "the snapshot holds no such message: `ceralacca snapshot browse` shows those that it holds",
        "l'istantanea non contiene un tale messaggio: `ceralacca snapshot browse` mostra quelli che contiene",
    ),
    (::snapshots::export::OTHER_OCTETS, "i suoi ottetti non sono quelli che l'istantanea nomina"),
];

/// `{}` is the same value in both, in the same order.
const FILLED: [(&str, &str); 34] = [
    (
        "the store refused a batch twice: {}",
        "mancano chunk dei messaggi: eseguire `ceralacca store check`, rimediare a ciò che indica, poi riprendere il ripristino",
    ),
    (
        "account {} does not exist: check the address, {}",
        "la casella {} non esiste: controllare l'indirizzo",
    ),
    (
        "mailbox {} of account {} does not exist: {}",
        "la cartella {} della casella {} non esiste (più)",
    ),
    ("no mailbox is called {}: create it first", "nessuna cartella si chiama {}: crearla prima"),
    ("a mailbox called {} exists already: {}", "una cartella {} c'è già: scegliere un altro nome"),
    ("{} cannot name a mailbox: {}", "{} non può essere il nome di una cartella ({})"),
    ("{} cannot be deleted or renamed this way", "{} non si elimina né si rinomina così"),
    (
        "mailbox {} has that special use already: {}",
        "la cartella {} ha già quell'uso speciale: toglierlo prima da lì",
    ),
    (
        "an account keeps {} annotations at most: {}",
        "una casella tiene al più {} annotazioni: toglierne prima alcune",
    ),
    (
        "the value of an annotation has {} octets at most: {}",
        "il valore di un'annotazione ha al più {} ottetti: accorciarlo",
    ),
    (
        "{} belongs to account {} already: {}",
        "{} è già della casella {}: dare prima a quella un altro indirizzo",
    ),
    ("message {} of account {} does not exist", "il messaggio {} della casella {} non esiste"),
    (
        "message {} of mailbox {} of account {} is gone: {}",
        "il messaggio {} della cartella {} della casella {} non c'è più: elencare di nuovo la cartella",
    ),
    // Before those that end in the same words.
    (
        "over quota: {} of {} archive octets are used; {}",
        "archivio pieno: usati {} ottetti su {}; fare spazio o acquistarne altro",
    ),
    (
        "over quota: {} of {} archive messages are used; {}",
        "archivio pieno: {} messaggi su {}; cancellarne alcuni o ampliare l'archivio",
    ),
    (
        "over quota: {} of {} annotation octets are used; {}",
        "troppe annotazioni: {} ottetti su {}; toglierne alcune",
    ),
    (
        "over quota: {} of {} octets are used; {}",
        "spazio esaurito: usati {} ottetti su {}; fare spazio o acquistarne altro",
    ),
    (
        "over quota: {} of {} messages are used; {}",
        "troppi messaggi: {} su {}; cancellarne alcuni o ampliare la casella",
    ),
    ("over quota: {} of {} mailboxes are used; {}", "troppe cartelle: {} su {}; eliminarne alcune"),
    (
        "over quota: {} of {} {} are used; {}",
        "limite raggiunto: {} su {} ({}); eliminare qualcosa o ampliare la casella",
    ),
    (
        "{} was erased for a reason that the journal names: {}",
        "cancellato per un motivo che sta nel giornale, non si legge più: {}",
    ),
    (
        "account {} has no snapshot {}: {}",
        "la casella {} non ha (più) l'istantanea {}: elencarle di nuovo",
    ),
    (
        "snapshot {} of account {} has expired: {}",
        "l'istantanea {} della casella {} è scaduta: elencarle di nuovo",
    ),
    (
        "page {} of a snapshot is missing: {}",
        "manca la pagina {} di un'istantanea: eseguire `ceralacca store check` e ripristinare da un back-up",
    ),
    ("{} are used up: copy {}", "esauriti: {}; copiare i messaggi in una cartella nuova"),
    ("{} exceeds the limit of {}: {}", "{} supera il limite di {}: {}"),
    (
        "{} is damaged ({}): run {}",
        "danneggiato: {} ({}): eseguire `ceralacca store check` e ripristinare da un back-up",
    ),
    (
        "{} has format {}, this program reads up to {}: {}",
        "{}: formato {}, questo programma legge fino a {}; aggiornare questo nodo",
    ),
    (
        "the catalog cannot {}: check disk space and the log of the engine, then retry",
        "il catalogo non risponde ({}): controllare spazio sul disco e log del motore, poi riprovare",
    ),
    (
        "the catalog cannot {}: check disk space and the log of the engine, then retry: {}",
        "il catalogo non risponde ({}): controllare spazio sul disco e log del motore, poi riprovare ({})",
    ),
    (
        "the object store cannot {} {}: check that it is reachable, then retry",
        "l'archivio degli oggetti non risponde ({} {}): controllare che sia raggiungibile, poi riprovare",
    ),
    (
        "the object store cannot {} {}: check that it is reachable, then retry: {}",
        "l'archivio degli oggetti non risponde ({} {}): controllare che sia raggiungibile, poi riprovare ({})",
    ),
    (
        "this store is of epoch {}, and epoch {} was claimed by another node {}",
        "questo archivio è dell'epoca {}, e l'epoca {} è di un altro nodo ripristinato dal suo back-up: spegnere questo \
         nodo per sempre, o riprendersi l'archivio con `ceralacca store take-over`",
    ),
    (
        "epoch {} is claimed and not all numbers are raised: repeat {}",
        "l'epoca {} è presa e non tutti i numeri sono alzati: ripetere `ceralacca store take-over --yes`",
    ),
];

#[cfg(test)]
mod tests {
    use storage::ids::AccountId;

    use super::*;
    use crate::texts::Language;

    #[test]
    fn what_a_person_can_meet_is_said_in_italian_with_its_values() {
        let io = || Box::new(std::io::Error::other("disk full"));
        for (met, italian) in [
            (
                StoreError::OverQuota { resource: "octets", used: 9, limit: 10 },
                "spazio esaurito: usati 9 ottetti su 10; fare spazio o acquistarne altro",
            ),
            (
                StoreError::OverQuota { resource: "archive messages", used: 9, limit: 10 },
                "archivio pieno: 9 messaggi su 10; cancellarne alcuni o ampliare l'archivio",
            ),
            (
                StoreError::NoSuchAccount(AccountId(7)),
                "la casella 7 non esiste: controllare l'indirizzo",
            ),
            (StoreError::ReadOnly, "la cartella è di sola lettura: copiare i messaggi in un'altra"),
            (
                StoreError::InvalidMailboxName {
                    name: " a".to_owned(),
                    reason: "it has more than 20 levels",
                },
                "\" a\" non può essere il nome di una cartella (ha più di 20 livelli)",
            ),
            (
                StoreError::LimitExceeded {
                    what: "the number of messages in one change",
                    limit: 8,
                    remedy: "choose fewer messages at once",
                },
                "il numero dei messaggi in una sola modifica supera il limite di 8: sceglierne meno per volta",
            ),
            (
                StoreError::Damaged {
                    object: "message 3 of account 7".to_owned(),
                    detail: "the record is empty".to_owned(),
                },
                "danneggiato: messaggio 3 della casella 7 (la riga è vuota): eseguire `ceralacca store check` e ripristinare \
                 da un back-up",
            ),
            (
                StoreError::Engine { operation: "commit", source: io() },
                "il catalogo non risponde (commit): controllare spazio sul disco e log del motore, poi riprovare (disk full)",
            ),
            (
                StoreError::Exhausted("UIDs"),
                "esauriti: UID; copiare i messaggi in una cartella nuova",
            ),
        ] {
            let text = of_machine(&met);
            assert_eq!(text.get(Language::Italian), italian);
            assert!(text.get(Language::English).starts_with(&met.to_string()), "{text:?}");
        }
        let unknown = of_machine(&std::io::Error::other("disk full"));
        assert_eq!(unknown.get(Language::Italian), "disk full");
    }
}
