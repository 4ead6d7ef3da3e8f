//! `directory show`, `list`, `fetch` and `accept`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trust::certificate::Certificate;

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    directory::{
        changes::Changes,
        keeper::DirectoryKeeper,
        status::{Outcome, Status},
    },
    pec::{address::Domain, directory::ProviderRecord},
    texts::Text,
};

/// The directory of the running server.
pub(super) fn keeper(site: &Site) -> Result<&Arc<DirectoryKeeper>, OperationError> {
    site.directory.as_ref().ok_or_else(|| {
        OperationError::new(
            Kind::Conflict,
            Text::fixed(
                "il server non è acceso: avviarlo, poi ripetere",
                "the server does not run: start it, then repeat",
            ),
        )
    })
}

/// A cause in English, with what led to it.
pub(super) fn failed(kind: Kind, error: &anyhow::Error) -> OperationError {
    let text = format!("{error:#}");
    OperationError::new(kind, Text::filled(text.clone(), text))
}

/// Asks how things stand.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DirectoryShow {}

#[async_trait::async_trait]
impl Operation for DirectoryShow {
    const NAME: &'static str = "directory/show";

    type Outcome = Status;

    async fn run(&self, site: &Site, _: &Run) -> Result<Status, OperationError> {
        Ok(keeper(site)?.status().await)
    }
}

/// Asks for records.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DirectoryList {
    /// Those that manage this domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// Those that list the certificate with this SHA-1.
    #[serde(default)]
    pub hash: Option<String>,
    /// Those whose provider's name has this in it.
    #[serde(default)]
    pub name: Option<String>,
    /// Domains that are told of each record at most.
    pub domains_max: usize,
}

/// A record of the directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RecordView {
    /// The provider.
    pub name: String,
    /// The secondary environment.
    pub unit: Option<String>,
    /// Where receipts between providers go.
    pub service_mailbox: String,
    /// Its domains, as many as were asked for.
    pub domains: Vec<String>,
    /// Those that are not told.
    pub domains_left_out: usize,
    /// Where it publishes its entry.
    pub ldif_location: Option<String>,
    /// Its certificates.
    pub certificates: Vec<CertificateView>,
}

/// A certificate of a record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CertificateView {
    /// SHA-1 in hexadecimal digits.
    pub sha1: String,
    /// Whether the record lists this hash too: without it the certificate counts for nothing.
    pub listed: bool,
    /// First instant of validity, in ms since 1970; `None` when it cannot be read.
    pub not_before_millis: Option<i64>,
    /// Last instant.
    pub not_after_millis: Option<i64>,
}

impl RecordView {
    fn of(record: &ProviderRecord, domains_max: usize) -> Self {
        let certificate = |der: &Vec<u8>| {
            let sha1 = trust::digest::sha1_hex(der);
            let read = Certificate::from_der(der).ok();
            CertificateView {
                listed: record.certificate_hashes.contains(&sha1),
                sha1,
                not_before_millis: read.as_ref().and_then(|one| Some(one.not_before().ok()?.0)),
                not_after_millis: read.as_ref().and_then(|one| Some(one.not_after().ok()?.0)),
            }
        };
        let domains = record.managed_domains.iter();
        Self {
            name: record.name.clone(),
            unit: record.unit.clone(),
            service_mailbox: record.service_mailbox.to_string(),
            domains: domains.take(domains_max).map(ToString::to_string).collect(),
            domains_left_out: record.managed_domains.len().saturating_sub(domains_max),
            ldif_location: record.ldif_location.clone(),
            certificates: record.certificates.iter().map(certificate).collect(),
        }
    }
}

#[async_trait::async_trait]
impl Operation for DirectoryList {
    const NAME: &'static str = "directory/list";

    type Outcome = Vec<RecordView>;

    async fn run(&self, site: &Site, _: &Run) -> Result<Vec<RecordView>, OperationError> {
        let directory = keeper(site)?.in_use().await;
        let domain = self.domain.as_ref().map(|text| Domain::parse(text)).transpose();
        let domain = domain.map_err(|error| {
            let text = error.to_string();
            OperationError::new(Kind::Invalid, Text::filled(text.clone(), text))
        })?;
        let hash = self.hash.as_ref().map(|hash| hash.replace(':', "").to_ascii_lowercase());
        let name = self.name.as_ref().map(|name| name.to_lowercase());
        let wanted = |record: &&ProviderRecord| {
            domain.as_ref().is_none_or(|domain| record.manages(domain))
                && hash.as_ref().is_none_or(|hash| record.certificate_hashes.contains(hash))
                && name.as_ref().is_none_or(|name| record.name.to_lowercase().contains(name))
        };
        let found = directory.records().iter().filter(wanted);
        Ok(found.map(|record| RecordView::of(record, self.domains_max)).collect())
    }
}

/// Asks to fetch the directory now.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DirectoryFetch {}

#[async_trait::async_trait]
impl Operation for DirectoryFetch {
    const NAME: &'static str = "directory/fetch";

    type Outcome = Outcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<Outcome, OperationError> {
        let keeper = keeper(site)?;
        if site.config.directory.fetch.url.is_none() {
            return Err(OperationError::new(
                Kind::Conflict,
                Text::fixed(
                    "directory.url non è indicato: non c'è nulla da leggere",
                    "directory.url is not set: there is nothing to fetch",
                ),
            ));
        }
        let fetched = run.reading(keeper.fetch()).await?;
        fetched.map_err(|error| failed(Kind::Temporary, &error))
    }
}

/// Asks to take the copy that waits into use.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DirectoryAccept {
    /// Its SHA-256, or enough of it.
    pub digest: String,
}

#[async_trait::async_trait]
impl Operation for DirectoryAccept {
    const NAME: &'static str = "directory/accept";

    type Outcome = Changes;

    async fn run(&self, site: &Site, _: &Run) -> Result<Changes, OperationError> {
        let accepted = keeper(site)?.accept(&self.digest).await;
        accepted.map_err(|error| failed(Kind::Failed, &error))?.ok_or_else(|| {
            OperationError::new(
                Kind::NotFound,
                Text::fixed(
                    "nessuna copia con questo SHA-256 attende",
                    "no copy with this SHA-256 waits",
                ),
            )
        })
    }
}
