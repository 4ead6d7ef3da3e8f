//! Gets the policy of a domain over HTTPS (RFC 8461 §3.3).
//!
//! Bounded in time, octets and questions to DNS: those count to the destination that the policy is for. The certificate must be one for `mta-sts.<domain>` that an authority
//! vouches for; a redirection is not followed; anything but 200 with plain text is no policy.

use std::{net::SocketAddr, time::Duration};

use axum::body::{Body, to_bytes};
use hyper::{Request, StatusCode, client::conn::http1, header::CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use protocols::net::tls::{TlsClient, TlsError};
use tokio::net::TcpStream;

use crate::pec::lookups::{Lookups, NamesError};

/// Octets of a policy (RFC 8461 §3.3 proposes a bound of 64 KB).
const POLICY_OCTETS_MAX: usize = 64 * 1024;

/// Addresses that are tried.
const ADDRESSES_MAX: usize = 4;

/// Octets of hyper's buffers: the header of the answer must fit.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server's name has no address.
    #[error("the server of the policy is not known")]
    Unknown(#[source] NamesError),
    /// No address answers.
    #[error("the server of the policy does not answer")]
    Unreachable(#[source] std::io::Error),
    /// Its certificate is not in order.
    #[error("the server of the policy cannot be trusted")]
    Tls(#[source] TlsError),
    /// HTTP broke.
    #[error("the server of the policy does not speak HTTP")]
    Http(#[source] hyper::Error),
    /// The answer is no policy.
    #[error("the answer is no policy: {0}")]
    NotAPolicy(String),
    /// It took too long.
    #[error("the server of the policy took longer than {0:?}")]
    TimeOut(Duration),
}

/// Gets policies.
#[async_trait::async_trait]
pub trait PolicyFetch: Send + Sync + std::fmt::Debug {
    /// Gets the text of the policy of `domain`, whose server is found by `lookups`.
    async fn fetch(&self, lookups: &dyn Lookups, domain: &str) -> Result<String, FetchError>;
}

/// Gets policies from where the standard has them.
#[derive(Debug)]
pub struct HttpsFetch {
    tls: TlsClient,
    time_max: Duration,
    port: u16,
}

impl HttpsFetch {
    /// Verifies servers by `tls`; one fetch takes `time_max` at most.
    #[must_use]
    pub fn new(tls: TlsClient, time_max: Duration) -> Self {
        Self { tls, time_max, port: 443 }
    }

    /// The same, with another port: tests have no right to 443.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    async fn get(&self, lookups: &dyn Lookups, domain: &str) -> Result<String, FetchError> {
        let host = format!("mta-sts.{domain}");
        let addresses = lookups.addresses(&host).await.map_err(FetchError::Unknown)?.value;
        let mut reached = Err(FetchError::Unreachable(std::io::ErrorKind::NotFound.into()));
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match TcpStream::connect(SocketAddr::new(address, self.port)).await {
                Ok(stream) => {
                    reached = Ok(stream);
                    break;
                }
                Err(error) => reached = Err(FetchError::Unreachable(error)),
            }
        }
        let stream = self.tls.connect(&host, reached?, self.time_max).await;
        let stream = TokioIo::new(stream.map_err(FetchError::Tls)?);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake(stream)
            .await
            .map_err(FetchError::Http)?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header("host", &host)
            .header("user-agent", "ceralacca")
            .body(Body::empty())
            .map_err(|error| FetchError::NotAPolicy(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(FetchError::Http)?;
            read(response).await
        };
        let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(answer));
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The whole answer may have been read already when the connection ends.
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(FetchError::Http(error)),
            },
        }
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<String, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::NotAPolicy(format!("status {}", response.status())));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/plain") {
        return Err(FetchError::NotAPolicy(format!("it is {kind:?}, not text/plain")));
    }
    let octets = to_bytes(Body::new(response.into_body()), POLICY_OCTETS_MAX).await;
    let octets = octets.map_err(|error| FetchError::NotAPolicy(error.to_string()))?;
    String::from_utf8(octets.into()).map_err(|error| FetchError::NotAPolicy(error.to_string()))
}

#[async_trait::async_trait]
impl PolicyFetch for HttpsFetch {
    async fn fetch(&self, lookups: &dyn Lookups, domain: &str) -> Result<String, FetchError> {
        let got = tokio::time::timeout(self.time_max, self.get(lookups, domain)).await;
        got.map_err(|_| FetchError::TimeOut(self.time_max))?
    }
}
