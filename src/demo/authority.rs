//! The trust that both providers of the demo share: one development authority, a signing and a TLS
//! certificate for each, and the directory that names both (RFC 6109 §4.5).

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trust::{
    authority::{AuthorityError, DevelopmentAuthority, Issued},
    certificate::CertificateError,
    clock::Clock,
    key::KeyError,
    random::RandomSource,
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

/// What the directory says of a provider.
#[derive(Debug)]
pub(super) struct DirectoryEntry<'e> {
    pub(super) name: &'e str,
    /// Its own domain, then the domains of its holders.
    pub(super) domains: Vec<&'e str>,
    pub(super) service_address: String,
    /// The certificate's octets.
    pub(super) certificate: Vec<u8>,
    /// Its SHA-1 in hexadecimal, as the directory's rules want it.
    pub(super) certificate_hash: String,
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
    pub(super) fn signing<'e>(
        &self,
        folder: &Path,
        name: &'e str,
        domains: &[&'e str],
        service_address: &str,
    ) -> Result<DirectoryEntry<'e>, TrustError> {
        let issued = self.authority.issue_provider(name, service_address)?;
        write_pair(folder, "signing", &issued)?;
        Ok(DirectoryEntry {
            name,
            domains: domains.to_vec(),
            service_address: service_address.to_owned(),
            certificate: issued.certificate.to_der().to_vec(),
            certificate_hash: issued.certificate.sha1_hex(),
        })
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

/// The directory as LDIF (RFC 2849) in the schema of RFC 6109 §4.5.
pub(super) fn directory(entries: &[DirectoryEntry<'_>]) -> String {
    let mut ldif = String::from(
        "version: 1\n\ndn: o=postacert\nobjectClass: top\nobjectClass: organization\no: postacert\n",
    );
    for entry in entries {
        let _ = write!(
            ldif,
            "\ndn: providerName={name},o=postacert\nobjectClass: top\nobjectClass: provider\n\
             providerName: {name}\nproviderCertificateHash: {hash}\n",
            name = entry.name,
            hash = entry.certificate_hash,
        );
        ldif.push_str(&folded(&format!(
            "providerCertificate;binary:: {}",
            STANDARD.encode(&entry.certificate)
        )));
        let _ = writeln!(ldif, "mailReceipt: {}", entry.service_address);
        for domain in &entry.domains {
            let _ = writeln!(ldif, "managedDomains: {domain}");
        }
    }
    ldif
}

/// A line of ASCII folded at 76 characters: a line that begins with a space goes on.
fn folded(line: &str) -> String {
    let mut text = String::new();
    let mut room = 76;
    for letter in line.chars() {
        if room == 0 {
            text.push_str("\n ");
            room = 75;
        }
        text.push(letter);
        room -= 1;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_line_unfolds_to_itself() {
        let line = format!("providerCertificate;binary:: {}", "Ab1+".repeat(100));
        let text = folded(&line);
        assert!(text.lines().all(|line| line.len() <= 76));
        assert_eq!(text.replace("\n ", "").trim_end(), line);
    }

    #[test]
    fn the_directory_has_an_entry_per_provider_with_all_its_domains() {
        let entry = DirectoryEntry {
            name: "Alfa PEC",
            domains: vec!["alfa.example", "pec.alfa.example"],
            service_address: "posta-certificata@alfa.example".into(),
            certificate: vec![1, 2, 3],
            certificate_hash: "0A".into(),
        };
        let ldif = directory(&[entry]);
        assert!(ldif.contains("dn: providerName=Alfa PEC,o=postacert\n"));
        assert!(ldif.contains("providerCertificate;binary:: AQID\n"));
        assert!(ldif.ends_with("managedDomains: alfa.example\nmanagedDomains: pec.alfa.example\n"));
    }
}
