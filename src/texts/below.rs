//! What the store says in English about its objects and their damages, in Italian.
//!
//! The floors below speak English alone: in errors, which name an object and say what is wrong, and
//! in the lists of `repair`, `scrub`, `collect` and `rebuild-index`. Their sentences are few, and each
//! stands here with its Italian; `{}` is the same value in both, in the same order. A value that is
//! an object's name is put into Italian too. A detail that does not stand here is a technical one (the
//! message of a library, mostly) and stays as it is, in parentheses.
//!
//! `tests/house` compares this list with the sources.
//!
//! Not here: violations of `store check`, which come as kinds ([`super::faults`]).

use super::Text;

type Sentence = (&'static str, &'static str);

/// Names of objects, longer ones before those that they begin with.
const OBJECTS: [Sentence; 32] = [
    ("run {} of snapshots", "giro {} delle istantanee"),
    ("page {} of the tree of accounts", "pagina {} dell'albero delle caselle"),
    ("the journal", "il giornale"),
    ("UID {} of mailbox {} of account {}", "UID {} nella cartella {} della casella {}"),
    ("a block of mailbox {} of account {}", "un blocco della cartella {} della casella {}"),
    ("mailbox {} of snapshot {} of account {}", "cartella {} dell'istantanea {} della casella {}"),
    ("mailbox {} of account {}", "cartella {} della casella {}"),
    ("message {} of account {}", "messaggio {} della casella {}"),
    ("the name {} of account {}", "il nome {} della casella {}"),
    ("usage of account {}", "uso della casella {}"),
    ("the state of snapshot {} of account {}", "lo stato dell'istantanea {} della casella {}"),
    ("the secret of the snapshots of account {}", "il segreto delle istantanee della casella {}"),
    ("snapshot {} of account {}", "istantanea {} della casella {}"),
    ("state {}", "stato {}"),
    ("page {} of a snapshot", "pagina {} di un'istantanea"),
    ("page {}", "pagina {}"),
    ("a snapshot", "un'istantanea"),
    ("account {} ({})", "casella {} ({})"),
    ("account {}", "casella {}"),
    ("the address {}", "l'indirizzo {}"),
    ("held message {}", "messaggio trattenuto {}"),
    ("the message with SHA-256 {}", "il messaggio con SHA-256 {}"),
    ("the recipe of {}", "la ricetta di: {}"),
    ("the summary of {}", "il riassunto di: {}"),
    ("staged chunk {} (sequence {})", "chunk in attesa {} (sequenza {})"),
    ("chunk {} at octet {} of {}", "chunk {} all'ottetto {} di {}"),
    ("chunk {}", "chunk {}"),
    ("{} key of {} octets", "chiave di {} lunga {} ottetti"),
    ("{} row {}", "riga di {}: {}"),
    ("a chunk that was just compressed", "un chunk appena compresso"),
    ("a chunk or pack", "un chunk o un pack"),
    ("a recipe", "una ricetta"),
];

/// What is too large or used up, what is wrong with a name, and what to do about it.
const LIMITS: [Sentence; 32] = [
    ("snapshots", "istantanee"),
    ("the number of entries of a page", "il numero delle voci di una pagina"),
    ("the number of keywords of a message", "il numero delle parole chiave di un messaggio"),
    ("the number of mailboxes of an account", "il numero delle cartelle di una casella"),
    ("the length of a mailbox name", "la lunghezza del nome di una cartella"),
    ("choose a shorter name", "scegliere un nome più breve"),
    ("delete some of them first", "eliminarne prima alcune"),
    ("the length of a proof", "la lunghezza di una prova"),
    ("ask about a mailbox with fewer messages", "chiedere di una cartella con meno messaggi"),
    ("the number of mailboxes of one mbox", "il numero delle cartelle di un solo mbox"),
    (
        "export one mailbox, or choose another format",
        "esportare una sola cartella, o scegliere un altro formato",
    ),
    ("the message", "il messaggio"),
    ("reduce its attachments", "ridurne gli allegati"),
    ("move messages to another account", "spostare messaggi in un'altra casella"),
    ("the number of messages in one change", "il numero dei messaggi in una sola modifica"),
    ("choose fewer messages at once", "sceglierne meno per volta"),
    (
        "the number of accounts that one account may read",
        "il numero delle caselle che una casella può leggere",
    ),
    ("take some of them away first", "toglierne prima alcune"),
    ("UIDs", "UID"),
    ("UIDVALIDITY values", "valori di UIDVALIDITY"),
    ("numbers of a sequence", "numeri di una sequenza"),
    ("subscriptions", "sottoscrizioni"),
    ("it is longer than 1,000 octets", "è più lungo di 1.000 ottetti"),
    (
        "it has a control character or a line separator",
        "ha un carattere di controllo o un separatore di riga",
    ),
    ("a level between two separators is empty", "un livello tra due separatori è vuoto"),
    ("a level is longer than 255 octets", "un livello è più lungo di 255 ottetti"),
    ("a level begins or ends with a space", "un livello comincia o finisce con uno spazio"),
    ("it has more than 20 levels", "ha più di 20 livelli"),
    ("a mailbox cannot be moved below itself", "una cartella non si sposta sotto sé stessa"),
    ("it is not in the archive", "non è nell'archivio"),
    ("epochs", "epoche"),
    ("runs", "giri"),
];

/// What was found of chunks, packs and records.
const DAMAGES: [Sentence; 58] = [
    ("its format {} is above {}", "il suo formato {} è sopra {}"),
    ("nothing is there", "lì non c'è nulla"),
    ("there is no such object", "l'oggetto non c'è"),
    ("it is empty", "è vuoto"),
    ("{} octets instead of {}", "{} ottetti invece di {}"),
    ("it is not a StoredId", "non è uno StoredId"),
    ("it is not a PackId", "non è un PackId"),
    (
        "its length or its chunks are not those the catalog knows",
        "la lunghezza o i chunk non sono quelli che il catalogo conosce",
    ),
    ("the pack ends before it", "il pack finisce prima"),
    ("its key is no staged chunk's", "la chiave non è quella di un chunk in attesa"),
    ("it cannot be decompressed", "non si decomprime"),
    ("it cannot be decompressed: {}", "non si decomprime ({})"),
    ("it decompresses to other octets", "si decomprime in altri ottetti"),
    ("its chunk is in no pack that can be read", "il suo chunk non è in alcun pack leggibile"),
    (
        "it is neither staged nor in the pack that the index names",
        "non è né in attesa né nel pack che l'indice nomina",
    ),
    ("it asks for octets that its chunks do not have", "vuole ottetti che i suoi chunk non hanno"),
    ("its chunks rebuild other octets", "i suoi chunk ricostruiscono altri ottetti"),
    ("its chunks rebuild too little", "i suoi chunk ricostruiscono troppo poco"),
    (
        "its chunks rebuild {} octets with SHA-256 {}",
        "i suoi chunk ricostruiscono {} ottetti con SHA-256 {}",
    ),
    (
        "the octets do not have the digest they are named by",
        "gli ottetti non hanno il digest di cui portano il nome",
    ),
    ("the stored form is empty", "la forma conservata è vuota"),
    ("suite {} is not known", "la suite {} è sconosciuta"),
    ("{} octets are more than a chunk can have", "{} ottetti sono più di quanti ne ha un chunk"),
    ("the zstd frame cannot be read: {}", "il frame zstd non si legge ({})"),
    ("the pack is shorter than a footer", "il pack è più corto di una coda"),
    (
        "the object is larger than a pack can be",
        "l'oggetto è più grande di quanto può essere un pack",
    ),
    ("the pack does not end as a pack does", "il pack non finisce come un pack"),
    (
        "the footer contradicts itself or the length of the pack",
        "la coda contraddice sé stessa o la lunghezza del pack",
    ),
    (
        "the index does not have the digest of the footer",
        "l'indice del pack non ha il digest che sta nella coda",
    ),
    ("the index entry of chunk {} is wrong", "la voce del chunk {} nell'indice è sbagliata"),
    ("the pack does not begin as a pack does", "il pack non comincia come un pack"),
    ("the chunks do not lie one after the other", "i chunk non stanno uno dopo l'altro"),
    (
        "octets between the last chunk and the index belong to nothing",
        "tra l'ultimo chunk e l'indice ci sono ottetti di nessuno",
    ),
    ("the record is empty", "la riga è vuota"),
    ("the record is cut off", "la riga è troncata"),
    (
        "the record does not match its check octets",
        "la riga non corrisponde ai suoi ottetti di controllo",
    ),
    ("not a record: {}", "non è una riga ({})"),
    ("no version octet", "manca l'ottetto di versione"),
    ("the record has no known version", "la riga è di una versione sconosciuta"),
    ("its record follows no known layout", "il suo record non ha una forma nota"),
    ("its record is of another account", "il suo record è di un'altra casella"),
    ("its record is no record of this run", "il suo record non è quello di questo giro"),
    ("its records follow no known layout", "i suoi record non hanno una forma nota"),
    ("it is in no known state", "è in uno stato sconosciuto"),
    ("it is of no known kind", "è di un genere sconosciuto"),
    ("its secret does not have 32 octets", "il suo segreto non è di 32 ottetti"),
    ("it is missing", "manca"),
    ("it follows no known layout", "non ha una forma nota"),
    ("its value follows no known layout", "il suo valore non ha una forma nota"),
    ("the list of pages follows no known layout", "l'elenco delle pagine non ha una forma nota"),
    ("its hash is another", "ha un altro hash"),
    ("it is stored in another way", "è conservata in un altro modo"),
    ("its two trees do not have the same rows", "i suoi due alberi non hanno le stesse righe"),
    (
        "its level and the level above do not fit together",
        "il suo livello e quello sopra non vanno insieme",
    ),
    (
        "its level and the level below do not fit together",
        "il suo livello e quello sotto non vanno insieme",
    ),
    (
        "it stands at another level than its parent says",
        "sta a un livello diverso da quello che dice la pagina sopra",
    ),
    ("the key does not have its family's layout", "la chiave non ha la forma della sua famiglia"),
    ("the name of the pack is not 16 octets", "il nome del pack non è di 16 ottetti"),
];

/// What `repair` did, would do, or had to leave.
const REPAIRS: [Sentence; 47] = [
    (
        "{} lists of pages that departed are made anew, {} pages that no snapshot has are removed",
        "{} elenchi di pagine partite sono rifatti, {} pagine di nessuna istantanea sono tolte",
    ),
    ("{}: taken out", "{}: tolta"),
    ("its key names no account", "la chiave non nomina una casella"),
    ("its key is none of the family's", "la chiave non è della famiglia"),
    ("its key names no mailbox", "la chiave non nomina una cartella"),
    ("the name cannot be read", "il nome non si legge"),
    ("there is no such account", "la casella non esiste"),
    ("it cannot be read", "non si legge"),
    ("its snapshots cannot be read", "le sue istantanee non si leggono"),
    (
        "it has no settings that can be read, and the registry has none",
        "non ha impostazioni leggibili, e il registro non ne ha",
    ),
    ("its settings are the registry's again", "le impostazioni sono di nuovo quelle del registro"),
    ("its message {} is missing", "il suo messaggio {} manca"),
    (
        "size and digest are those of its message again",
        "dimensione e digest sono di nuovo quelli del suo messaggio",
    ),
    ("it was missing: added", "mancava: aggiunta"),
    ("the row cannot be read", "la riga non si legge"),
    ("no row has this MODSEQ", "nessuna riga ha questo MODSEQ"),
    ("its key is none of the log", "la chiave non è del registro delle rimozioni"),
    ("it names what is not expunged", "nomina ciò che non è stato rimosso"),
    ("no row had it: UID {} of the mailbox {}", "nessuna riga lo aveva: UID {} della cartella {}"),
    ("its key is no message's", "la chiave non è quella di un messaggio"),
    (
        "its record cannot be read: restore it from a back-up",
        "la sua riga non si legge: ripristinarla da un back-up",
    ),
    ("its message is not erased", "il suo messaggio non è cancellato"),
    (
        "it has no summary, and its octets cannot be rebuilt",
        "non ha riassunto, e i suoi ottetti non si ricostruiscono",
    ),
    ("its summary was made again", "il riassunto è rifatto"),
    ("its number of rows is {} again", "il numero delle sue righe è di nuovo {}"),
    ("its message has no record", "il suo messaggio non ha una riga"),
    ("it had no record: made anew as {}", "non aveva una riga: rifatta come {}"),
    ("the mailbox {} was made", "la cartella {} è stata creata"),
    ("its name {} is taken or none: {}", "il nome {} è già preso o non è un nome: {}"),
    ("its counters agree with its rows again", "i contatori sono di nuovo d'accordo con le righe"),
    (
        "the list of deletions agrees with its record again",
        "l'elenco delle eliminazioni è di nuovo d'accordo con la sua riga",
    ),
    ("it is listed under snapshot {}, too", "è elencato anche sotto l'istantanea {}"),
    ("there never was such a snapshot", "quell'istantanea non c'è mai stata"),
    ("{} has rows", "{} ha righe"),
    ("it has no snapshot; the next is {}", "non ha istantanee; la prossima è la {}"),
    (
        "every message is taken for held by snapshot {}",
        "ogni messaggio vale come trattenuto dall'istantanea {}",
    ),
    (
        "its counters and usage agree with its rows again",
        "contatori e uso sono di nuovo d'accordo con le righe",
    ),
    ("the mailbox has neither name nor rows", "la cartella non ha né nome né righe"),
    ("its mailbox is gone", "la sua cartella non esiste più"),
    ("no such account is read", "la casella da leggere non esiste"),
    ("no mailbox is called that", "nessuna cartella si chiama così"),
    ("its name {} leads to it again", "il nome {} porta di nuovo lì"),
    (
        "the address leads to no account that has it",
        "l'indirizzo non porta a una casella che lo ha",
    ),
    ("{} has its address {} too", "{} ha anch'essa l'indirizzo {}"),
    ("its address {} leads to it again", "l'indirizzo {} porta di nuovo lì"),
    ("a counter is less than the sum over the rows", "un contatore è meno della somma delle righe"),
    ("its name has no mailbox", "il suo nome non ha una cartella"),
];

/// An object's name, `message 3 of account 7`.
#[must_use]
pub fn object(english: &str) -> Text {
    let italian = object_in_italian(english).unwrap_or_else(|| english.to_owned());
    Text::filled(italian, english.to_owned())
}

/// What is wrong with an object.
#[must_use]
pub fn detail(english: &str) -> Text {
    let italian = italian(english).unwrap_or_else(|| format!("danneggiato ({english})"));
    Text::filled(italian, english.to_owned())
}

/// An object with what is wrong with it, or an object alone.
#[must_use]
pub fn line(english: &str) -> Text {
    let italian = match english.split_once(": ") {
        Some((of, what)) => {
            format!("{}: {}", object(of).italian, detail(what).italian)
        }
        None => object(english).italian.into_owned(),
    };
    Text::filled(italian, english.to_owned())
}

/// The Italian of a detail that stands here; with the object before it, when it has one.
fn italian(english: &str) -> Option<String> {
    translated(english, &DAMAGES).or_else(|| translated(english, &REPAIRS)).or_else(|| {
        let (of, what) = english.split_once(": ")?;
        Some(format!("{}: {}", object_in_italian(of)?, italian(what)?))
    })
}

/// Whether a detail or an object's name stands here.
#[must_use]
pub fn is_known(english: &str) -> bool {
    italian(english).or_else(|| object_in_italian(english)).is_some()
}

fn object_in_italian(english: &str) -> Option<String> {
    translated(english, &OBJECTS).or_else(|| translated(english, &LIMITS))
}

/// The Italian of the first of `sentences` that `english` is; values for which the Italian has no place
/// at its end are left out.
pub(super) fn translated(english: &str, sentences: &[Sentence]) -> Option<String> {
    sentences.iter().find_map(|(template, italian)| {
        let mut values = values(template, english)?.into_iter();
        let mut parts = italian.split("{}");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (value, part) in values.by_ref().zip(parts) {
            text.push_str(&value_in_italian(value));
            text.push_str(part);
        }
        Some(text)
    })
}

/// A reason inside a sentence, or an object; what is neither stays.
fn value_in_italian(value: &str) -> String {
    italian(value).or_else(|| object_in_italian(value)).unwrap_or_else(|| value.to_owned())
}

/// What stands in `text` in the places of `template`; `None` when it is another sentence.
fn values<'t>(template: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut parts = template.split("{}").peekable();
    let mut left = text.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    while let Some(part) = parts.next() {
        let value = match parts.peek() {
            None => left.strip_suffix(part)?,
            Some(_) => left.split_once(part)?.0,
        };
        left = &left[value.len() + part.len()..];
        found.push(value);
    }
    (left.is_empty() && found.iter().all(|value| !value.is_empty())).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Language;

    fn in_italian(text: &Text) -> &str {
        text.get(Language::Italian)
    }

    #[test]
    fn objects_are_named_in_italian_with_their_numbers_and_names() {
        for (english, italian) in [
            ("account 7", "casella 7"),
            ("account 7 (anna@pec.example)", "casella 7 (anna@pec.example)"),
            ("message 12 of account 7", "messaggio 12 della casella 7"),
            ("UID 3 of mailbox 1 of account 7", "UID 3 nella cartella 1 della casella 7"),
            (
                "mailbox 3 of snapshot 4 of account 7",
                "cartella 3 dell'istantanea 4 della casella 7",
            ),
            ("the state of snapshot 4 of account 7", "lo stato dell'istantanea 4 della casella 7"),
            ("the name \"Da fare\" of account 7", "il nome \"Da fare\" della casella 7"),
            (
                "the summary of message 1 of account 7",
                "il riassunto di: messaggio 1 della casella 7",
            ),
            (
                "chunk 0a1b at octet 40 of packs/00/00ff.pack",
                "chunk 0a1b all'ottetto 40 di packs/00/00ff.pack",
            ),
            ("chunk_index key of 5 octets", "chiave di chunk_index lunga 5 ottetti"),
            ("mailbox_rows/0007", "mailbox_rows/0007"),
        ] {
            assert_eq!(in_italian(&object(english)), italian);
            assert_eq!(object(english).get(Language::English), english);
        }
    }

    #[test]
    fn details_are_said_in_italian_and_technical_ones_stand_in_parentheses() {
        for (english, italian) in [
            ("nothing is there", "lì non c'è nulla"),
            ("the row cannot be read: taken out", "la riga non si legge: tolta"),
            (
                "account 8 has its address x@pec.example too",
                "casella 8 ha anch'essa l'indirizzo x@pec.example",
            ),
            (
                "its name \"a: b\" is taken or none: \"Recovered/3\"",
                "il nome \"a: b\" è già preso o non è un nome: \"Recovered/3\"",
            ),
            (
                "chunk 0a at octet 4 of packs/00/00.pack: 3 octets instead of 5",
                "chunk 0a all'ottetto 4 di packs/00/00.pack: 3 ottetti invece di 5",
            ),
            ("not a record: buffer underflow", "non è una riga (buffer underflow)"),
            ("some library's words", "danneggiato (some library's words)"),
            ("3 octets instead of è", "3 ottetti invece di è"),
        ] {
            assert_eq!(in_italian(&detail(english)), italian);
        }
    }

    #[test]
    fn a_line_is_an_object_alone_or_with_its_detail() {
        assert_eq!(
            in_italian(&line("packs/0/0.pack: there is no such object")),
            "packs/0/0.pack: l'oggetto non c'è"
        );
        assert_eq!(in_italian(&line("chunk 0a in packs/0/0.pack")), "chunk 0a in packs/0/0.pack");
    }

    #[test]
    fn every_sentence_can_be_found_and_has_its_values_in_both_languages() {
        for (english, italian) in OBJECTS.iter().chain(&LIMITS).chain(&DAMAGES).chain(&REPAIRS) {
            let count = |text: &str| text.matches("{}").count();
            assert_eq!(count(english), count(italian), "{english}");
        }
        for sentences in [&OBJECTS[..], &LIMITS, &DAMAGES, &REPAIRS] {
            for (english, italian) in sentences {
                let (english, italian) = (english.replace("{}", "7"), italian.replace("{}", "7"));
                assert_eq!(translated(&english, sentences).as_deref(), Some(&*italian));
            }
        }
    }
}
