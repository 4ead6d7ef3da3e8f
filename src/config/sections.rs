//! Keys, defaults and explanations of the small sections.

use std::path::PathBuf;

use super::{
    DataSettings, DomainName, HostPort, KeyPair, ListenAddress, ListenSettings, LogSettings,
    ProviderSettings, RegistrySettings, StoreSettings, TrustSettings,
    reader::{Reader, Section},
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::{registry::address::AccountAddress, texts::Text};

impl ProviderSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("provider", Text::fixed("Il gestore.", "The provider."));
        let name = section.key(
            "name",
            "Gestore Ceralacca".to_owned(),
            Text::fixed(
                "Nome che compare in ricevute e certificati.",
                "Name in receipts and certificates.",
            ),
        );
        let mail_domain = section.key(
            "mail_domain",
            DomainName::known("gestore.example"),
            Text::fixed(
                "Dominio del gestore: identificativi e casella di servizio ne fanno parte.",
                "The provider's own domain: identifiers and the service address are in it.",
            ),
        );
        let service_address = section
            .optional(
                "service_address",
                &ServiceAddress("posta-certificata@gestore.example".to_owned()),
                Text::fixed(
                    "Indirizzo da cui partono ricevute e avvisi; se manca, posta-certificata@<mail_domain>.",
                    "Address that receipts and notices come from; when absent, posta-certificata@<mail_domain>.",
                ),
            )
            .map_or_else(|| format!("posta-certificata@{mail_domain}"), |address| address.0);
        let host_name = section
            .optional(
                "host_name",
                &DomainName::known("mail.gestore.example"),
                Text::fixed(
                    "Nome del server nei saluti SMTP e nei certificati TLS; se manca, mail_domain.",
                    "Name of the server in SMTP greetings and TLS certificates; when absent, mail_domain.",
                ),
            )
            .unwrap_or_else(|| mail_domain.clone());
        let pec_domains = section.key(
            "pec_domains",
            Vec::new(),
            Text::fixed(
                "Domini PEC registrati all'avvio; altri si aggiungono con `ceralacca domain add`.",
                "PEC domains registered at start; more are added with `ceralacca domain add`.",
            ),
        );
        Self { name, mail_domain, service_address, host_name, pec_domains }
    }
}

struct ServiceAddress(String);

impl Setting for ServiceAddress {
    fn expected() -> Text {
        Text::fixed(
            "un indirizzo, come \"servizio@pec.example\"",
            "an address, such as \"servizio@pec.example\"",
        )
    }

    fn from_raw(raw: &super::source::Raw) -> Option<Self> {
        let text = String::from_raw(raw)?;
        text.parse::<AccountAddress>().ok().map(|address| Self(address.to_string()))
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

impl DataSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("data", Text::fixed("I dati.", "The data."));
        Self {
            folder: section.path(
                "folder",
                "/var/lib/ceralacca",
                Text::fixed(
                    "Cartella di tutto: anagrafica, catalogo, messaggi, chiavi di sviluppo.",
                    "Folder of everything: registry, catalog, messages, development keys.",
                ),
            ),
        }
    }
}

/// Every address of the machine.
const EVERY: &str = "0.0.0.0";

/// A door with its usual port. The ones in the clear at which mail is read are off: a client that is
/// set up wrong sends its password there before it can be refused (RFC 8314 §4.1).
fn open(
    section: &mut Section<'_, '_>,
    key: &str,
    host: &str,
    port: u16,
    explanation: Text,
) -> ListenAddress {
    let default = match port {
        110 | 143 => ListenAddress::Off,
        port => ListenAddress::At(HostPort::new(host, port)),
    };
    section.key(key, default, explanation)
}

/// Those at which mail is taken.
fn smtp_doors(section: &mut Section<'_, '_>) -> [ListenAddress; 3] {
    let smtp_relay = open(
        section,
        "smtp_relay",
        EVERY,
        25,
        Text::fixed("Posta da altri gestori (STARTTLS).", "Mail from other servers (STARTTLS)."),
    );
    let submission = open(
        section,
        "submission",
        EVERY,
        587,
        Text::fixed(
            "Invio dei titolari (STARTTLS obbligatorio).",
            "Submission by holders (STARTTLS required).",
        ),
    );
    let submissions = open(
        section,
        "submissions",
        EVERY,
        465,
        Text::fixed("Invio dei titolari (TLS).", "Submission by holders (TLS)."),
    );
    [smtp_relay, submission, submissions]
}

/// Those at which mail is read: IMAP in the clear and under TLS, POP3 the same.
fn reading_doors(section: &mut Section<'_, '_>) -> [ListenAddress; 4] {
    let imap = open(
        section,
        "imap",
        EVERY,
        143,
        Text::fixed(
            "Lettura IMAP (STARTTLS obbligatorio), come \"0.0.0.0:143\". Un client configurato male vi invia la password in chiaro prima del rifiuto: meglio imaps.",
            "Reading by IMAP (STARTTLS required), such as \"0.0.0.0:143\". A client that is set up wrong sends its password there in the clear before it is refused: better imaps.",
        ),
    );
    let imaps = open(
        section,
        "imaps",
        EVERY,
        993,
        Text::fixed("Lettura IMAP (TLS).", "Reading by IMAP (TLS)."),
    );
    let pop3 = open(
        section,
        "pop3",
        EVERY,
        110,
        Text::fixed(
            "Lettura POP3 (STLS obbligatorio), come \"0.0.0.0:110\"; per lo stesso motivo meglio pop3s.",
            "Reading by POP3 (STLS required), such as \"0.0.0.0:110\"; for the same reason better pop3s.",
        ),
    );
    let pop3s = open(
        section,
        "pop3s",
        EVERY,
        995,
        Text::fixed("Lettura POP3 (TLS).", "Reading by POP3 (TLS)."),
    );
    [imap, imaps, pop3, pop3s]
}

impl ListenSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "listen",
            Text::fixed(
                "Le porte, ciascuna \"host:porta\" oppure \"off\".",
                "The ports, each \"host:port\" or \"off\".",
            ),
        );
        let [smtp_relay, submission, submissions] = smtp_doors(&mut section);
        let [imap, imaps, pop3, pop3s] = reading_doors(&mut section);
        let operations = open(
            &mut section,
            "operations",
            "127.0.0.1",
            9102,
            Text::fixed(
                "Stato e metriche: /healthz, /readyz, /metrics. Senza autenticazione: lasciarla su loopback o su una rete di gestione.",
                "State and metrics: /healthz, /readyz, /metrics. No authentication: keep it on loopback or on a management network.",
            ),
        );
        let proxy_from = section.key(
            "proxy_from",
            Vec::new(),
            Text::fixed(
                "Bilanciatori, come [\"10.0.0.0/8\"]: da loro ogni connessione alle porte di posta deve iniziare con l'intestazione PROXY v2 (send-proxy-v2), e vale l'indirizzo che vi è scritto.",
                "Balancers, such as [\"10.0.0.0/8\"]: from them every connection to a port of mail must begin with the PROXY v2 header (send-proxy-v2), and the address in it is the one that counts.",
            ),
        );
        Self {
            smtp_relay,
            submission,
            submissions,
            imap,
            imaps,
            pop3,
            pop3s,
            operations,
            proxy_from,
        }
    }
}

impl KeyPair {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        section_name: &str,
        explanation: Text,
    ) -> Option<Self> {
        let mut section: Section<'_, '_> = reader.section(section_name, explanation);
        let certificate_file: Option<PathBuf> = section.optional_path(
            "certificate_file",
            "certificato.pem",
            Text::fixed(
                "PEM: il certificato, poi quelli che portano alla radice.",
                "PEM: the certificate, then those that lead to the root.",
            ),
        );
        let key_file = section.optional_path(
            "key_file",
            "chiave.pem",
            Text::fixed(
                "PEM: la chiave privata, senza passphrase.",
                "PEM: the private key, without passphrase.",
            ),
        );
        match (certificate_file, key_file) {
            (Some(certificate_file), Some(key_file)) => Some(Self { certificate_file, key_file }),
            (None, None) => None,
            (certificate, _) => {
                let given = if certificate.is_some() { "certificate_file" } else { "key_file" };
                reader.refuse(
                    &format!("{section_name}.{given}"),
                    Text::fixed(
                        "certificate_file e key_file vanno indicati insieme: aggiungere l'altro",
                        "certificate_file and key_file go together: add the other one",
                    ),
                );
                None
            }
        }
    }
}

impl TrustSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "trust",
            Text::fixed(
                "Autorità di certificazione credute oltre a quelle di sviluppo.",
                "Certification authorities believed besides the development one.",
            ),
        );
        Self {
            authority_files: section.paths(
                "authority_files",
                Text::fixed("File PEM delle autorità.", "PEM files of the authorities."),
            ),
            revocation_files: section.paths(
                "revocation_files",
                Text::fixed(
                    "Liste di revoca (CRL) delle autorità.",
                    "Revocation lists (CRL) of the authorities.",
                ),
            ),
        }
    }
}

impl StoreSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "store",
            Text::fixed("Come si conservano gli ottetti.", "How octets are kept."),
        );
        Self {
            pack_octets_max: section.within(
                "pack_octets_max",
                Octets::megabytes(64),
                (Octets::megabytes(1), Octets::gigabytes(1)),
                Text::fixed("Dimensione a cui cresce un pack.", "Size a pack grows to."),
            ),
            small_chunk_octets_max: section.within(
                "small_chunk_octets_max",
                Octets::kilobytes(256),
                (Octets::kilobytes(4), Octets::megabytes(4)),
                Text::fixed(
                    "I chunk fino a questa dimensione attendono nel catalogo che il packer li raccolga.",
                    "Chunks up to this size wait in the catalog until the packer takes them.",
                ),
            ),
            chunk_cache_octets_max: section.within(
                "chunk_cache_octets_max",
                Octets::megabytes(128),
                (Octets::megabytes(1), Octets::gigabytes(1024)),
                Text::fixed("Memoria per i chunk letti di recente.", "Memory for chunks read lately."),
            ),
            catalog_cache_octets_max: section.within(
                "catalog_cache_octets_max",
                Octets::megabytes(256),
                (Octets::megabytes(8), Octets::gigabytes(1024)),
                Text::fixed("Memoria per i blocchi del catalogo letti di recente.", "Memory for catalog blocks read lately."),
            ),
            pack_interval: section.within(
                "pack_interval",
                Millis::seconds(5),
                (Millis(100), Millis::hours(1)),
                Text::fixed("Pausa del packer tra due giri.", "Pause of the packer between two runs."),
            ),
            scrub_period: section.within(
                "scrub_period",
                Millis::hours(24 * 30),
                (Millis::hours(1), Millis::hours(24 * 366)),
                Text::fixed(
                    "Tempo in cui ogni pack viene riletto e verificato una volta.",
                    "Time in which every pack is read again and verified once.",
                ),
            ),
            block_interval: section.within(
                "block_interval",
                Millis::seconds(10),
                (Millis(100), Millis::hours(1)),
                Text::fixed(
                    "Pausa tra due giri di chi prepara i blocchi, con cui le cartelle grandi si aprono in fretta.",
                    "Pause between two runs of the builder of blocks, by which large mailboxes open fast.",
                ),
            ),
            block_rows_per_second_max: section.within(
                "block_rows_per_second_max",
                20_000,
                (100, 10_000_000),
                Text::fixed(
                    "Righe che chi prepara i blocchi legge al più in un secondo.",
                    "Rows that the builder of blocks reads in a second, at most.",
                ),
            ),
        }
    }
}

impl RegistrySettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section =
            reader.section("registry", Text::fixed("Titolari e caselle.", "Owners and accounts."));
        Self {
            one_account_per_codice_fiscale: section.key(
                "one_account_per_codice_fiscale",
                false,
                Text::fixed(
                    "Rifiuta una seconda casella aperta allo stesso codice fiscale.",
                    "Refuses a second open account for the same codice fiscale.",
                ),
            ),
            busy_timeout: section.within(
                "busy_timeout",
                Millis::seconds(10),
                (Millis(100), Millis::minutes(5)),
                Text::fixed(
                    "Quanto una modifica attende un altro processo che sta scrivendo.",
                    "How long a change waits for another process that is writing.",
                ),
            ),
            outbox_interval: section.within(
                "outbox_interval",
                Millis(500),
                (Millis(10), Millis::minutes(1)),
                Text::fixed(
                    "Ogni quanto il server applica le modifiche fatte dai comandi.",
                    "How often the server applies the changes made by commands.",
                ),
            ),
        }
    }
}

impl LogSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section =
            reader.section("log", Text::fixed("Il registro di esercizio.", "The log."));
        let json = section.key(
            "json",
            false,
            Text::fixed(
                "Un oggetto JSON per riga al posto del testo.",
                "One JSON object a line instead of text.",
            ),
        );
        let filter = section.key(
            "filter",
            "info".to_owned(),
            Text::fixed(
                "Che cosa si registra: error, warn, info, debug, trace, anche per modulo (info,ceralacca=debug).",
                "What is logged: error, warn, info, debug, trace, per module where wanted (info,ceralacca=debug).",
            ),
        );
        if filter.parse::<tracing_subscriber::filter::targets::Targets>().is_err() {
            reader.refuse(
                "log.filter",
                Text::fixed(
                    "\"filter\" non va bene: scrivere error, warn, info, debug o trace, come \"info,ceralacca=debug\"",
                    "\"filter\" is wrong: write error, warn, info, debug or trace, such as \"info,ceralacca=debug\"",
                ),
            );
        }
        Self { json, filter }
    }
}
