//! Gets one file over HTTPS, the whole directory or the keys of an issuer: one conditional GET
//! (RFC 9110 §13.1).
//!
//! Bounded in time and octets. The server's certificate must be one for its name that an authority
//! vouches for; this provider proves itself with a certificate where the server asks for it
//! (RFC 6109 §5.6). A redirection is not followed: the address is the operator's.
//!
//! Not here: whether what comes is to be believed ([`super::signed`]).

use std::{
    error::Error as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{ETAG, HeaderName, LAST_MODIFIED},
};
use hyper_util::rt::TokioIo;
use protocols::net::tls::{TlsClient, TlsError};
use tokio::net::TcpStream;

use crate::{
    config::HttpsUrl,
    pec::lookups::{Lookups, NamesError},
};

/// Addresses that are tried.
const ADDRESSES_MAX: usize = 8;

/// How long one address has to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);

/// Octets of hyper's buffers: the header of the answer must fit.
const HEAD_OCTETS_MAX: usize = 64 * 1024;

/// Octets of a validator that are kept.
const VALIDATOR_OCTETS_MAX: usize = 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server's name has no address.
    #[error("the server's name is not known")]
    Unknown(#[source] NamesError),
    /// No address answers.
    #[error("the server does not answer")]
    Unreachable(#[source] std::io::Error),
    /// Its certificate is not in order, or it does not take ours.
    #[error("TLS with the server failed")]
    Tls(#[source] TlsError),
    /// HTTP broke, or the answer ended before its end.
    #[error(
        "the server broke off: the directory's may ask for another certificate than directory.client_certificate_file or the signing one"
    )]
    Http(#[source] hyper::Error),
    /// Another answer than the file.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The answer is larger than the bound, or broke off.
    #[error("the file did not come whole, or has more than {octets_max} octets: {detail}")]
    Body {
        /// The bound.
        octets_max: u64,
        /// What happened.
        detail: String,
    },
    /// It took too long.
    #[error("the server took longer than {0:?}")]
    TimeOut(Duration),
}

/// What the server called the copy that is here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Validators {
    /// ETag.
    pub etag: Option<String>,
    /// Last-Modified.
    pub last_modified: Option<String>,
}

/// What the server said.
#[derive(Debug)]
pub enum Fetched {
    /// The copy that is here is the newest.
    Unchanged,
    /// This one is.
    Copy {
        /// The file.
        octets: Bytes,
        /// What it is called.
        validators: Validators,
    },
}

/// Gets a file from one address.
#[derive(Debug)]
pub struct Fetcher {
    /// Where it is.
    pub url: HttpsUrl,
    /// Finds the server.
    pub lookups: Arc<dyn Lookups>,
    /// Verifies the server.
    pub tls: TlsClient,
    /// How long it may take in all.
    pub time_max: Duration,
    /// Octets it may have.
    pub octets_max: u64,
    /// The kinds of file that are wanted (RFC 9110 §12.5.1).
    pub accept: &'static str,
}

impl Fetcher {
    /// Gets the file, if it is another one than `known`.
    ///
    /// # Errors
    ///
    /// When there is no whole answer of the server in time.
    pub async fn get(&self, known: &Validators) -> Result<Fetched, FetchError> {
        let got = tokio::time::timeout(self.time_max, self.answer(known)).await;
        got.map_err(|_| FetchError::TimeOut(self.time_max))?
    }

    async fn answer(&self, known: &Validators) -> Result<Fetched, FetchError> {
        let stream = self.connect().await?;
        let stream = self.tls.connect(&self.url.host, stream, self.time_max).await;
        let stream = TokioIo::new(stream.map_err(FetchError::Tls)?);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake(stream)
            .await
            .map_err(FetchError::Http)?;
        let request = self.request(known)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(FetchError::Http)?;
            self.read(response).await
        };
        let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(answer));
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The whole answer may have been read already when the connection ends, well or badly:
            // many servers close without a farewell.
            ended = &mut connection => match (answer.await, ended) {
                (Err(FetchError::Http(_)), Err(error)) => Err(FetchError::Http(error)),
                (answer, _) => answer,
            },
        }
    }

    async fn connect(&self) -> Result<TcpStream, FetchError> {
        let addresses = match self.url.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                self.lookups.addresses(&self.url.host).await.map_err(FetchError::Unknown)?.value
            }
        };
        let mut reached = Err(FetchError::Unreachable(std::io::ErrorKind::NotFound.into()));
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let connecting = TcpStream::connect(SocketAddr::new(address, self.url.port));
            match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => reached = Err(FetchError::Unreachable(error)),
                Err(_) => {
                    reached = Err(FetchError::Unreachable(std::io::ErrorKind::TimedOut.into()));
                }
            }
        }
        reached
    }

    fn request(&self, known: &Validators) -> Result<Request<Body>, FetchError> {
        let mut request = Request::get(&self.url.path)
            .header("host", self.url.authority())
            .header("user-agent", "ceralacca")
            .header("accept", self.accept);
        if let Some(etag) = &known.etag {
            request = request.header("if-none-match", etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header("if-modified-since", date);
        }
        request.body(Body::empty()).map_err(|error| self.no_body(&error.to_string()))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Fetched, FetchError> {
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Fetched::Unchanged),
            StatusCode::OK => {}
            other => return Err(FetchError::Status(other)),
        }
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            (value.len() <= VALIDATOR_OCTETS_MAX).then(|| value.to_owned())
        };
        let validators = Validators { etag: header(ETAG), last_modified: header(LAST_MODIFIED) };
        let octets_max = usize::try_from(self.octets_max).unwrap_or(usize::MAX);
        let octets = to_bytes(Body::new(response.into_body()), octets_max).await;
        let octets = octets.map_err(|error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            self.no_body(&cause)
        })?;
        Ok(Fetched::Copy { octets, validators })
    }

    fn no_body(&self, detail: &str) -> FetchError {
        FetchError::Body { octets_max: self.octets_max, detail: detail.to_owned() }
    }
}
