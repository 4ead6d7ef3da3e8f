//! `[antivirus]` and `[spam_filter]`: programs that are asked what a message contains.

use std::{fmt, path::PathBuf};

use super::{
    HostPort,
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::{pec::content::WhenUnavailable, texts::Text};

/// Where `clamd` listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClamdAddress {
    /// A socket of this machine, by its absolute path.
    Socket(PathBuf),
    /// A port.
    Host(HostPort),
}

impl fmt::Display for ClamdAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(formatter),
            Self::Host(host) => host.fmt(formatter),
        }
    }
}

impl Setting for ClamdAddress {
    fn expected() -> Text {
        Text::fixed(
            "il percorso assoluto di un socket, oppure \"host:porta\"",
            "the absolute path of a socket, or \"host:port\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        let text = String::from_raw(raw)?;
        if text.starts_with('/') {
            return Some(Self::Socket(text.into()));
        }
        text.parse().ok().map(Self::Host)
    }

    fn render(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Who looks for viruses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Antivirus {
    /// `clamd`.
    Clamd,
    /// Nobody: for trials.
    Nobody,
}

impl Setting for Antivirus {
    fn expected() -> Text {
        Text::fixed("\"clamd\" oppure \"none\"", "\"clamd\" or \"none\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "clamd" => Some(Self::Clamd),
            "none" => Some(Self::Nobody),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Clamd => "clamd",
            Self::Nobody => "none",
        })
    }
}

/// Who filters ordinary mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filter {
    /// `rspamd`.
    Rspamd,
    /// Nobody.
    Nobody,
}

impl Setting for Filter {
    fn expected() -> Text {
        Text::fixed("\"rspamd\" oppure \"none\"", "\"rspamd\" or \"none\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "rspamd" => Some(Self::Rspamd),
            "none" => Some(Self::Nobody),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Rspamd => "rspamd",
            Self::Nobody => "none",
        })
    }
}

impl Setting for WhenUnavailable {
    fn expected() -> Text {
        Text::fixed("\"defer\" oppure \"accept\"", "\"defer\" or \"accept\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "defer" => Some(Self::Defer),
            "accept" => Some(Self::Accept),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Defer => "defer",
            Self::Accept => "accept",
        })
    }
}

/// Bounds of asking a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskingSettings {
    /// Time for the connection.
    pub connect_timeout: Millis,
    /// Time for message and answer.
    pub answer_timeout: Millis,
    /// Messages at a time.
    pub connections_max: usize,
    /// How long one may wait for its turn.
    pub waiting_time_max: Millis,
}

/// `[antivirus]`: who looks for viruses in every message that is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AntivirusSettings {
    /// Who.
    pub check: Antivirus,
    /// Where `clamd` listens.
    pub address: ClamdAddress,
    /// Bounds.
    pub asking: AskingSettings,
}

/// `[spam_filter]`: who filters ordinary mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpamFilterSettings {
    /// Who.
    pub check: Filter,
    /// Where `rspamd` listens.
    pub address: HostPort,
    /// Bounds.
    pub asking: AskingSettings,
    /// Size of a message that is asked about.
    pub octets_max: Octets,
    /// What holds when it does not answer.
    pub when_unavailable: WhenUnavailable,
}

const TIME: (Millis, Millis) = (Millis(100), Millis::minutes(10));

fn asking(section: &mut Section<'_, '_>, answer: Millis, connections: usize) -> AskingSettings {
    AskingSettings {
        connect_timeout: section.within(
            "connect_timeout",
            Millis::seconds(5),
            TIME,
            Text::fixed("Tempo per la connessione.", "Time for the connection."),
        ),
        answer_timeout: section.within(
            "answer_timeout",
            answer,
            TIME,
            Text::fixed(
                "Tempo per consegnare un messaggio e averne l'esito.",
                "Time to hand a message over and hear the verdict.",
            ),
        ),
        connections_max: section.within(
            "connections_max",
            connections,
            (1, 1_000),
            Text::fixed(
                "Messaggi esaminati contemporaneamente; quelli oltre 1 MB, e quelli di una stessa origine, ne hanno al più metà.",
                "Messages examined at a time; those over 1 MB, and those of one source, have half of them at most.",
            ),
        ),
        waiting_time_max: section.within(
            "waiting_time_max",
            Millis::minutes(1),
            (Millis(100), Millis::minutes(5)),
            Text::fixed(
                "Quanto attende al più il suo turno un messaggio; poi il mittente deve riprovare.",
                "How long a message waits for its turn at most; then the sender has to try again.",
            ),
        ),
    }
}

impl AntivirusSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "antivirus",
            Text::fixed(
                "Chi cerca virus in ogni messaggio, prima che sia preso. Se non risponde, nessun messaggio è preso (451).",
                "Who looks for viruses in every message before it is taken. While it does not answer, none is taken (451).",
            ),
        );
        Self {
            check: section.key(
                "check",
                Antivirus::Clamd,
                Text::fixed(
                    "\"clamd\", il demone di ClamAV, oppure \"none\": nessuno, solo per prove.",
                    "\"clamd\", the daemon of ClamAV, or \"none\": nobody, for trials only.",
                ),
            ),
            address: section.key(
                "address",
                ClamdAddress::Socket("/run/clamav/clamd.ctl".into()),
                Text::fixed(
                    "Dove ascolta clamd: un socket di questa macchina o \"host:porta\". StreamMaxLength, MaxFileSize e MaxScanSize di clamd.conf devono superare limits.relay_message_octets_max, e AlertExceedsMax deve essere yes: altrimenti passa per pulito ciò che clamd non ha guardato.",
                    "Where clamd listens: a socket of this machine or \"host:port\". StreamMaxLength, MaxFileSize and MaxScanSize of clamd.conf must be above limits.relay_message_octets_max, and AlertExceedsMax must be yes: else what clamd has not looked at passes as clean.",
                ),
            ),
            asking: asking(&mut section, Millis::minutes(3), 8),
        }
    }
}

impl SpamFilterSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "spam_filter",
            Text::fixed(
                "Chi filtra la posta non certificata; l'esito sta nella busta di anomalia (X-Spam-Status).",
                "Who filters mail that is not certified; the anomaly envelope says the outcome (X-Spam-Status).",
            ),
        );
        Self {
            check: section.key(
                "check",
                Filter::Nobody,
                Text::fixed("\"rspamd\", oppure \"none\": nessuno.", "\"rspamd\", or \"none\": nobody."),
            ),
            address: section.key(
                "address",
                HostPort::new("127.0.0.1", 11333),
                Text::fixed("Dove ascolta rspamd.", "Where rspamd listens."),
            ),
            asking: asking(&mut section, Millis::seconds(30), 16),
            octets_max: section.within(
                "octets_max",
                Octets::megabytes(10),
                (Octets::kilobytes(1), Octets::gigabytes(1)),
                Text::fixed(
                    "Dimensione oltre la quale un messaggio non è sottoposto al filtro.",
                    "Size beyond which the filter is not asked about a message.",
                ),
            ),
            when_unavailable: section.key(
                "when_unavailable",
                WhenUnavailable::Defer,
                Text::fixed(
                    "Se il filtro non risponde: \"defer\" rimanda la posta ordinaria (451), \"accept\" la prende e lo dice nella busta.",
                    "While the filter does not answer: \"defer\" puts ordinary mail off (451), \"accept\" takes it and says so in the envelope.",
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamd_is_at_a_socket_or_at_a_port() {
        let read = |text: &str| ClamdAddress::from_raw(&Raw::Text(text.to_owned()));
        assert_eq!(read("/run/x"), Some(ClamdAddress::Socket("/run/x".into())));
        assert_eq!(read("[::1]:3310"), Some(ClamdAddress::Host(HostPort::new("::1", 3310))));
        assert_eq!(read("run/x"), None, "a relative path would depend on where the program starts");
    }
}
