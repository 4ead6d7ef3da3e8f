//! The trust that both providers of the demo share: one development authority, a signing and a TLS
//! certificate for each, and the directory that names both (RFC 6109 §4.5).

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use trust::{
    authority::{AuthorityError, DevelopmentAuthority, Issued},
    certificate::CertificateError,
    clock::Clock,
    key::KeyError,
    random::RandomSource,
};

use crate::pec::{
    address::{Address, AddressFault, Domain},
    directory::{Directory, DirectoryFault, ProviderRecord},
};

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The development authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate could not be written as text.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A key could not be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A name or address of the demo cannot stand in the directory.
    #[error(transparent)]
    Address(#[from] AddressFault),
    /// The directory would contradict itself.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    /// A file could not be written.
    #[error("cannot write {path}: check the folder", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// The authority of a demo.
#[derive(Debug)]
pub(super) struct DemoAuthority {
    authority: DevelopmentAuthority,
    folder: PathBuf,
}

impl DemoAuthority {
    pub(super) fn open(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, TrustError> {
        let authority = DevelopmentAuthority::open(folder, clock, random)?;
        Ok(Self { authority, folder: folder.to_owned() })
    }

    /// The certificate that everybody trusts.
    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Issues a provider's signing certificate into `folder` and describes it for the directory.
    pub(super) fn signing(
        &self,
        folder: &Path,
        name: &str,
        domains: &[&str],
        service_address: &str,
    ) -> Result<ProviderRecord, TrustError> {
        let issued = self.authority.issue_provider(name, service_address)?;
        write_pair(folder, "signing", &issued)?;
        let domains = domains.iter().map(|domain| Domain::parse(domain));
        let domains = domains.collect::<Result<Vec<Domain>, AddressFault>>()?;
        let service_address = Address::parse(service_address)?;
        let certificates = vec![issued.certificate.to_der().to_vec()];
        Ok(ProviderRecord::new(name, service_address, domains, certificates))
    }

    /// Writes the directory of these providers, which both read.
    pub(super) fn write_directory(&self, records: Vec<ProviderRecord>) -> Result<(), TrustError> {
        let ldif = Directory::new(records)?.to_ldif();
        let path = self.folder.join("gestori.ldif");
        std::fs::write(&path, ldif).map_err(|source| TrustError::File { path, source })
    }

    /// Issues the TLS certificate of `host` into `folder`.
    pub(super) fn tls(&self, folder: &Path, host: &str) -> Result<(), TrustError> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let issued = self.authority.issue_tls(&[host, "localhost"], &[loopback])?;
        write_pair(folder, "tls", &issued)
    }
}

fn write_pair(folder: &Path, name: &str, issued: &Issued) -> Result<(), TrustError> {
    let path = folder.join(format!("{name}.pem"));
    let pem = issued.certificate.to_pem()?;
    std::fs::write(&path, pem).map_err(|source| TrustError::File { path, source })?;
    issued.key.write(&folder.join(format!("{name}.key")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use trust::{clock::SystemClock, random::SystemRandom};

    use super::*;

    #[test]
    fn the_directory_leads_from_a_signing_certificate_to_its_provider() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority = DemoAuthority::open(folder.path(), clock, random).unwrap();
        let service = "posta-certificata@alfa.example";
        let domains = ["alfa.example", "pec.alfa.example"];
        let record = authority.signing(folder.path(), "Alfa PEC", &domains, service).unwrap();
        let certificate = record.certificates[0].clone();
        authority.write_directory(vec![record]).unwrap();
        let ldif = std::fs::read(folder.path().join("gestori.ldif")).unwrap();
        let directory = Directory::from_ldif(&ldif).unwrap();
        let found = directory.provider_of_certificate(&certificate).unwrap();
        assert_eq!(found.managed_domains.len(), 2);
    }
}
