//! The configuration: one TOML file, overlaid by the environment, with a documented default for
//! every setting.
//!
//! * A variable `CERALACCA_SECTION_KEY` (capitals, dots and hyphens as underscores) replaces the
//!   setting of the file; lists are separated by commas.
//! * Everything wrong is reported at once, each with file and line (or variable) and a remedy; a
//!   configuration with an error is never used in part.
//! * A relative path in the file starts at the file's folder.
//! * `ceralacca config example` is generated from the same declarations that read the settings.
//!
//! Not here: what a setting does; each room gets plain values from [`crate::config`] sections.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use archive::ArchiveSettings;
pub use backup::{BackupSettings, BackupTarget, BackupTiming};
pub use collector::CollectorSettings;
pub use content::{
    Antivirus, AntivirusSettings, AskingSettings, ClamdAddress, Filter, SpamFilterSettings,
};
pub use directory::{DirectorySettings, FetchSettings, HttpsUrl, PublishSettings};
pub use dns::{DnsSettings, Dnssec};
pub use error::{ConfigError, ConfigErrors, Place};
pub use imap::{AppendSettings, ImapSettings};
pub use journal::JournalSettings;
pub use limits::{LimitSettings, LoginSettings, Pop3Settings};
pub use oauth::{IssuerKeySettings, OauthSettings};
pub use objects::{BucketSettings, ObjectSettings};
pub use ordinary_mail::OrdinaryMailSettings;
pub use outgoing::{OutgoingSettings, RetrySettings, SecuritySettings, TlsWord};
pub use receipts::ReceiptsSettings;
pub use restore::RestoreSettings;
pub use snapshots::{SnapshotSettings, SnapshotTimes};
pub use value::{DomainName, HostPort, ListenAddress, NotADomainName, NotHostPort};

use protocols::net::proxy::Network;
use trust::digest::Sha256Digest;

use crate::{
    registry::plan::Plans,
    texts::{Language, Text},
};
use reader::Reader;
use source::Source;
use units::{Millis, Octets};

mod archive;
mod backup;
mod content;
mod directory;
mod dns;
mod error;
mod imap;
mod journal;
mod limits;
mod oauth;
mod objects;
mod ordinary_mail;
mod outgoing;
mod plans;
mod reader;
mod receipts;
mod restore;
pub mod snapshots;
mod source;
pub mod units;
mod value;

/// The whole configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// `[provider]`
    pub provider: ProviderSettings,
    /// `[data]`
    pub data: DataSettings,
    /// `[listen]`
    pub listen: ListenSettings,
    /// `[tls]`: `None` = a certificate of the development authority.
    pub tls: Option<KeyPair>,
    /// `[signing]`: `None` = a certificate of the development authority.
    pub signing: Option<KeyPair>,
    /// `[directory]`
    pub directory: DirectorySettings,
    /// `[trust]`
    pub trust: TrustSettings,
    /// `[routes]`: domain → where its mail goes, instead of what DNS says.
    pub routes: BTreeMap<DomainName, HostPort>,
    /// `[outgoing]`
    pub outgoing: OutgoingSettings,
    /// `[tls_policy]`: domain → the TLS that is asked for towards it, whatever DNS says.
    pub tls_policy: BTreeMap<DomainName, TlsWord>,
    /// `[dns]`
    pub dns: DnsSettings,
    /// `[ordinary_mail]`
    pub ordinary_mail: OrdinaryMailSettings,
    /// `[receipts]`
    pub receipts: ReceiptsSettings,
    /// `[antivirus]`
    pub antivirus: AntivirusSettings,
    /// `[spam_filter]`
    pub spam_filter: SpamFilterSettings,
    /// `[store]`
    pub store: StoreSettings,
    /// `[objects]`
    pub objects: ObjectSettings,
    /// `[backup]`
    pub backup: BackupSettings,
    /// `[archive]`
    pub archive: ArchiveSettings,
    /// `[collector]`
    pub collector: CollectorSettings,
    /// `[journal]`
    pub journal: JournalSettings,
    /// `[snapshots]`
    pub snapshots: SnapshotSettings,
    /// `[registry]`
    pub registry: RegistrySettings,
    /// `[login]`
    pub login: LoginSettings,
    /// `[oauth]`: `None` = nobody logs in by a token.
    pub oauth: Option<OauthSettings>,
    /// `[pop3]`
    pub pop3: Pop3Settings,
    /// `[imap]`
    pub imap: ImapSettings,
    /// `[limits]`
    pub limits: LimitSettings,
    /// `[plans.*]`
    pub plans: Plans,
    /// `[log]`
    pub log: LogSettings,
}

/// `[provider]`: who we are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProviderSettings {
    /// The name that stands in receipts and certificates.
    pub name: String,
    /// The provider's own domain; its identifiers and service address are in it.
    pub mail_domain: DomainName,
    /// The address that receipts and notices come from.
    pub service_address: String,
    /// The name in SMTP greetings and TLS certificates.
    pub host_name: DomainName,
    /// PEC domains registered at start, besides those of `ceralacca domain add`.
    pub pec_domains: Vec<DomainName>,
}

/// `[data]`: where everything is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataSettings {
    /// One folder for all of it.
    pub folder: PathBuf,
}

impl DataSettings {
    /// The registry's database.
    #[must_use]
    pub fn registry_file(&self) -> PathBuf {
        self.folder.join("registry.sqlite")
    }

    /// The catalog's folder.
    #[must_use]
    pub fn catalog_folder(&self) -> PathBuf {
        self.folder.join("catalog")
    }

    /// The folder of packs, when objects are kept in files.
    #[must_use]
    pub fn objects_folder(&self) -> PathBuf {
        self.folder.join("objects")
    }

    /// The socket on which commands reach the running server.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.folder.join("control.socket")
    }

    /// Chunks read lately from a bucket.
    #[must_use]
    pub fn object_cache_folder(&self) -> PathBuf {
        self.folder.join("object_cache")
    }

    /// The data key of back-ups.
    #[must_use]
    pub fn backup_key_file(&self) -> PathBuf {
        self.folder.join("backup.key")
    }

    /// What messages in quarantine are sealed under.
    #[must_use]
    pub fn quarantine_key_file(&self) -> PathBuf {
        self.folder.join("quarantine.key")
    }

    /// Where a checkpoint is put together.
    #[must_use]
    pub fn backup_work_folder(&self) -> PathBuf {
        self.folder.join("backup.work")
    }

    /// Pairs that sign besides the one of `[signing]`, and when.
    #[must_use]
    pub fn signing_folder(&self) -> PathBuf {
        self.folder.join("signing")
    }

    /// The copy of the directory of providers.
    #[must_use]
    pub fn directory_folder(&self) -> PathBuf {
        self.folder.join("directory")
    }

    /// The copy of the keys that `issuer` publishes at `url`: each has a name of its own, so that the
    /// keys of an issuer that was given up are never taken for those of another.
    #[must_use]
    pub fn issuer_keys_file(&self, issuer: &str, url: &str) -> PathBuf {
        let whose = Sha256Digest::of(format!("{issuer}\n{url}").as_bytes());
        self.folder.join(format!("issuer_keys-{}.json", hex::encode(&whose.0[..8])))
    }

    /// Keys and certificates of the development authority.
    #[must_use]
    pub fn authority_folder(&self) -> PathBuf {
        self.folder.join("authority")
    }
}

/// `[listen]`: the doors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenSettings {
    /// Relay from other servers (RFC 5321).
    pub smtp_relay: ListenAddress,
    /// Submission with STARTTLS (RFC 6409).
    pub submission: ListenAddress,
    /// Submission with implicit TLS (RFC 8314).
    pub submissions: ListenAddress,
    /// IMAP with STARTTLS (RFC 9051 §6.2.1).
    pub imap: ListenAddress,
    /// IMAP with implicit TLS.
    pub imaps: ListenAddress,
    /// POP3 with STLS (RFC 2595 §4).
    pub pop3: ListenAddress,
    /// POP3 with implicit TLS.
    pub pop3s: ListenAddress,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub operations: ListenAddress,
    /// The balancers that send the PROXY protocol on the ports of mail.
    pub proxy_from: Vec<Network>,
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPair {
    /// The certificate, then those that lead to the root.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// `[trust]`: whom we believe besides the directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustSettings {
    /// PEM files of further certification authorities.
    pub authority_files: Vec<PathBuf>,
    /// Revocation lists of these authorities, PEM or DER.
    pub revocation_files: Vec<PathBuf>,
}

/// `[store]`: how octets are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSettings {
    /// Size a pack grows to.
    pub pack_octets_max: Octets,
    /// Chunks up to this size wait in the catalog until the packer takes them.
    pub small_chunk_octets_max: Octets,
    /// Memory for chunks read lately.
    pub chunk_cache_octets_max: Octets,
    /// Memory for blocks of the catalog read lately.
    pub catalog_cache_octets_max: Octets,
    /// Pause of the packer between two runs.
    pub pack_interval: Millis,
    /// Time in which every pack is read and verified once.
    pub scrub_period: Millis,
    /// Pause of the builder of blocks between two runs.
    pub block_interval: Millis,
    /// Rows and headers that the builder of blocks reads in a second, at most.
    pub block_rows_per_second_max: u32,
}

/// `[registry]`: owners and accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistrySettings {
    /// Refuse a second open account for an owner with the same codice fiscale.
    pub one_account_per_codice_fiscale: bool,
    /// How long a change waits for another process that is writing.
    pub busy_timeout: Millis,
    /// How often the server looks for changes that commands made.
    pub outbox_interval: Millis,
}

/// `[log]`: what the program says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, per module where wanted
    /// (`info,ceralacca=debug`).
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self::read(&mut Reader::new(&Source::default(), None))
    }
}

impl Config {
    /// Reads `file`, when there is one, overlaid by `variables` (those of the process:
    /// [`std::env::vars`]).
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let source = Source::read(file, variables).map_err(|error| ConfigErrors(vec![error]))?;
        let mut reader = Reader::new(&source, file);
        let mut config = Self::read(&mut reader);
        reader.finish()?;
        config.file = file.map(Path::to_owned);
        Ok(config)
    }

    /// A commented file with every setting, which reads as the defaults.
    #[must_use]
    pub fn example(language: Language) -> String {
        let source = Source::default();
        let mut reader = Reader::new(&source, None);
        Self::read(&mut reader);
        let head = Text::fixed(
            "# Configurazione di Ceralacca. Ogni valore qui sotto è quello predefinito.\n\
             # Una variabile d'ambiente CERALACCA_SEZIONE_CHIAVE prevale sul file.\n\
             # 1 KB = 2^10 ottetti, 1 MB = 2^20, 1 GB = 2^30. I percorsi relativi partono da questa cartella.\n",
            "# Configuration of Ceralacca. Every value below is the default.\n\
             # An environment variable CERALACCA_SECTION_KEY overrides the file.\n\
             # 1 KB = 2^10 octets, 1 MB = 2^20, 1 GB = 2^30. Relative paths start at this folder.\n",
        );
        format!("{}{}", head.get(language), reader.example(language))
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            file: None,
            provider: ProviderSettings::read(reader),
            data: DataSettings::read(reader),
            listen: ListenSettings::read(reader),
            tls: KeyPair::read(
                reader,
                "tls",
                Text::fixed(
                    "Certificato TLS delle porte. Senza, ne fa uno l'autorità di sviluppo.",
                    "TLS certificate of the ports. Without one, the development authority makes it.",
                ),
            ),
            signing: KeyPair::read(
                reader,
                "signing",
                Text::fixed(
                    "Certificato con cui il gestore firma ricevute e buste. Senza, ne fa uno l'autorità di sviluppo, senza valore legale.",
                    "Certificate the provider signs receipts and envelopes with. Without one, the development authority makes it, without legal value.",
                ),
            ),
            directory: DirectorySettings::read(reader),
            trust: TrustSettings::read(reader),
            routes: reader
                .section(
                    "routes",
                    Text::fixed(
                        "Dove va la posta di un dominio, al posto di quanto dice il DNS.",
                        "Where mail of a domain goes, instead of what DNS says.",
                    ),
                )
                .table(
                    "\"altro.example\" = \"127.0.0.1:2526\"",
                    Text::fixed("Una riga per dominio.", "One line per domain."),
                ),
            dns: DnsSettings::read(reader),
            ordinary_mail: OrdinaryMailSettings::read(reader),
            receipts: ReceiptsSettings::read(reader),
            antivirus: AntivirusSettings::read(reader),
            spam_filter: SpamFilterSettings::read(reader),
            outgoing: OutgoingSettings::read(reader),
            tls_policy: tls_policy(reader),
            store: StoreSettings::read(reader),
            objects: ObjectSettings::read(reader),
            backup: BackupSettings::read(reader),
            archive: ArchiveSettings::read(reader),
            collector: CollectorSettings::read(reader),
            journal: JournalSettings::read(reader),
            snapshots: SnapshotSettings::read(reader),
            registry: RegistrySettings::read(reader),
            login: LoginSettings::read(reader),
            oauth: OauthSettings::read(reader),
            pop3: Pop3Settings::read(reader),
            imap: ImapSettings::read(reader),
            limits: LimitSettings::read(reader),
            plans: plans::read(reader),
            log: LogSettings::read(reader),
        }
    }
}

fn tls_policy(reader: &mut Reader<'_>) -> BTreeMap<DomainName, TlsWord> {
    reader
        .section(
            "tls_policy",
            Text::fixed(
                "TLS chiesto verso un dominio, al posto di quanto dicono DNS e MTA-STS.",
                "TLS asked for towards a domain, instead of what DNS and MTA-STS say.",
            ),
        )
        .table(
            "\"altro.example\" = \"verify\"",
            Text::fixed(
                "Una riga per dominio: \"opportunistic\", \"require\", \"verify\".",
                "One line per domain: \"opportunistic\", \"require\", \"verify\".",
            ),
        )
}

mod collector;
mod sections;
#[cfg(test)]
mod tests;
