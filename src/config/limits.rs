//! `[limits]`, `[login]` and `[pop3]`: every bound on what a peer may use, so that memory stays bounded.

use super::{
    reader::Reader,
    units::{Millis, Octets},
};
use crate::texts::Text;

const COUNT: (usize, usize) = (1, 10_000_000);
const NUMBER: (u32, u32) = (1, 1_000_000);
const TIME: (Millis, Millis) = (Millis(100), Millis::hours(24));
const SIZE: (Octets, Octets) = (Octets::kilobytes(1), Octets::gigabytes(1));

/// The longest line of an AUTH exchange has 12 KB (RFC 4954 §4), and no other is longer.
const SMTP_LINE: (Octets, Octets) = (Octets(512), Octets::kilobytes(8));

/// One line per setting: name, kind, default, least and most, explanation in both languages.
macro_rules! settings {
    (
        $(#[$doc:meta])* $name:ident, $section:literal, $italian:literal, $english:literal;
        $($key:ident: $kind:ty = $default:expr, $range:expr, $it:literal, $en:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct $name {
            $(#[doc = $en] pub $key: $kind,)*
        }

        impl $name {
            pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                let mut section = reader.section($section, Text::fixed($italian, $english));
                Self {
                    $($key: section.within(
                        stringify!($key),
                        $default,
                        $range,
                        Text::fixed($it, $en),
                    ),)*
                }
            }
        }
    };
}

settings! {
    /// `[limits]`: bounds of sessions, messages, queues.
    LimitSettings, "limits",
    "Limiti di tutto ciò che un interlocutore può usare.",
    "Bounds on everything that a peer may use.";

    connections_max: usize = 4096, COUNT,
        "Connessioni aperte, tutte le porte insieme.",
        "Open connections, all ports together.";
    connections_per_port_percent_max: u32 = 50, (1, 100),
        "Parte delle connessioni che può avere una sola porta, in percentuale: il resto è delle altre.",
        "Share of the connections that one port may have, in percent: the rest is for the others.";
    connections_per_address_max: usize = 64, COUNT,
        "Connessioni aperte da uno stesso indirizzo.",
        "Open connections from one address.";
    connections_per_network_max: usize = 512, COUNT,
        "Connessioni aperte da una stessa rete: /24 per IPv4, /48 per IPv6.",
        "Open connections from one network: a /24 of IPv4, a /48 of IPv6.";
    connections_per_minute_per_address_max: u32 = 3_000, NUMBER,
        "Connessioni iniziate in un minuto da uno stesso indirizzo.",
        "Connections begun within a minute from one address.";
    connections_per_minute_per_network_max: u32 = 12_000, NUMBER,
        "Connessioni iniziate in un minuto da una stessa rete.",
        "Connections begun within a minute from one network.";
    connection_addresses_max: usize = 65_536, COUNT,
        "Indirizzi, e altrettante reti, di cui si contano le connessioni al minuto; si dimentica prima il più vecchio.",
        "Addresses, and as many networks, whose connections per minute are counted; the oldest is forgotten first.";
    proxy_timeout: Millis = Millis::seconds(10), TIME,
        "Tempo entro cui un bilanciatore deve inviare l'intestazione PROXY.",
        "Time in which a balancer must send the PROXY header.";
    tls_handshake_timeout: Millis = Millis::seconds(30), TIME,
        "Tempo per l'apertura di TLS.",
        "Time for a TLS handshake.";
    login_timeout: Millis = Millis::minutes(1), TIME,
        "Tempo entro cui un client deve autenticarsi.",
        "Time in which a client must log in.";
    shutdown_timeout: Millis = Millis::seconds(20), TIME,
        "Tempo lasciato alle sessioni per finire quando il server si ferma.",
        "Time that sessions are given to finish at a stop.";
    message_octets_max: Octets = Octets::megabytes(50), SIZE,
        "Dimensione di un messaggio inviato, qualunque sia il tipo di casella.",
        "Size of a message as submitted, whatever the plan says.";
    relay_message_octets_max: Octets = Octets::megabytes(72), SIZE,
        "Dimensione di un messaggio da un altro gestore o aggiunto via IMAP: messaggio più busta.",
        "Size of a message from another server or appended by IMAP: message plus envelope.";
    header_octets_max: Octets = Octets::kilobytes(256), SIZE,
        "Dimensione dell'intestazione di un messaggio.",
        "Size of a message's header.";
    recipients_max: u32 = 250, (50, 10_000),
        "Destinatari di una transazione SMTP, qualunque sia il tipo di casella.",
        "Recipients of an SMTP transaction, whatever the plan says.";
    smtp_idle_timeout: Millis = Millis::minutes(5), TIME,
        "Inattività di una sessione SMTP.",
        "Idle time of an SMTP session.";
    smtp_data_timeout: Millis = Millis::minutes(3), TIME,
        "Attesa dei prossimi ottetti di un messaggio in arrivo via SMTP.",
        "Wait for the next octets of a message that comes by SMTP.";
    smtp_message_timeout: Millis = Millis::hours(1), TIME,
        "Tempo di un messaggio intero via SMTP, qualunque sia la sua dimensione.",
        "Time of a whole message by SMTP, whatever its size.";
    smtp_data_grace: Millis = Millis::minutes(5), TIME,
        "Tempo dopo il quale un messaggio deve arrivare a smtp_data_octets_per_second_min.",
        "Time after which a message must come at smtp_data_octets_per_second_min.";
    smtp_data_octets_per_second_min: Octets = Octets::kilobytes(1), (Octets(1), Octets::megabytes(1)),
        "Ottetti al secondo, in media, di un messaggio in arrivo: chi è più lento perde la connessione.",
        "Octets per second, on average, of a message on its way in: who is slower loses the connection.";
    smtp_errors_max: u32 = 20, NUMBER,
        "Errori dopo i quali una sessione SMTP finisce.",
        "Errors after which an SMTP session ends.";
    smtp_recipients_refused_max: u32 = 100, NUMBER,
        "Destinatari rifiutati senza un messaggio preso: oltre, ogni rifiuto attende 1 s, e senza destinatari accettati la sessione SMTP finisce.",
        "Recipients refused without a message taken: beyond, each refusal waits 1 s, and without accepted recipients the SMTP session ends.";
    smtp_commands_max: u32 = 50_000, (100, 10_000_000),
        "Comandi dopo i quali una sessione SMTP finisce.",
        "Commands after which an SMTP session ends.";
    smtp_transactions_max: u32 = 1_000, (1, 1_000_000),
        "Messaggi di una sessione SMTP, annunciati come MAILMAX; per altri serve una nuova connessione.",
        "Messages of one SMTP session, announced as MAILMAX; more need another connection.";
    smtp_line_octets_max: Octets = Octets::kilobytes(4), SMTP_LINE,
        "Lunghezza di una riga di comando SMTP; lo standard vuole almeno 512 ottetti.",
        "Length of an SMTP command line; the standard wants 512 octets at least.";
    imap_idle_timeout: Millis = Millis::minutes(30), TIME,
        "Inattività di una sessione IMAP autenticata.",
        "Idle time of an IMAP session that is logged in.";
    imap_line_octets_max: Octets = Octets::kilobytes(64), SIZE,
        "Lunghezza di un comando IMAP, esclusi i literal.",
        "Length of an IMAP command, literals not counted.";
    imap_literal_octets_max: Octets = Octets::kilobytes(64), SIZE,
        "Ottetti di tutti i literal di un comando IMAP diverso da APPEND.",
        "Octets of all literals of an IMAP command other than APPEND.";
    imap_message_limit: u32 = 0, (0, 10_000_000),
        "Messaggi su cui lavora un comando IMAP, annunciati come MESSAGELIMIT; lo standard ne vuole almeno 1000. 0 = senza limite: i programmi che non lo conoscono vedrebbero solo i più recenti.",
        "Messages that an IMAP command works on, announced as MESSAGELIMIT; the standard wants 1000 at least. 0 = no limit: programs that do not know it would see only the newest.";
    imap_save_limit: u32 = 100_000, (1_000, 10_000_000),
        "Messaggi di una copia via IMAP, annunciati come SAVELIMIT dove imap_message_limit è 0.",
        "Messages of one copy by IMAP, announced as SAVELIMIT where imap_message_limit is 0.";
    imap_sort_octets_max: Octets = Octets::megabytes(64), SIZE,
        "Memoria di un ordinamento o di un raggruppamento in conversazioni via IMAP.",
        "Memory of one sort, or of one grouping into threads, by IMAP.";
    imap_search_mailboxes_max: usize = 1_000, COUNT,
        "Cartelle di una ricerca IMAP in più cartelle.",
        "Mailboxes of one IMAP search in several.";
    imap_search_saved_max: usize = 1_000_000, COUNT,
        "Messaggi che una sessione IMAP può tenere come risultato salvato di una ricerca.",
        "Messages that an IMAP session may keep as the saved result of a search.";
    imap_contexts_max: usize = 16, COUNT,
        "Ricerche di una sessione IMAP di cui si annunciano i cambiamenti.",
        "Searches of an IMAP session whose changes are told.";
    imap_notify_mailboxes_max: usize = 10_000, COUNT,
        "Nomi dell'albero, e annotazioni, di cui una sessione IMAP riceve notizie (NOTIFY).",
        "Names in the tree, and annotations, that an IMAP session is told news of (NOTIFY).";
    imap_notify_pause: Millis = Millis(50), (Millis(1), Millis::minutes(1)),
        "Tempo minimo fra due ricerche di novità (NOTIFY) di una sessione IMAP.",
        "The least time between two looks for news (NOTIFY) of an IMAP session.";
    imap_progress_interval: Millis = Millis::seconds(12), TIME,
        "Ogni quanto un comando IMAP lungo dice a che punto è; lo standard consiglia da 10 a 15 s.",
        "Every how long a long IMAP command says how far it is; the standard recommends 10 to 15 s.";
    sessions_per_account_max: usize = 32, COUNT,
        "Sessioni IMAP e POP3 autenticate di una stessa casella.",
        "Sessions of IMAP and POP3 of one account that are logged in.";
    sessions_per_address_max: usize = 60, COUNT,
        "Sessioni IMAP e POP3 autenticate da uno stesso indirizzo. Sotto connections_per_address_max, perché chi la supera legga il motivo.",
        "Sessions of IMAP and POP3 from one address that are logged in. Below connections_per_address_max, so that who exceeds it reads why.";
    pop3_line_octets_max: Octets = Octets::kilobytes(2), (Octets(255), Octets::kilobytes(64)),
        "Lunghezza di un comando POP3 diverso da AUTH.",
        "Length of a POP3 command other than AUTH.";
    pop3_wrong_commands_max: u32 = 20, NUMBER,
        "Comandi errati di seguito dopo i quali una sessione POP3 finisce.",
        "Wrong commands in a row after which a POP3 session ends.";
    pop3_idle_timeout: Millis = Millis::minutes(10), (Millis::minutes(10), Millis::hours(24)),
        "Inattività di una sessione POP3; lo standard vuole almeno 10 min.",
        "Idle time of a POP3 session; the standard wants 10 min at least.";
    outgoing_connections_max: usize = 128, COUNT,
        "Consegne contemporanee ad altri gestori.",
        "Deliveries to other servers at a time.";
    outgoing_per_destination_max: usize = 8, COUNT,
        "Consegne contemporanee a una stessa destinazione.",
        "Deliveries to one destination at a time.";
    message_memory_octets_max: Octets = Octets::megabytes(1024), (Octets::megabytes(256), Octets::gigabytes(1024)),
        "Memoria per i messaggi in lavorazione: ciascuno ne occupa circa tre volte la sua dimensione.",
        "Memory for messages being worked on: each takes about three times its size.";
    message_memory_timeout: Millis = Millis::seconds(30), TIME,
        "Attesa di memoria per un messaggio arrivato per intero; poi il mittente deve riprovare.",
        "Wait for memory for a message that has come whole; then the sender has to try again.";
    free_octets_min: Octets = Octets::megabytes(256), (Octets(0), Octets::gigabytes(1024 * 1024)),
        "Spazio libero sul disco dei dati sotto il quale non si prendono messaggi.",
        "Free space on the disk of the data below which no message is taken.";
    store_time_max: Millis = Millis::seconds(5), TIME,
        "Tempo di una scrittura nel catalogo oltre il quale non si prendono messaggi.",
        "Time of a write to the catalog beyond which no message is taken.";
    pressure_interval: Millis = Millis::seconds(2), TIME,
        "Ogni quanto si misurano spazio libero e tempo di scrittura.",
        "How often free space and time of a write are measured.";
    work_entries_max: usize = 10_000, COUNT,
        "Lavori in attesa in memoria; gli altri attendono nel catalogo.",
        "Work waiting in memory; the rest waits in the catalog.";
    deliveries_max: usize = 8, COUNT,
        "Consegne contemporanee di uno stesso messaggio.",
        "Deliveries of one message at a time.";
    queue_lifetime: Millis = Millis::hours(24), (Millis::minutes(1), Millis::hours(24)),
        "Tempo massimo in coda verso un altro gestore; la norma ammette al più 24 h.",
        "Longest time in the queue to another server; the rules allow 24 h at most.";
    transmissions_max: usize = 64, COUNT,
        "Trasmissioni lavorate contemporaneamente.",
        "Transmissions worked on at a time.";
    signatures_max: usize = 0, (0, 10_000),
        "Firme e verifiche contemporanee; 0 = una per processore, e di più non servono.",
        "Signatures and verifications at a time; 0 = one per processor, and more are of no use.";
    http_requests_max: usize = 32, COUNT,
        "Richieste contemporanee alla porta di esercizio.",
        "Requests answered at a time on the operations port.";
    http_timeout: Millis = Millis::seconds(10), TIME,
        "Tempo per una richiesta alla porta di esercizio.",
        "Time for one request on the operations port.";
    control_requests_max: usize = 4, (1, 64),
        "Comandi sull'archivio eseguiti contemporaneamente dal server acceso.",
        "Commands on the store that the running server carries out at a time.";
}

settings! {
    /// `[login]`: passwords, and how guessing is slowed down.
    LoginSettings, "login",
    "Password, e freno a chi le indovina.",
    "Passwords, and a brake on those who guess them.";

    password_characters_min: usize = 12, (8, 64),
        "Caratteri minimi di una password.",
        "Characters a password has at least.";
    failures_per_account_and_address_max: u32 = 5, NUMBER,
        "Errori su una casella da uno stesso indirizzo prima dell'attesa. Da altri indirizzi il titolare entra comunque.",
        "Failures for one account from one address before it must wait. The holder can still log in from elsewhere.";
    failures_per_address_max: u32 = 50, NUMBER,
        "Errori da uno stesso indirizzo, su qualunque casella, prima dell'attesa.",
        "Failures from one address, whatever the account, before it must wait.";
    failures_per_account_max: u32 = 100, NUMBER,
        "Errori su una casella da tutti gli indirizzi insieme; oltre, chi non vi è mai entrato da quell'indirizzo prova solo ogni tanto.",
        "Failures for one account from all addresses together; beyond, who never got into it from his address may try only now and then.";
    unknown_network_interval: Millis = Millis::minutes(1), TIME,
        "Ogni quanto, allora, può provare ciascuna rete (/24 per IPv4, /48 per IPv6).",
        "How often each network may try then: a /24 of IPv4, a /48 of IPv6.";
    failure_window: Millis = Millis::minutes(5), TIME,
        "Gli errori si contano su questo tempo; tanto dura anche l'attesa.",
        "Failures are counted over this time, and this is the wait.";
    failures_remembered_max: usize = 65_536, COUNT,
        "Coppie, indirizzi, caselle, password errate e reti ricordati, ciascuno in una tabella di questa misura; si dimentica prima il più vecchio.",
        "Pairs, addresses, accounts, wrong passwords and networks remembered, each in a table of this size; the oldest is forgotten first.";
    sources_remembered_max: usize = 65_536, COUNT,
        "Indirizzi da cui una casella è entrata tenuti in memoria; gli ultimi 16 di ciascuna stanno nell'anagrafica.",
        "Addresses that accounts got in from, kept in memory; the last 16 of each are in the registry.";
    failures_per_session_max: u32 = 3, (1, 100),
        "Errori dopo i quali la connessione finisce.",
        "Failures after which the connection ends.";
    hashings_max: usize = 2, COUNT,
        "Password calcolate contemporaneamente, ciascuna con 19 MB di memoria.",
        "Passwords hashed at a time, each with 19 MB of memory.";
    hashings_waiting_max: usize = 256, COUNT,
        "Accessi che possono attendere il calcolo di una password.",
        "Logins that may wait for a hashing.";
    successes_remembered_max: usize = 16_384, COUNT,
        "Accessi riusciti ricordati, perché un client che interroga spesso non costi calcolo.",
        "Successes remembered, so that a polling client costs no hashing.";
    success_lifetime: Millis = Millis::minutes(10), (Millis::seconds(1), Millis::hours(1)),
        "Per quanto un accesso riuscito è ricordato.",
        "How long a success is remembered.";
}

settings! {
    /// `[pop3]`: what CAPA says of this site.
    Pop3Settings, "pop3",
    "Che cosa il server dice di sé ai client POP3 (CAPA).",
    "What the server says of itself to clients of POP3 (CAPA).";

    login_delay: Millis = Millis(0), (Millis(0), Millis::hours(1)),
        "Tempo minimo tra due accessi della stessa casella (LOGIN-DELAY); 0 = nessuno.",
        "Least time between two logins of one account (LOGIN-DELAY); 0 = none.";
    logins_remembered_max: usize = 65_536, COUNT,
        "Caselle di cui si ricorda l'ultimo accesso per login_delay; si dimentica prima il più vecchio.",
        "Accounts whose last login is remembered for login_delay; the oldest is forgotten first.";
    expire_days: u32 = 0, (0, 36_500),
        "Giorni dopo i quali il gestore può eliminare i messaggi (EXPIRE); 0 = mai (NEVER). Il server li annuncia soltanto e non elimina nulla.",
        "Days after which the provider may remove messages (EXPIRE); 0 = NEVER. The server only announces them and removes nothing.";
}
