//! `[imap]`: what only IMAP has.

use super::{
    reader::{Reader, Section},
    units::{Millis, Octets},
};
use crate::texts::Text;

/// `[imap]`: annotations, lists in commands, APPEND, compression, snapshots, and who sets space.
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
    /// Items of one list in other commands.
    pub items_max: usize,
    /// Whether COMPRESS is offered.
    pub compress: bool,
    /// Sessions that are compressed at one time.
    pub compressed_sessions_max: usize,
    /// APPEND and REPLACE.
    pub append: AppendSettings,
    /// Snapshots as mailboxes.
    pub snapshots: SnapshotAccessSettings,
}

/// The settings of `[imap]` that begin with `snapshots_`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotAccessSettings {
    /// Whether they are shown to clients that list everything.
    pub listed: bool,
    /// Instants that a list shows.
    pub listed_max: usize,
    /// Snapshots that are kept open.
    pub open_max: usize,
}

/// The settings of `[imap]` that begin with `append_`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppendSettings {
    /// Messages of one command.
    pub messages_max: usize,
    /// Parts of one message (CATENATE).
    pub parts_max: usize,
    /// Those of them that are octets of other messages.
    pub urls_max: usize,
    /// How long a message may take, whatever its size.
    pub timeout: Millis,
    /// After how long it must come at `octets_per_second_min`.
    pub grace: Millis,
    /// Octets of it per second, on average.
    pub octets_per_second_min: Octets,
}

const SIZE: (Octets, Octets) = (Octets::kilobytes(1), Octets::megabytes(16));

impl ImapSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "imap",
            Text::fixed(
                "Annotazioni, elenchi nei comandi, aggiunta di messaggi, compressione, istantanee e chi imposta lo spazio via IMAP.",
                "Annotations, lists in commands, appending of messages, compression, snapshots, and who sets space by IMAP.",
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
            items_max: items_max(&mut section),
            compress: compress(&mut section),
            compressed_sessions_max: compressed_sessions_max(&mut section),
            append: AppendSettings::read(&mut section),
            snapshots: SnapshotAccessSettings::read(&mut section),
        }
    }
}

fn items_max(section: &mut Section<'_, '_>) -> usize {
    section.within(
        "items_max",
        200,
        (20, 100_000),
        Text::fixed(
            "Voci di un elenco in un altro comando: dati chiesti con FETCH, campi d'intestazione di uno di essi, flag.",
            "Items of one list in another command: what FETCH asks for, header fields of one item, flags.",
        ),
    )
}

fn compress(section: &mut Section<'_, '_>) -> bool {
    section.key(
        "compress",
        true,
        Text::fixed(
            "Se offrire la compressione (COMPRESS=DEFLATE): una sessione che la usa tiene 51 KB in più, e altri 259 KB mentre riceve una risposta.",
            "Whether to offer compression (COMPRESS=DEFLATE): a session that uses it keeps 51 KB more, and another 259 KB while it is answered.",
        ),
    )
}

fn compressed_sessions_max(section: &mut Section<'_, '_>) -> usize {
    section.within(
        "compressed_sessions_max",
        1_000,
        (1, 1_000_000),
        Text::fixed(
            "Sessioni compresse insieme; alle altre COMPRESS risponde NO.",
            "Sessions that are compressed at one time; COMPRESS of others is answered NO.",
        ),
    )
}

impl SnapshotAccessSettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            listed: section.key(
                "snapshots_listed",
                false,
                Text::fixed(
                    "Se mostrare le istantanee anche ai programmi che elencano tutte le cartelle: scaricherebbero ogni messaggio una volta per istante. Senza, le vede chi elenca Snapshot/% o ne sottoscrive una.",
                    "Whether to show snapshots to programs that list every mailbox, too: they would download each message once for every instant. Without it they are seen by who lists Snapshot/% or subscribes to one.",
                ),
            ),
            listed_max: section.within(
                "snapshots_listed_max",
                128,
                (1, 100_000),
                Text::fixed(
                    "Istanti che un elenco mostra, i più recenti; gli altri si aprono per nome.",
                    "Instants that a list shows, the newest; the others are opened by name.",
                ),
            ),
            open_max: section.within(
                "snapshots_open_max",
                256,
                (1, 100_000),
                Text::fixed(
                    "Istantanee tenute aperte, di tutte le caselle insieme, ciascuna con l'elenco delle sue cartelle in memoria.",
                    "Snapshots that are kept open, of all accounts together, each with the list of its mailboxes in memory.",
                ),
            ),
        }
    }
}

impl AppendSettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            messages_max: section.within(
                "append_messages_max",
                100,
                (1, 100_000),
                Text::fixed("Messaggi di un APPEND.", "Messages of one APPEND."),
            ),
            parts_max: section.within(
                "append_parts_max",
                1_000,
                (1, 100_000),
                Text::fixed(
                    "Parti con cui si può comporre un messaggio (CATENATE).",
                    "Parts that a message may be put together from (CATENATE).",
                ),
            ),
            urls_max: section.within(
                "append_urls_max",
                100,
                (1, 100_000),
                Text::fixed(
                    "Quante di esse possono essere ottetti di altri messaggi (URL).",
                    "How many of them may be octets of other messages (URL).",
                ),
            ),
            timeout: section.within(
                "append_timeout",
                Millis::hours(6),
                (Millis::minutes(1), Millis::hours(24)),
                Text::fixed(
                    "Tempo di un messaggio intero via APPEND o REPLACE, qualunque sia la sua dimensione.",
                    "Time of a whole message by APPEND or REPLACE, whatever its size.",
                ),
            ),
            grace: section.within(
                "append_grace",
                Millis::minutes(5),
                (Millis::seconds(1), Millis::hours(24)),
                Text::fixed(
                    "Tempo dopo il quale un messaggio deve arrivare ad append_octets_per_second_min.",
                    "Time after which a message must come at append_octets_per_second_min.",
                ),
            ),
            octets_per_second_min: section.within(
                "append_octets_per_second_min",
                Octets::kilobytes(1),
                (Octets(1), Octets::megabytes(1)),
                Text::fixed(
                    "Ottetti al secondo, in media: chi è più lento perde la connessione.",
                    "Octets per second, on average: who is slower loses the connection.",
                ),
            ),
        }
    }
}
