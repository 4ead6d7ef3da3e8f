//! TLS by OpenSSL, version 1.2 and later (RFC 8996 §4, §5 retire what is older).
//!
//! * [`TlsContext`]: the server's side. The certificate can be replaced while connections run;
//!   those that are open keep the old one.
//! * [`TlsClient`]: the client's side: opportunistic (RFC 7435 §3), verified against authorities,
//!   or against what DNS says of the server ([`super::dane`]).
//!
//! Not here: making keys and certificates (`trust`), and who is asked for TLS when (`smtp`,
//! `imap`, `pop3`).

use std::{
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::{
        Ssl, SslAcceptor, SslConnector, SslContext, SslContextBuilder, SslMethod, SslMode,
        SslOptions, SslRef, SslVerifyMode, SslVersion,
    },
    x509::{X509, X509PurposeId, store::X509StoreBuilder},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_openssl::SslStream;

use super::{
    dane::{DaneCheck, DaneError},
    stream::ConnectionStream,
};

/// Why TLS is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Correct the files: they hold no certificate, or not the key that belongs to it.
    #[error(
        "certificate chain and key cannot be used: check that both are PEM and belong together"
    )]
    Material(#[source] ErrorStack),
    /// Correct the file: there is no certificate in it.
    #[error("no certificate found: the file must hold PEM certificates, the server's own first")]
    NoCertificate,
    /// A fault of the library or of memory.
    #[error("TLS could not be set up")]
    Setup(#[source] ErrorStack),
    /// The peer spoke no TLS that can be accepted, or its certificate was not verified.
    #[error("TLS handshake failed")]
    Handshake(#[source] openssl::ssl::Error),
    /// The peer took too long.
    #[error("TLS handshake not finished after {0:?}")]
    TimeOut(Duration),
    /// TLS runs already.
    #[error("TLS runs already on this connection")]
    AlreadyOn,
    /// The certificate is not what the server's TLSA records say.
    #[error("the certificate does not match the server's TLSA records")]
    Dane(#[source] DaneError),
}

/// The server's certificate and key, ready for handshakes.
pub struct TlsContext {
    current: RwLock<SslContext>,
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the key may reach a log.
        formatter.write_str("TlsContext")
    }
}

impl TlsContext {
    /// Takes a chain in PEM (the server's own certificate first) and its key in PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: RwLock::new(server_context(chain, key, None)?) }))
    }

    /// As [`TlsContext::from_pem`]; only clients with a certificate that one of the authorities in
    /// `authorities_pem` vouches for get in.
    pub fn for_certified_clients(
        chain: &[u8],
        key: &[u8],
        authorities_pem: &[u8],
    ) -> Result<Arc<Self>, TlsError> {
        let context = server_context(chain, key, Some(authorities_pem))?;
        Ok(Arc::new(Self { current: RwLock::new(context) }))
    }

    /// Replaces certificate and key for the handshakes to come, which then ask clients for no
    /// certificate. After an error the old ones stay.
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let context = server_context(chain, key, None)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = context;
        Ok(())
    }

    /// Runs the server's side of the handshake on a connection in the clear.
    ///
    /// What the peer sent before its ClientHello must have been read and judged by the caller.
    pub async fn accept(
        &self,
        stream: ConnectionStream,
        time_max: Duration,
    ) -> Result<ConnectionStream, TlsError> {
        let ConnectionStream::Plain(stream) = stream else { return Err(TlsError::AlreadyOn) };
        let ssl = {
            let context = self.current.read().unwrap_or_else(PoisonError::into_inner);
            Ssl::new(&context).map_err(TlsError::Setup)?
        };
        let mut stream = Box::new(SslStream::new(ssl, stream).map_err(TlsError::Setup)?);
        timeout(time_max, Pin::new(stream.as_mut()).accept())
            .await
            .map_err(|_| TlsError::TimeOut(time_max))?
            .map_err(TlsError::Handshake)?;
        Ok(ConnectionStream::Tls(stream))
    }
}

fn server_context(
    chain: &[u8],
    key: &[u8],
    client_authorities: Option<&[u8]>,
) -> Result<SslContext, TlsError> {
    let mut certificates = X509::stack_from_pem(chain).map_err(TlsError::Material)?.into_iter();
    let own = certificates.next().ok_or(TlsError::NoCertificate)?;
    let key = PKey::private_key_from_pem(key).map_err(TlsError::Material)?;
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(TlsError::Setup)?;
    harden(&mut builder).map_err(TlsError::Setup)?;
    builder.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    builder.set_certificate(&own).map_err(TlsError::Material)?;
    for certificate in certificates {
        builder.add_extra_chain_cert(certificate).map_err(TlsError::Material)?;
    }
    builder.set_private_key(&key).map_err(TlsError::Material)?;
    builder.check_private_key().map_err(TlsError::Material)?;
    if let Some(authorities) = client_authorities {
        demand_clients(&mut builder, authorities)?;
    }
    Ok(builder.build().into_context())
}

/// Clients without a certificate of these authorities are turned away in the handshake.
fn demand_clients(builder: &mut SslContextBuilder, authorities: &[u8]) -> Result<(), TlsError> {
    let authorities = X509::stack_from_pem(authorities).map_err(TlsError::Material)?;
    if authorities.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let mut store = X509StoreBuilder::new().map_err(TlsError::Setup)?;
    for authority in authorities {
        builder.add_client_ca(&authority).map_err(TlsError::Material)?;
        store.add_cert(authority).map_err(TlsError::Material)?;
    }
    // Certificates of providers are for signing messages (RFC 6109 §5.5), and many name no other
    // use: what counts here is who issued them.
    builder.verify_param_mut().set_purpose(X509PurposeId::ANY).map_err(TlsError::Setup)?;
    builder.set_verify_cert_store(store.build()).map_err(TlsError::Setup)?;
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    // Sessions are not resumed across contexts; without this name OpenSSL refuses to make any.
    builder.set_session_id_context(b"ceralacca").map_err(TlsError::Setup)
}

/// What both sides share: the lowest version, and no buffers held by idle connections.
fn harden(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(())
}

/// The client's side of TLS.
#[derive(Clone)]
pub struct TlsClient {
    connector: SslConnector,
    peer: PeerCheck,
    /// What the client proves itself with where a server asks for it.
    identity: Option<Arc<ClientIdentity>>,
}

/// A client's certificate and key.
struct ClientIdentity {
    certificate: X509,
    issuers: Vec<X509>,
    key: PKey<Private>,
}

impl ClientIdentity {
    fn put_on(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ssl.set_certificate(&self.certificate)?;
        ssl.set_private_key(&self.key)?;
        for issuer in &self.issuers {
            ssl.add_chain_cert(issuer.clone())?;
        }
        Ok(())
    }
}

/// What is asked of the server's certificate.
#[derive(Clone, Debug)]
enum PeerCheck {
    /// Nothing.
    None,
    /// The server's name, vouched for by an authority.
    Name,
    /// What its TLSA records say.
    Dane(Arc<DaneCheck>),
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsClient").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Takes any certificate: protects against those who only listen (RFC 7435 §3).
    pub fn opportunistic() -> Result<Self, TlsError> {
        let mut builder =
            SslConnector::builder(SslMethod::tls_client()).map_err(TlsError::Setup)?;
        harden(&mut builder).map_err(TlsError::Setup)?;
        builder.set_verify(SslVerifyMode::NONE);
        Ok(Self { connector: builder.build(), peer: PeerCheck::None, identity: None })
    }

    /// The same, which takes only certificates that `check` finds in order (RFC 7672).
    #[must_use]
    pub fn with_dane(&self, check: DaneCheck) -> Self {
        Self { peer: PeerCheck::Dane(Arc::new(check)), ..self.clone() }
    }

    /// Takes only certificates for the server's name that an authority vouches for: one that the
    /// operating system believes, or one in `authorities_pem`.
    pub fn verified_publicly(authorities_pem: &[u8]) -> Result<Self, TlsError> {
        let mut builder =
            SslConnector::builder(SslMethod::tls_client()).map_err(TlsError::Setup)?;
        harden(&mut builder).map_err(TlsError::Setup)?;
        for authority in X509::stack_from_pem(authorities_pem).map_err(TlsError::Material)? {
            builder.cert_store_mut().add_cert(authority).map_err(TlsError::Material)?;
        }
        builder.set_verify(SslVerifyMode::PEER);
        Ok(Self { connector: builder.build(), peer: PeerCheck::Name, identity: None })
    }

    /// What a connection knows of the server: `any`, `name` or `dane`.
    pub fn assurance(&self) -> &'static str {
        match self.peer {
            PeerCheck::None => "any",
            PeerCheck::Name => "name",
            PeerCheck::Dane(_) => "dane",
        }
    }

    /// Takes only certificates for the server's name that one of the authorities in
    /// `authorities_pem` vouches for, and no others.
    pub fn verified_by(authorities_pem: &[u8]) -> Result<Self, TlsError> {
        let mut builder =
            SslConnector::builder(SslMethod::tls_client()).map_err(TlsError::Setup)?;
        harden(&mut builder).map_err(TlsError::Setup)?;
        let authorities = X509::stack_from_pem(authorities_pem).map_err(TlsError::Material)?;
        if authorities.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let mut store = X509StoreBuilder::new().map_err(TlsError::Setup)?;
        for authority in authorities {
            store.add_cert(authority).map_err(TlsError::Material)?;
        }
        builder.set_cert_store(store.build());
        builder.set_verify(SslVerifyMode::PEER);
        Ok(Self { connector: builder.build(), peer: PeerCheck::Name, identity: None })
    }

    /// The same, which proves itself with a chain in PEM (its own certificate first) and its key in
    /// PEM where a server asks for a certificate.
    pub fn with_identity(&self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let mut certificates = X509::stack_from_pem(chain).map_err(TlsError::Material)?.into_iter();
        let certificate = certificates.next().ok_or(TlsError::NoCertificate)?;
        let key = PKey::private_key_from_pem(key).map_err(TlsError::Material)?;
        if !certificate.public_key().is_ok_and(|public| public.public_eq(&key)) {
            return Err(TlsError::Material(ErrorStack::get()));
        }
        let identity = ClientIdentity { certificate, issuers: certificates.collect(), key };
        Ok(Self { identity: Some(Arc::new(identity)), ..self.clone() })
    }

    /// Runs the client's side of the handshake with the server called `server_name` (a host name
    /// or an address).
    pub async fn connect(
        &self,
        server_name: &str,
        stream: TcpStream,
        time_max: Duration,
    ) -> Result<ConnectionStream, TlsError> {
        let mut ssl = self
            .connector
            .configure()
            .map_err(TlsError::Setup)?
            .verify_hostname(matches!(self.peer, PeerCheck::Name))
            .into_ssl(server_name)
            .map_err(TlsError::Setup)?;
        if let Some(identity) = &self.identity {
            identity.put_on(&mut ssl).map_err(TlsError::Setup)?;
        }
        let mut stream = Box::new(SslStream::new(ssl, stream).map_err(TlsError::Setup)?);
        timeout(time_max, Pin::new(stream.as_mut()).connect())
            .await
            .map_err(|_| TlsError::TimeOut(time_max))?
            .map_err(TlsError::Handshake)?;
        if let PeerCheck::Dane(check) = &self.peer {
            let presented = stream.ssl().peer_cert_chain();
            let chain: Vec<X509> = presented
                .map(|chain| chain.iter().map(ToOwned::to_owned).collect())
                .unwrap_or_default();
            check.verify(&chain).map_err(TlsError::Dane)?;
        }
        Ok(ConnectionStream::Tls(stream))
    }
}
