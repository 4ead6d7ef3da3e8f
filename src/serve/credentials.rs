//! Keys and certificates of this provider: from the files that the configuration names, else
//! made by the development authority on the first run and kept in the data folder.
//!
//! Invariant: what was made once is used for ever after; a certificate that other providers have
//! in their directory must not change by itself.
//!
//! Not here: how certificates are made (`trust::authority`), who else is trusted
//! ([`super::trusted`]).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use trust::{
    authority::{DevelopmentAuthority, Issued},
    certificate::Certificate,
    clock::Clock,
    key::PrivateKey,
    random::RandomSource,
};

use crate::{
    config::{Config, KeyPair},
    durable::{self, Readers},
    keys::ring::SigningRing,
};

/// A certificate, its key, and where they are kept.
#[derive(Debug)]
pub struct Credential {
    /// The certificate.
    pub certificate: Certificate,
    /// The certificates from its issuer up to the root.
    pub chain: Vec<Certificate>,
    /// The private key.
    pub key: PrivateKey,
}

/// Everything this provider proves itself with.
#[derive(Debug)]
pub struct Credentials {
    /// Signs receipts and envelopes.
    pub signing: Credential,
    /// Stands behind the TLS ports.
    pub tls: Credential,
    /// The development authority, when it made one of the two.
    pub authority: Option<Arc<DevelopmentAuthority>>,
}

impl Credentials {
    /// Opens what the configuration names, making what it leaves to the development authority.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, or a key does not fit its certificate.
    pub fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn RandomSource>,
    ) -> anyhow::Result<Self> {
        let folder = config.data.authority_folder();
        let authority = if config.signing.is_some() && config.tls.is_some() {
            None
        } else {
            let opened = DevelopmentAuthority::open(&folder, Arc::clone(clock), Arc::clone(random));
            Some(Arc::new(opened.with_context(|| {
                format!("opening the development authority in {}", folder.display())
            })?))
        };
        let signing = open_or_make(
            config.signing.as_ref(),
            authority.as_deref(),
            &folder,
            "signing",
            |authority| {
                let provider = &config.provider;
                Ok(authority.issue_provider(&provider.name, &provider.service_address)?)
            },
        )?;
        let tls =
            open_or_make(config.tls.as_ref(), authority.as_deref(), &folder, "tls", |authority| {
                let names = [config.provider.host_name.as_str(), "localhost"];
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                Ok(authority.issue_tls(&names, &loopback)?)
            })?;
        Ok(Self { signing, tls, authority })
    }

    /// The pairs that sign: the one of `[signing]`, and those that joined by command.
    ///
    /// # Errors
    ///
    /// When a pair cannot be read, does not belong together or is not RSA.
    pub fn ring(&self, config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<SigningRing> {
        let Credential { certificate, chain, key } = &self.signing;
        let configured = (certificate.clone(), chain.clone(), key.clone());
        SigningRing::open(&config.data.signing_folder(), configured, clock)
            .context("taking the signing keys into use")
    }
}

impl Credential {
    /// Reads the PEM files of `pair`: the first certificate is the holder's own.
    fn read(pair: &KeyPair) -> anyhow::Result<Self> {
        let KeyPair { certificate_file, key_file } = pair;
        let mut certificates = Certificate::read_all(certificate_file)?.into_iter();
        let certificate = certificates.next().with_context(|| {
            format!("{} holds no certificate: put the PEM there", certificate_file.display())
        })?;
        Ok(Self { certificate, chain: certificates.collect(), key: PrivateKey::read(key_file)? })
    }

    /// Certificate and chain as one PEM text.
    ///
    /// # Errors
    ///
    /// When OpenSSL cannot encode a certificate.
    pub fn chain_pem(&self) -> anyhow::Result<Vec<u8>> {
        let mut pem = self.certificate.to_pem()?;
        for certificate in &self.chain {
            pem.extend(certificate.to_pem()?);
        }
        Ok(pem)
    }
}

fn open_or_make(
    configured: Option<&KeyPair>,
    authority: Option<&DevelopmentAuthority>,
    folder: &Path,
    name: &str,
    make: impl FnOnce(&DevelopmentAuthority) -> anyhow::Result<Issued>,
) -> anyhow::Result<Credential> {
    if let Some(pair) = configured {
        return Credential::read(pair);
    }
    let pair = KeyPair {
        certificate_file: folder.join(format!("{name}.pem")),
        key_file: folder.join(format!("{name}.key")),
    };
    let authority = authority
        .context("without files in the configuration the development authority is needed")?;
    if !pair.certificate_file.try_exists()? {
        let issued = make(authority)?;
        // A key without its certificate is what a crash at this point left: nobody has seen it.
        if pair.key_file.try_exists()? {
            std::fs::remove_file(&pair.key_file)
                .with_context(|| format!("removing {}", pair.key_file.display()))?;
        }
        issued.key.write(&pair.key_file)?;
        // The certificate last: its presence says that both are there.
        let mut pem = issued.certificate.to_pem()?;
        pem.extend(authority.certificate().to_pem()?);
        durable::replace(&pair.certificate_file, &pem, Readers::Usual)
            .with_context(|| format!("writing {}", pair.certificate_file.display()))?;
        tracing::info!(certificate = %pair.certificate_file.display(), "the development authority made a certificate");
    }
    Credential::read(&pair)
}
