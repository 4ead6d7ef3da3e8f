//! `[oauth]`: whose tokens log people in.

use std::path::PathBuf;

use super::{
    HttpsUrl,
    reader::{Reader, Section},
    units::{Millis, Octets},
};
use crate::texts::Text;

/// `[oauth]`, when an issuer is named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OauthSettings {
    /// The issuer, as the claim `iss` has it.
    pub issuer: String,
    /// What the claim `aud` must hold.
    pub audience: String,
    /// The claim with the address of the account.
    pub login_claim: String,
    /// What clients are told to ask the issuer for.
    pub scope: Option<String>,
    /// By how much the issuer's clock may be another.
    pub clock_tolerance: Millis,
    /// Its keys.
    pub keys: IssuerKeySettings,
}

/// Where the keys of the issuer are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerKeySettings {
    /// On this machine.
    pub file: Option<PathBuf>,
    /// On its server.
    pub url: Option<HttpsUrl>,
    /// The authorities of that server's certificate; `None` = those of the operating system.
    pub tls_authority_file: Option<PathBuf>,
    /// How often they are read again.
    pub refresh: Millis,
    /// The pause after a failure, and between two readings for unknown keys.
    pub retry: Millis,
    /// How long one fetch may take.
    pub timeout: Millis,
    /// Octets that they may have.
    pub octets_max: Octets,
}

impl OauthSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut section = reader.section(
            "oauth",
            Text::fixed(
                "Accesso con i token di un emittente (OAUTHBEARER su IMAP, POP3 e invio), accanto alle password. Senza issuer non è offerto.",
                "Logins by tokens of an issuer (OAUTHBEARER on IMAP, POP3 and submission), besides passwords. Without issuer it is not offered.",
            ),
        );
        let issuer = section.optional(
            "issuer",
            &"https://accesso.example".to_owned(),
            Text::fixed(
                "L'emittente, come sta nel claim iss dei token.",
                "The issuer, as it stands in the claim iss of tokens.",
            ),
        );
        let audience = section.optional(
            "audience",
            &"posta".to_owned(),
            Text::fixed(
                "A chi sono destinati i token: uno dei valori del claim aud.",
                "Whom tokens are for: one of the values of the claim aud.",
            ),
        );
        let login_claim = section.key(
            "login_claim",
            "email".to_owned(),
            Text::fixed(
                "Il claim con l'indirizzo della casella. L'emittente non deve lasciarlo scrivere ai suoi utenti.",
                "The claim with the address of the account. The issuer must not let its users write it.",
            ),
        );
        let scope = section.optional(
            "scope",
            &"openid email".to_owned(),
            Text::fixed(
                "Che cosa i client devono chiedere all'emittente: sta nella risposta a un token rifiutato.",
                "What clients have to ask the issuer for: it stands in the answer to a refused token.",
            ),
        );
        let clock_tolerance = section.within(
            "clock_tolerance",
            Millis::minutes(1),
            (Millis(0), Millis::minutes(5)),
            Text::fixed(
                "Di quanto può differire l'orologio dell'emittente.",
                "By how much the issuer's clock may be another.",
            ),
        );
        let keys = IssuerKeySettings::read(&mut section);
        if let Some((key, text)) = contradiction((&issuer, &audience), &keys) {
            section.refuse(key, text);
        }
        let (issuer, audience) = (issuer?, audience?);
        Some(Self { issuer, audience, login_claim, scope, clock_tolerance, keys })
    }
}

/// What does not fit together, and the key to look at.
fn contradiction(
    (issuer, audience): (&Option<String>, &Option<String>),
    keys: &IssuerKeySettings,
) -> Option<(&'static str, Text)> {
    match (issuer, audience, &keys.file, &keys.url) {
        (None, None, None, None) => None,
        (None, ..) => Some((
            "issuer",
            Text::fixed(
                "manca l'emittente: indicare oauth.issuer",
                "the issuer is missing: give oauth.issuer",
            ),
        )),
        (Some(_), None, ..) => Some((
            "issuer",
            Text::fixed(
                "manca a chi sono destinati i token: indicare oauth.audience",
                "whom tokens are for is missing: give oauth.audience",
            ),
        )),
        (_, _, Some(_), Some(_)) | (_, _, None, None) => Some((
            "issuer",
            Text::fixed(
                "le chiavi dell'emittente stanno in un posto solo: indicare oauth.keys_file oppure oauth.keys_url",
                "the issuer's keys are in one place: give oauth.keys_file or oauth.keys_url",
            ),
        )),
        _ => None,
    }
}

impl IssuerKeySettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            file: section.optional_path(
                "keys_file",
                "chiavi-emittente.json",
                Text::fixed(
                    "Le chiavi dell'emittente (JWK Set) su questa macchina; in alternativa a keys_url.",
                    "The issuer's keys (JWK Set) on this machine; instead of keys_url.",
                ),
            ),
            url: section.optional(
                "keys_url",
                &super::directory::example("https://accesso.example/jwks.json"),
                Text::fixed(
                    "Le chiavi dell'emittente (JWK Set) sul suo server. L'ultima copia buona resta in data.folder.",
                    "The issuer's keys (JWK Set) on its server. The last good copy stays in data.folder.",
                ),
            ),
            tls_authority_file: section.optional_path(
                "tls_authority_file",
                "autorita-emittente.pem",
                Text::fixed(
                    "PEM: le autorità del certificato TLS di quel server; se manca, quelle del sistema operativo.",
                    "PEM: the authorities of that server's TLS certificate; when absent, those of the operating system.",
                ),
            ),
            refresh: section.within(
                "keys_refresh",
                Millis::hours(1),
                (Millis::seconds(1), Millis::hours(24)),
                Text::fixed("Ogni quanto si rileggono le chiavi.", "How often keys are read again."),
            ),
            retry: section.within(
                "keys_retry",
                Millis::minutes(1),
                (Millis(100), Millis::hours(1)),
                Text::fixed(
                    "Pausa dopo un errore, e tra due letture chieste da token con una chiave sconosciuta.",
                    "Pause after a failure, and between two readings that tokens with an unknown key ask for.",
                ),
            ),
            timeout: section.within(
                "timeout",
                Millis::seconds(10),
                (Millis(100), Millis::minutes(5)),
                Text::fixed("Quanto può durare una lettura dal server.", "How long one fetch may take."),
            ),
            octets_max: section.within(
                "keys_octets_max",
                Octets::kilobytes(256),
                (Octets::kilobytes(1), Octets::megabytes(16)),
                Text::fixed("Ottetti che le chiavi possono avere.", "Octets that the keys may have."),
            ),
        }
    }
}
