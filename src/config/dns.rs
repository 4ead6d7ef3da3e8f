//! `[dns]`: whom names are asked of, for how long, and what is believed.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    reader::{Reader, Section},
    source::Raw,
    units::Millis,
    value::{Setting, quoted},
};
use crate::texts::Text;

/// `[dns]`: questions about names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsSettings {
    /// The servers to ask, in this order; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Time for one try at one server.
    pub timeout: Millis,
    /// Rounds over all servers.
    pub tries: u32,
    /// Time for one question, all tries and aliases together, from its turn on.
    pub question_time_max: Millis,
    /// Questions asked at a time; further ones wait.
    pub questions_max: usize,
    /// How long one may wait for its turn.
    pub waiting_time_max: Millis,
    /// Questions for one destination, every try at every server counted.
    pub questions_per_destination_max: usize,
    /// Answers that are remembered.
    pub cache_entries_max: usize,
    /// How long an answer is remembered at least, whatever it says.
    pub lifetime_min: Millis,
    /// How long an answer is remembered at most.
    pub lifetime_max: Millis,
    /// How long it is remembered at most that a name has no records.
    pub negative_lifetime_max: Millis,
    /// What is made of DNSSEC.
    pub dnssec: Dnssec,
    /// DNSKEY records that validation starts from, instead of those of the root zone.
    pub trust_anchor_file: Option<PathBuf>,
}

/// What is made of DNSSEC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dnssec {
    /// No answer counts as secure.
    Off,
    /// The servers validate, and their AD bit is believed.
    Trust,
    /// Signatures are validated here.
    Validate,
}

impl Setting for Dnssec {
    fn expected() -> Text {
        Text::fixed("\"trust\", \"validate\" oppure \"off\"", "\"trust\", \"validate\" or \"off\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "off" => Some(Self::Off),
            "trust" => Some(Self::Trust),
            "validate" => Some(Self::Validate),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Off => "off",
            Self::Trust => "trust",
            Self::Validate => "validate",
        })
    }
}

const COUNT: (usize, usize) = (1, 10_000_000);
const TIME: (Millis, Millis) = (Millis(50), Millis::minutes(2));
const LIFETIME: (Millis, Millis) = (Millis(0), Millis::hours(24 * 7));

impl DnsSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "dns",
            Text::fixed(
                "A chi si chiedono i nomi (MX, indirizzi, TLSA, criteri dei domini), e che cosa si ricorda.",
                "Whom names are asked of (MX, addresses, TLSA, policies of domains), and what is remembered.",
            ),
        );
        let section = &mut section;
        let servers = section.key(
            "servers",
            Vec::new(),
            Text::fixed(
                "Server DNS ricorsivi, nell'ordine in cui si interrogano; senza, quelli di /etc/resolv.conf.",
                "Recursive DNS servers, in the order in which they are asked; without, those of /etc/resolv.conf.",
            ),
        );
        let (timeout, tries, question_time_max) = times(section);
        let (questions_max, waiting_time_max, questions_per_destination_max) = counts(section);
        let (cache_entries_max, lifetime_min, lifetime_max, negative_lifetime_max) =
            memory(section);
        let (dnssec, trust_anchor_file) = signatures(section);
        Self {
            servers,
            timeout,
            tries,
            question_time_max,
            questions_max,
            waiting_time_max,
            questions_per_destination_max,
            cache_entries_max,
            lifetime_min,
            lifetime_max,
            negative_lifetime_max,
            dnssec,
            trust_anchor_file,
        }
    }
}

fn times(section: &mut Section<'_, '_>) -> (Millis, u32, Millis) {
    let timeout = section.within(
        "timeout",
        Millis::seconds(3),
        TIME,
        Text::fixed("Tempo per una prova presso un server.", "Time for one try at one server."),
    );
    let tries = section.within(
        "tries",
        2,
        (1, 10),
        Text::fixed("Giri su tutti i server.", "Rounds over all servers."),
    );
    let question_time_max = section.within(
        "question_time_max",
        Millis::seconds(15),
        TIME,
        Text::fixed(
            "Tempo per una domanda, comprese tutte le prove e gli alias.",
            "Time for one question, all tries and aliases together.",
        ),
    );
    (timeout, tries, question_time_max)
}

fn counts(section: &mut Section<'_, '_>) -> (usize, Millis, usize) {
    let questions_max = section.within(
        "questions_max",
        256,
        COUNT,
        Text::fixed(
            "Domande contemporanee; le altre attendono.",
            "Questions asked at a time; further ones wait.",
        ),
    );
    let waiting_time_max = section.within(
        "waiting_time_max",
        Millis::minutes(1),
        TIME,
        Text::fixed(
            "Quanto attende al più il suo turno una domanda.",
            "How long a question waits for its turn at most.",
        ),
    );
    let questions_per_destination_max = section.within(
        "questions_per_destination_max",
        100,
        (10, 10_000),
        Text::fixed(
            "Domande per trovare i server di un dominio, comprese tutte le prove.",
            "Questions to find the servers of one domain, all tries included.",
        ),
    );
    (questions_max, waiting_time_max, questions_per_destination_max)
}

fn memory(section: &mut Section<'_, '_>) -> (usize, Millis, Millis, Millis) {
    let cache_entries_max = section.within(
        "cache_entries_max",
        10_000,
        COUNT,
        Text::fixed(
            "Risposte ricordate; si dimentica prima la più vecchia.",
            "Answers remembered; the oldest is forgotten first.",
        ),
    );
    let lifetime_min = section.within(
        "lifetime_min",
        Millis::seconds(5),
        LIFETIME,
        Text::fixed(
            "Per quanto una risposta è ricordata almeno, qualunque cosa dica.",
            "How long an answer is remembered at least, whatever it says.",
        ),
    );
    let lifetime_max = section.within(
        "lifetime_max",
        Millis::hours(1),
        LIFETIME,
        Text::fixed(
            "Per quanto una risposta è ricordata al più.",
            "How long an answer is remembered at most.",
        ),
    );
    let negative_lifetime_max = section.within(
        "negative_lifetime_max",
        Millis::minutes(5),
        LIFETIME,
        Text::fixed(
            "Per quanto si ricorda al più che un nome non esiste o non ha dati.",
            "How long it is remembered at most that a name does not exist or has no records.",
        ),
    );
    (cache_entries_max, lifetime_min, lifetime_max, negative_lifetime_max)
}

fn signatures(section: &mut Section<'_, '_>) -> (Dnssec, Option<PathBuf>) {
    let dnssec = section.key(
        "dnssec",
        Dnssec::Trust,
        Text::fixed(
            "DNSSEC: \"trust\" = i server lo verificano e si crede al loro bit AD, se sono elencati in servers o su questa macchina; \"validate\" = si verifica qui; \"off\" = nessuna risposta è sicura.",
            "DNSSEC: \"trust\" = the servers validate and their AD bit is believed, when they are listed in servers or on this machine; \"validate\" = signatures are validated here; \"off\" = no answer is secure.",
        ),
    );
    let trust_anchor_file = section.optional_path(
        "trust_anchor_file",
        "/etc/ceralacca/root.key",
        Text::fixed(
            "Record DNSKEY da cui parte la verifica; senza, le chiavi della radice note al programma.",
            "DNSKEY records that validation starts from; without, the root's keys that the program knows.",
        ),
    );
    (dnssec, trust_anchor_file)
}
