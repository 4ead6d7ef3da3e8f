//! `[outgoing]`: how messages leave for other servers.

use std::path::PathBuf;

use super::{
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::{pec::tls_policy::ConfiguredTls, texts::Text};

/// `[outgoing]`: retries, connections and their security.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutgoingSettings {
    /// When an attempt is repeated.
    pub retries: RetrySettings,
    /// Messages that one connection carries at most.
    pub messages_per_connection_max: usize,
    /// Connections kept open for the next message.
    pub idle_connections_max: usize,
    /// How long each is kept.
    pub idle_connection_time: Millis,
    /// How long a server may take over one message, before what its octets may take.
    pub transaction_time_max: Millis,
    /// Octets of a message that a server must take in a second.
    pub octets_per_second_min: Octets,
    /// After how long a sender is told that a message to ordinary mail is late; 0 = never.
    pub delay_notice: Millis,
    /// How connections are secured.
    pub security: SecuritySettings,
}

/// The keys `retry_…` of `[outgoing]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetrySettings {
    /// The pause before the second attempt.
    pub first: Millis,
    /// The longest pause between two attempts.
    pub longest: Millis,
    /// How much longer each pause is than the one before, in per cent of it.
    pub factor_percent: u32,
    /// The share of a pause, in per cent, that chance adds at most.
    pub jitter_percent: u32,
}

/// The keys of `[outgoing]` about TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecuritySettings {
    /// What TLS is asked for where no policy says more.
    pub tls: TlsWord,
    /// PEM of authorities that are believed beside those of the operating system.
    pub authority_file: Option<PathBuf>,
    /// Ask DNS for TLSA records (RFC 7672).
    pub dane: bool,
    /// Ask domains for their policies (RFC 8461).
    pub mta_sts: bool,
    /// Policies of domains that are remembered.
    pub mta_sts_policies_max: usize,
    /// How long getting a policy may take.
    pub mta_sts_timeout: Millis,
}

/// What may be asked of TLS, as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsWord(pub ConfiguredTls);

impl Setting for TlsWord {
    fn expected() -> Text {
        Text::fixed(
            "\"opportunistic\", \"require\" o \"verify\"",
            "\"opportunistic\", \"require\" or \"verify\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        Some(Self(match String::from_raw(raw)?.as_str() {
            "opportunistic" => ConfiguredTls::Opportunistic,
            "require" => ConfiguredTls::Require,
            "verify" => ConfiguredTls::Verify,
            _ => return None,
        }))
    }

    fn render(&self) -> String {
        quoted(match self.0 {
            ConfiguredTls::Opportunistic => "opportunistic",
            ConfiguredTls::Require => "require",
            ConfiguredTls::Verify => "verify",
        })
    }
}

impl OutgoingSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "outgoing",
            Text::fixed("Invio ad altri gestori.", "Sending to other servers."),
        );
        let settings = Self {
            retries: RetrySettings::read(&mut section),
            messages_per_connection_max: section.within(
                "messages_per_connection_max",
                100,
                (1, 100_000),
                Text::fixed(
                    "Messaggi inviati al più con una connessione.",
                    "Messages sent over one connection at most.",
                ),
            ),
            idle_connections_max: section.within(
                "idle_connections_max",
                32,
                (0, 10_000),
                Text::fixed(
                    "Connessioni tenute aperte per il messaggio seguente; 0 = nessuna.",
                    "Connections kept open for the next message; 0 = none.",
                ),
            ),
            idle_connection_time: section.within(
                "idle_connection_time",
                Millis::seconds(10),
                (Millis(0), Millis::minutes(5)),
                Text::fixed(
                    "Per quanto tempo ciascuna.",
                    "For how long each.",
                ),
            ),
            transaction_time_max: transaction_time_max(&mut section),
            octets_per_second_min: octets_per_second_min(&mut section),
            delay_notice: section.within(
                "delay_notice",
                Millis::hours(4),
                (Millis(0), Millis::hours(24)),
                Text::fixed(
                    "Dopo quanto il mittente è avvisato, una volta, che un messaggio verso posta ordinaria è in ritardo; \"0 s\" = mai.",
                    "After how long the sender is told, once, that a message to ordinary mail is late; \"0 s\" = never.",
                ),
            ),
            security: SecuritySettings::read(&mut section),
        };
        if settings.retries.longest < settings.retries.first {
            reader.refuse(
                "outgoing.retry_longest",
                Text::fixed(
                    "\"retry_longest\" è minore di \"retry_first\": aumentarlo",
                    "\"retry_longest\" is less than \"retry_first\": raise it",
                ),
            );
        }
        settings
    }
}

fn transaction_time_max(section: &mut Section<'_, '_>) -> Millis {
    section.within(
        "transaction_time_max",
        Millis::minutes(15),
        (Millis::seconds(10), Millis::hours(24)),
        Text::fixed(
            "Tempo per un messaggio, da MAIL alla fine dei dati; si aggiunge quello dei suoi ottetti.",
            "Time for one message, from MAIL to the end of its data; that of its octets is added.",
        ),
    )
}

fn octets_per_second_min(section: &mut Section<'_, '_>) -> Octets {
    section.within(
        "octets_per_second_min",
        Octets::kilobytes(8),
        (Octets(1), Octets::gigabytes(1)),
        Text::fixed(
            "Quanti ottetti del messaggio al secondo il server deve prendere almeno.",
            "How many octets of the message the server must take in a second at least.",
        ),
    )
}

impl RetrySettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            first: section.within(
                "retry_first",
                Millis::seconds(5),
                (Millis(100), Millis::hours(1)),
                Text::fixed(
                    "Pausa prima del secondo tentativo.",
                    "Pause before the second attempt.",
                ),
            ),
            longest: section.within(
                "retry_longest",
                Millis::minutes(15),
                (Millis(100), Millis::hours(4)),
                Text::fixed(
                    "Pausa più lunga tra due tentativi.",
                    "Longest pause between two attempts.",
                ),
            ),
            factor_percent: section.within(
                "retry_factor_percent",
                200,
                (100, 1_000),
                Text::fixed(
                    "Quanto cresce ogni pausa rispetto alla precedente, in percento: 200 la raddoppia.",
                    "How much longer each pause is than the one before, in per cent: 200 doubles it.",
                ),
            ),
            jitter_percent: section.within(
                "retry_jitter_percent",
                25,
                (0, 100),
                Text::fixed(
                    "Quota della pausa, in percento, che il caso aggiunge al più.",
                    "Share of the pause, in per cent, that chance adds at most.",
                ),
            ),
        }
    }
}

impl SecuritySettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            tls: section.key(
                "tls",
                TlsWord(ConfiguredTls::Opportunistic),
                Text::fixed(
                    "TLS dove nessuna regola chiede di più: \"opportunistic\" se offerto, \"require\" sempre, \"verify\" con certificato verificato.",
                    "TLS where no policy asks for more: \"opportunistic\" if offered, \"require\" always, \"verify\" with a verified certificate.",
                ),
            ),
            authority_file: section.optional_path(
                "authority_file",
                "autorita.pem",
                Text::fixed(
                    "PEM di autorità credute, oltre a quelle del sistema, per i certificati dei server.",
                    "PEM of authorities believed, beside those of the system, for certificates of servers.",
                ),
            ),
            dane: section.key(
                "dane",
                true,
                Text::fixed(
                    "Chiede al DNS i record TLSA dei server; valgono se il DNS è verificato (DNSSEC).",
                    "Asks DNS for TLSA records of servers; they count when DNS is validated (DNSSEC).",
                ),
            ),
            mta_sts: section.key(
                "mta_sts",
                true,
                Text::fixed(
                    "Chiede ai domini la loro regola MTA-STS, via HTTPS.",
                    "Asks domains for their MTA-STS policy, over HTTPS.",
                ),
            ),
            mta_sts_policies_max: section.within(
                "mta_sts_policies_max",
                10_000,
                (1, 10_000_000),
                Text::fixed(
                    "Regole MTA-STS ricordate; si dimentica prima la più vecchia.",
                    "MTA-STS policies remembered; the oldest is forgotten first.",
                ),
            ),
            mta_sts_timeout: section.within(
                "mta_sts_timeout",
                Millis::seconds(20),
                (Millis(100), Millis::minutes(5)),
                Text::fixed(
                    "Tempo per ottenere una regola MTA-STS.",
                    "Time to get an MTA-STS policy.",
                ),
            ),
        }
    }
}
