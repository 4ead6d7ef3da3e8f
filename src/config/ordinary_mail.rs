//! `[ordinary_mail]`: mail that is not certified.

use super::{
    DomainName,
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::{pec::engine::OrdinaryMail, texts::Text};

/// `[ordinary_mail]`: what happens to mail that no provider has signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OrdinaryMailSettings {
    /// Whether it is taken.
    pub accept: OrdinaryMail,
    /// Whether SPF, DKIM, DMARC and ARC are checked.
    pub check: bool,
    /// Whether a domain's wish to have failing mail refused is obeyed.
    pub dmarc_reject: bool,
    /// Whether mail from a server that SPF excludes is refused.
    pub spf_reject: bool,
    /// Whether mail waits while DNS does not answer; else it is taken.
    pub defer_on_dns_failure: bool,
    /// Whose ARC seal speaks for mail that fails DMARC.
    pub arc_trusted: Vec<DomainName>,
    /// Time for each part of the checks: policy, SPF, every signature.
    pub check_time_max: Millis,
    /// Size of a message whose signatures are checked.
    pub check_octets_max: Octets,
    /// Signatures of one message that are checked.
    pub signatures_max: usize,
    /// Messages that are checked at a time.
    pub checks_max: usize,
    /// How long one may wait for its turn.
    pub waiting_time_max: Millis,
}

impl Setting for OrdinaryMail {
    fn expected() -> Text {
        Text::fixed("\"wrap\" oppure \"refuse\"", "\"wrap\" or \"refuse\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "wrap" => Some(Self::Wrap),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Wrap => "wrap",
            Self::Refuse => "refuse",
        })
    }
}

impl OrdinaryMailSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "ordinary_mail",
            Text::fixed(
                "La posta non certificata che arriva da altri server.",
                "Mail that is not certified, from other servers.",
            ),
        );
        let section = &mut section;
        let accept = section.key(
            "accept",
            OrdinaryMail::Wrap,
            Text::fixed(
                "Consegnarla in una busta di anomalia (\"wrap\") o rifiutarla (\"refuse\").",
                "Deliver it in an anomaly envelope (\"wrap\") or refuse it (\"refuse\").",
            ),
        );
        let (check, dmarc_reject, spf_reject, defer_on_dns_failure) = policy(section);
        let arc_trusted = section.key(
            "arc_trusted",
            Vec::new(),
            Text::fixed(
                "Domini (liste, inoltri) il cui sigillo ARC vale per la posta che non supera DMARC.",
                "Domains (lists, forwarders) whose ARC seal speaks for mail that fails DMARC.",
            ),
        );
        let (check_time_max, check_octets_max, signatures_max) = bounds(section);
        let (checks_max, waiting_time_max) = turns(section);
        Self {
            accept,
            check,
            dmarc_reject,
            spf_reject,
            defer_on_dns_failure,
            arc_trusted,
            check_time_max,
            check_octets_max,
            signatures_max,
            checks_max,
            waiting_time_max,
        }
    }
}

fn policy(section: &mut Section<'_, '_>) -> (bool, bool, bool, bool) {
    let check = section.key(
        "check",
        true,
        Text::fixed(
            "Verificare SPF, DKIM, DMARC e ARC; l'esito sta nella busta (Authentication-Results).",
            "Check SPF, DKIM, DMARC and ARC; the envelope says the outcome (Authentication-Results).",
        ),
    );
    let dmarc_reject = section.key(
        "dmarc_reject",
        true,
        Text::fixed(
            "Rifiutare la posta che non supera DMARC, se il dominio del mittente lo chiede (p=reject).",
            "Refuse mail that fails DMARC when the sender's domain asks for it (p=reject).",
        ),
    );
    let spf_reject = section.key(
        "spf_reject",
        false,
        Text::fixed(
            "Rifiutare la posta da server che SPF esclude (-all), anche se DKIM e DMARC sono a posto.",
            "Refuse mail from servers that SPF excludes (-all), even when DKIM and DMARC are in order.",
        ),
    );
    let defer_on_dns_failure = section.key(
        "defer_on_dns_failure",
        false,
        Text::fixed(
            "Rimandare (451) anche la posta il cui esito non è noto perché il DNS non risponde, e che nessun p=reject riguarda.",
            "Put off (451) also mail whose outcome is not known because DNS does not answer and that no p=reject concerns.",
        ),
    );
    (check, dmarc_reject, spf_reject, defer_on_dns_failure)
}

fn bounds(section: &mut Section<'_, '_>) -> (Millis, Octets, usize) {
    let check_time_max = section.within(
        "check_time_max",
        Millis::seconds(20),
        (Millis(100), Millis::minutes(5)),
        Text::fixed(
            "Tempo per ogni parte delle verifiche: criterio del dominio, SPF, ciascuna firma.",
            "Time for each part of the checks: policy of the domain, SPF, every signature.",
        ),
    );
    let check_octets_max = section.within(
        "check_octets_max",
        Octets::megabytes(72),
        (Octets(0), Octets::gigabytes(1)),
        Text::fixed(
            "Dimensione oltre la quale le firme di un messaggio non si verificano.",
            "Size beyond which the signatures of a message are not checked.",
        ),
    );
    let signatures_max = section.within(
        "signatures_max",
        10,
        (1, 50),
        Text::fixed(
            "Firme di un messaggio che si verificano.",
            "Signatures of one message that are checked.",
        ),
    );
    (check_time_max, check_octets_max, signatures_max)
}

fn turns(section: &mut Section<'_, '_>) -> (usize, Millis) {
    let checks_max = section.within(
        "checks_max",
        64,
        (1, 10_000),
        Text::fixed(
            "Messaggi verificati contemporaneamente; gli altri attendono.",
            "Messages checked at a time; further ones wait.",
        ),
    );
    let waiting_time_max = section.within(
        "waiting_time_max",
        Millis::minutes(1),
        (Millis(100), Millis::minutes(5)),
        Text::fixed(
            "Quanto attende al più il suo turno un messaggio.",
            "How long a message waits for its turn at most.",
        ),
    );
    (checks_max, waiting_time_max)
}
