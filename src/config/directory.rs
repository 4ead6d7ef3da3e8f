//! `[directory]`: the providers, where they are read from, and what this one says of itself.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{
    KeyPair, ListenAddress,
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::texts::Text;

/// `[directory]`: the other providers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectorySettings {
    /// LDIF with entries of other providers, from this machine: nobody verifies it.
    pub ldif_file: Option<PathBuf>,
    /// How often everything is read again.
    pub refresh: Millis,
    /// Whether the domain of From must be one of the signer's (RFC 6109 §7).
    pub from_must_be_managed: bool,
    /// The whole directory from its server.
    pub fetch: FetchSettings,
    /// This provider's own entry for the others.
    pub publish: PublishSettings,
}

/// How the whole directory is fetched (RFC 6109 §4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchSettings {
    /// Where it is; `None` = it is not fetched.
    pub url: Option<HttpsUrl>,
    /// The authorities of its server's TLS certificate; `None` = those of the operating system.
    pub tls_authority_file: Option<PathBuf>,
    /// What this provider proves itself with there; `None` = its signing certificate.
    pub client: Option<KeyPair>,
    /// The certificates that may sign it, PEM.
    pub signer_certificate_file: Option<PathBuf>,
    /// Who may sign it: O or CN of a certificate that `[trust]` vouches for.
    pub signer_subject: Option<String>,
    /// How long one fetch may take.
    pub timeout: Millis,
    /// Octets it may have.
    pub octets_max: Octets,
    /// The pause after the first failure.
    pub retry_first: Millis,
    /// The longest pause after failures.
    pub retry_longest: Millis,
    /// The share of the providers that may be gone at once.
    pub lost_providers_percent_max: u32,
    /// Domains that may pass from one provider to another at once.
    pub moved_domains_max: usize,
    /// Days over which all of that is added up; 0 = each copy is compared with the last one alone.
    pub compared_days: u32,
}

/// How this provider publishes its own entry (RFC 6109 §4.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishSettings {
    /// The HTTPS door.
    pub listen: ListenAddress,
    /// The address of the file, as the entry names it.
    pub url: Option<HttpsUrl>,
    /// The authorities of clients' certificates; `None` = everybody may read it.
    pub client_authority_file: Option<PathBuf>,
    /// LDIF with the records of this provider's secondary environments.
    pub secondary_ldif_file: Option<PathBuf>,
    /// How long one connection may last.
    pub timeout: Millis,
}

/// An address on a server that speaks HTTPS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpsUrl {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path with its query, beginning with `/`.
    pub path: String,
    text: String,
}

impl HttpsUrl {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands in the field Host: the port only where it is not the usual one.
    #[must_use]
    pub fn authority(&self) -> &str {
        let rest = self.text.get("https://".len()..).unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The text is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotHttps;

impl FromStr for HttpsUrl {
    type Err = NotHttps;

    fn from_str(text: &str) -> Result<Self, NotHttps> {
        let rest = text.strip_prefix("https://").ok_or(NotHttps)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port = if authority.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            authority.to_owned()
        } else {
            format!("{authority}:443")
        };
        let super::HostPort { host, port } = with_port.parse().map_err(|_| NotHttps)?;
        let in_a_request = |octet: u8| octet.is_ascii_graphic() && octet != b'#';
        if port == 0 || !path.bytes().all(in_a_request) {
            return Err(NotHttps);
        }
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { host, port, path, text: text.to_owned() })
    }
}

impl Setting for HttpsUrl {
    fn expected() -> Text {
        Text::fixed(
            "un indirizzo HTTPS, come \"https://igpec.example/igpec.ldif.p7m\"",
            "an address of HTTPS, such as \"https://igpec.example/igpec.ldif.p7m\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        String::from_raw(raw)?.parse().ok()
    }

    fn render(&self) -> String {
        quoted(&self.text)
    }
}

pub(super) fn example(text: &str) -> HttpsUrl {
    let (host, path) = ("igpec.example".to_owned(), "/".to_owned());
    HttpsUrl { host, port: 443, path, text: text.to_owned() }
}

impl DirectorySettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "directory",
            Text::fixed("L'indice dei gestori.", "The directory of providers."),
        );
        let ldif_file = section.optional_path(
            "ldif_file",
            "gestori.ldif",
            Text::fixed(
                "LDIF con le voci di altri gestori, letto da questa macchina: nessuno ne verifica la firma. Per prove e reti chiuse; in esercizio vale url.",
                "LDIF with entries of other providers, read from this machine: nobody verifies a signature. For trials and closed networks; in production there is url.",
            ),
        );
        let refresh = section.within(
            "refresh",
            Millis::hours(24),
            (Millis::seconds(1), Millis::hours(24)),
            Text::fixed(
                "Ogni quanto si rileggono l'indice e le liste di revoca; dopo un errore si riprova prima.",
                "How often directory and revocation lists are read again; after a failure it is sooner.",
            ),
        );
        let from_must_be_managed = section.key(
            "from_must_be_managed",
            true,
            Text::fixed(
                "Una busta o ricevuta il cui dominio in From non è del gestore che firma è un'anomalia (RFC 6109 §7); con false la firma basta.",
                "An envelope or receipt whose domain of From is not the signing provider's is an anomaly (RFC 6109 §7); with false the signature is enough.",
            ),
        );
        let fetch = FetchSettings::read(&mut section);
        let publish = PublishSettings::read(&mut section);
        let this = Self { ldif_file, refresh, from_must_be_managed, fetch, publish };
        this.refuse_contradictions(reader);
        this
    }

    fn refuse_contradictions(&self, reader: &mut Reader<'_>) {
        let FetchSettings { url, signer_certificate_file, signer_subject, .. } = &self.fetch;
        if url.is_some() && signer_certificate_file.is_none() && signer_subject.is_none() {
            reader.refuse(
                "directory.url",
                Text::fixed(
                    "manca chi firma l'indice: indicare signer_certificate_file oppure signer_subject",
                    "who signs the directory is missing: give signer_certificate_file or signer_subject",
                ),
            );
        }
        if self.publish.listen.address().is_some() && self.publish.url.is_none() {
            reader.refuse(
                "directory.publish_listen",
                Text::fixed(
                    "serve publish_url: l'indirizzo del file che gli altri gestori leggono",
                    "publish_url is needed: the address of the file that the other providers read",
                ),
            );
        }
    }
}

impl FetchSettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let url = section.optional(
            "url",
            &example("https://igpec.example/igpec.ldif.p7m"),
            Text::fixed(
                "L'indice intero: LDIF firmato (.p7m) su HTTPS. L'ultima copia buona resta in data.folder e vale finché non ne arriva un'altra.",
                "The whole directory: signed LDIF (.p7m) over HTTPS. The last good copy stays in data.folder and counts until another one comes.",
            ),
        );
        let signer_certificate_file = section.optional_path(
            "signer_certificate_file",
            "firma-igpec.pem",
            Text::fixed(
                "PEM: i certificati che possono firmare l'indice, e nessun altro.",
                "PEM: the certificates that may sign the directory, and no others.",
            ),
        );
        let signer_subject = section.optional(
            "signer_subject",
            &"Agenzia Esempio".to_owned(),
            Text::fixed(
                "Oppure, o in più: chi firma l'indice, come O o CN di un certificato emesso da un'autorità di [trust].",
                "Instead, or besides: who signs the directory, as O or CN of a certificate that an authority of [trust] has issued.",
            ),
        );
        let (tls_authority_file, client) = (tls_authority(section), client(section));
        let (timeout, octets_max) = bounds(section);
        let (retry_first, retry_longest) = retries(section);
        let (lost_providers_percent_max, moved_domains_max) = doubts(section);
        let compared_days = section.within(
            "compared_days",
            7,
            (0, 90),
            Text::fixed(
                "Gli stessi limiti valgono per ciò che le copie di tanti giorni hanno cambiato insieme; con 0 ogni copia si confronta solo con l'ultima.",
                "The same limits hold for what the copies of so many days have changed together; with 0 each copy is compared with the last one alone.",
            ),
        );
        Self {
            url,
            tls_authority_file,
            client,
            signer_certificate_file,
            signer_subject,
            timeout,
            octets_max,
            retry_first,
            retry_longest,
            lost_providers_percent_max,
            moved_domains_max,
            compared_days,
        }
    }
}

fn tls_authority(section: &mut Section<'_, '_>) -> Option<PathBuf> {
    section.optional_path(
                "tls_authority_file",
                "autorita-igpec.pem",
                Text::fixed(
                    "PEM: le autorità del certificato TLS di quel server; se manca, quelle del sistema operativo.",
                    "PEM: the authorities of that server's TLS certificate; when absent, those of the operating system.",
                ),
    )
}

fn bounds(section: &mut Section<'_, '_>) -> (Millis, Octets) {
    let timeout = section.within(
        "timeout",
        Millis::minutes(2),
        (Millis::seconds(1), Millis::hours(1)),
        Text::fixed("Quanto può durare una lettura.", "How long one fetch may take."),
    );
    let octets_max = section.within(
        "octets_max",
        Octets::megabytes(64),
        (Octets::kilobytes(64), Octets::megabytes(64)),
        Text::fixed("Ottetti che l'indice può avere.", "Octets that the directory may have."),
    );
    (timeout, octets_max)
}

fn retries(section: &mut Section<'_, '_>) -> (Millis, Millis) {
    let first = section.within(
        "retry_first",
        Millis::minutes(1),
        (Millis(100), Millis::hours(24)),
        Text::fixed(
            "Attesa dopo il primo errore; poi raddoppia, con un po' di caso.",
            "Pause after the first failure; it doubles then, with a little chance.",
        ),
    );
    let longest = section.within(
        "retry_longest",
        Millis::hours(1),
        (Millis(100), Millis::hours(24)),
        Text::fixed("Attesa più lunga.", "The longest pause."),
    );
    (first, longest)
}

/// What a new copy may change without an operator.
fn doubts(section: &mut Section<'_, '_>) -> (u32, usize) {
    let lost = section.within(
                "lost_providers_percent_max",
                20,
                (0, 100),
                Text::fixed(
                    "Se in una nuova copia manca una parte maggiore dei gestori o dei domini, in percentuale, o una parte maggiore dei gestori ha altri certificati o un'altra casella di servizio, la copia attende `ceralacca directory accept`.",
                    "When a larger share of the providers or of the domains, in percent, is missing in a new copy, or a larger share of the providers has other certificates or another service mailbox, the copy waits for `ceralacca directory accept`.",
                ),
    );
    let moved = section.within(
        "moved_domains_max",
        100,
        (0, 10_000_000),
        Text::fixed(
            "Lo stesso se più domini di questi passano da un gestore a un altro.",
            "The same when more domains than these pass from one provider to another.",
        ),
    );
    (lost, moved)
}

/// What this provider proves itself with, when it is not its signing certificate.
fn client(section: &mut Section<'_, '_>) -> Option<KeyPair> {
    let certificate_file = section.optional_path(
        "client_certificate_file",
        "client.pem",
        Text::fixed(
            "PEM: il certificato con cui ci si presenta a quel server, se lo chiede; se manca, quello di firma.",
            "PEM: the certificate for that server, when it asks for one; when absent, the signing one.",
        ),
    );
    let key_file = section.optional_path(
        "client_key_file",
        "client.key",
        Text::fixed("PEM: la sua chiave.", "PEM: its key."),
    );
    match (certificate_file, key_file) {
        (Some(certificate_file), Some(key_file)) => Some(KeyPair { certificate_file, key_file }),
        (None, None) => None,
        (certificate, _) => {
            let given =
                if certificate.is_some() { "client_certificate_file" } else { "client_key_file" };
            section.refuse(
                given,
                Text::fixed(
                    "client_certificate_file e client_key_file vanno indicati insieme: aggiungere l'altro",
                    "client_certificate_file and client_key_file go together: add the other one",
                ),
            );
            None
        }
    }
}

impl PublishSettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            listen: section.key(
                "publish_listen",
                ListenAddress::Off,
                Text::fixed(
                    "Porta HTTPS su cui la voce di questo gestore, firmata, è pubblicata: \"host:porta\" oppure \"off\".",
                    "HTTPS port on which this provider's entry, signed, is published: \"host:port\" or \"off\".",
                ),
            ),
            url: section.optional(
                "publish_url",
                &example("https://mail.gestore.example:8443/gestore.ldif.p7m"),
                Text::fixed(
                    "Il suo indirizzo, come lo vedono gli altri: sta nella voce (LDIFLocationURL) e ne dà il percorso.",
                    "Its address as others see it: it stands in the entry (LDIFLocationURL), and says the path.",
                ),
            ),
            client_authority_file: section.optional_path(
                "publish_client_authority_file",
                "autorita-gestori.pem",
                Text::fixed(
                    "PEM: legge solo chi ha un certificato di queste autorità; se manca, chiunque.",
                    "PEM: only who has a certificate of these authorities reads it; when absent, everybody.",
                ),
            ),
            secondary_ldif_file: section.optional_path(
                "secondary_ldif_file",
                "ambienti.ldif",
                Text::fixed(
                    "LDIF con le voci degli ambienti secondari di questo gestore (providerUnit), pubblicate con la principale.",
                    "LDIF with the entries of this provider's secondary environments (providerUnit), published with the main one.",
                ),
            ),
            timeout: section.within(
                "publish_timeout",
                Millis::seconds(60),
                (Millis(100), Millis::minutes(10)),
                Text::fixed(
                    "Quanto può durare una connessione a questa porta.",
                    "How long a connection to this port may last.",
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_with_a_host() {
        let url: HttpsUrl = "https://igpec.example:8443/a/b.p7m?c".parse().expect("an address");
        assert_eq!((url.host.as_str(), url.port), ("igpec.example", 8443));
        assert_eq!((url.path.as_str(), url.authority()), ("/a/b.p7m?c", "igpec.example:8443"));
        let url: HttpsUrl = "https://[::1]/".parse().expect("an address");
        assert_eq!((url.host.as_str(), url.port, url.authority()), ("::1", 443, "[::1]"));
        let url: HttpsUrl = "https://igpec.example".parse().expect("an address");
        assert_eq!((url.path.as_str(), url.port), ("/", 443));
        for wrong in [
            "http://a.example/",
            "https://",
            "https:///a",
            "https://a b/",
            "https://a/ b",
            "https://u@a.example/",
            "https://a/#b",
            "https://a:0/",
        ] {
            assert_eq!(wrong.parse::<HttpsUrl>(), Err(NotHttps), "{wrong}");
        }
    }
}
