//! `[journal]`: how the provider's log of operations is sealed, stamped and kept.

use std::path::PathBuf;

use super::{
    reader::Reader,
    source::Raw,
    units::Millis,
    value::{Setting, quoted},
};
use crate::{pec::journal::keeper::KEPT_MONTHS_MIN, texts::Text};

/// `[journal]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JournalSettings {
    /// Pause between two seals.
    pub seal_interval: Millis,
    /// For how many months records are kept.
    pub kept_months: u32,
    /// The time-stamping service; `None`: the development authority stamps.
    pub timestamp_url: Option<String>,
    /// Authorities that its certificates lead to.
    pub timestamp_authority_files: Vec<PathBuf>,
    /// The longest time of one time stamp.
    pub timestamp_timeout: Millis,
    /// The longest pause between two tries of a service that gives none.
    pub timestamp_retry_longest: Millis,
}

/// The address of a service: `http` or `https`, host, path where wanted.
struct ServiceUrl(String);

impl Setting for ServiceUrl {
    fn expected() -> Text {
        Text::fixed(
            "un indirizzo, come \"https://tsa.example/tsr\"",
            "an address, such as \"https://tsa.example/tsr\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        let text = String::from_raw(raw)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let plain = rest.bytes().all(|octet| octet.is_ascii_graphic());
        (!rest.is_empty() && !rest.starts_with('/') && plain).then_some(Self(text))
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

impl JournalSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "journal",
            Text::fixed(
                "Il giornale delle operazioni (RFC 6109 §2.3): sigilli, marche temporali, conservazione.",
                "The log of operations (RFC 6109 §2.3): seals, time stamps, how long it stays.",
            ),
        );
        let seal_interval = section.within(
            "seal_interval",
            Millis::minutes(1),
            (Millis::seconds(1), Millis::minutes(1)),
            Text::fixed(
                "Pausa tra due sigilli: da un secondo a un minuto.",
                "Pause between two seals: from one second to one minute.",
            ),
        );
        let kept_months = section.within(
            "kept_months",
            KEPT_MONTHS_MIN,
            (KEPT_MONTHS_MIN, 1_200),
            Text::fixed(
                "Per quanti mesi restano le registrazioni e i dati delle trasmissioni: mai meno di 30; 60 per il dominio giustizia.",
                "For how many months records and facts of transmissions stay: never less than 30; 60 in the domain of justice.",
            ),
        );
        let timestamp_url = section.optional(
            "timestamp_url",
            &ServiceUrl("https://tsa.example/tsr".to_owned()),
            Text::fixed(
                "Il servizio di marche temporali (RFC 3161) per le giornate del giornale. Senza, marca l'autorità di sviluppo, senza valore legale.",
                "The time-stamping service (RFC 3161) for the days of the journal. Without one, the development authority stamps, without legal value.",
            ),
        );
        let timestamp_authority_files = section.paths(
            "timestamp_authority_files",
            Text::fixed(
                "File PEM con le autorità da cui vengono i certificati del servizio.",
                "PEM files with the authorities that the service's certificates come from.",
            ),
        );
        let timestamp_timeout = section.within(
            "timestamp_timeout",
            Millis::seconds(30),
            (Millis::seconds(1), Millis::minutes(10)),
            Text::fixed(
                "Tempo massimo per una marca; poi si riprova dopo una pausa.",
                "The longest time of one time stamp; after a pause it is tried again.",
            ),
        );
        let timestamp_retry_longest = section.within(
            "timestamp_retry_longest",
            Millis::minutes(15),
            (Millis::minutes(1), Millis::hours(24)),
            Text::fixed(
                "Pausa massima tra due tentativi: la prima dura quanto seal_interval, poi raddoppia.",
                "The longest pause between two tries: the first is as long as seal_interval, then it doubles.",
            ),
        );
        Self {
            seal_interval,
            kept_months,
            timestamp_url: timestamp_url.map(|url| url.0),
            timestamp_authority_files,
            timestamp_timeout,
            timestamp_retry_longest,
        }
    }
}
