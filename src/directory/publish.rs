//! The HTTPS door at which this provider publishes its own entry, signed (RFC 6109 §4.5).
//!
//! `GET` and `HEAD` of one path, with ETag and Last-Modified and their conditions (RFC 9110 §13.1).
//! Invariants:
//!
//! * A connection carries one request and lives at most `publish_timeout`; no body is read.
//!   Connections count to `[limits]` like those of mail.
//! * With `publish_client_authority_file` nobody without a certificate of these authorities gets
//!   through the handshake (RFC 6109 §5.6).
//!
//! Not here: what the entry says ([`super::keeper`]).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use protocols::{
    access::Protocol,
    net::{SessionHandler, listener::Connection},
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::keeper::DirectoryKeeper;
use crate::metrics_names;

/// Octets of a request's line and header fields.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// The media type of a signed LDIF file (RFC 6109 §4.5.6, RFC 8551 §3.2).
const MEDIA_TYPE: &str = "application/pkcs7-mime; smime-type=signed-data; name=\"directory.p7m\"";

/// The own entry in the form in which it is published.
#[derive(Clone, Debug)]
pub struct Published {
    /// CMS SignedData in DER.
    pub octets: Bytes,
    /// SHA-256 of the LDIF inside.
    pub content: Sha256Digest,
    /// SHA-1 of the certificate that signed.
    pub certificate: String,
    /// With its quotation marks.
    pub etag: String,
    /// Since when it has this form.
    pub modified: UnixMillis,
}

impl Published {
    /// A file that was signed at `modified`.
    #[must_use]
    pub fn new(
        octets: Bytes,
        content: Sha256Digest,
        certificate: String,
        modified: UnixMillis,
    ) -> Self {
        let digest = hex::encode(Sha256Digest::of(&octets).0);
        let etag = format!("\"{}\"", digest.get(..32).unwrap_or(&digest));
        Self { octets, content, certificate, etag, modified }
    }

    fn http_date(&self) -> Option<String> {
        let instant = jiff::Timestamp::from_second(self.modified.seconds()).ok()?;
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&instant).ok()
    }

    /// Whether the client has this very form (RFC 9110 §13.2.2: the date only without ETags).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(etags) = text(header::IF_NONE_MATCH) {
            let own = |etag: &str| {
                let etag = etag.trim();
                etag == "*" || etag.strip_prefix("W/").unwrap_or(etag) == self.etag
            };
            return etags.split(',').any(own);
        }
        let since = text(header::IF_MODIFIED_SINCE)
            .and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        since.is_some_and(|since| self.modified.seconds() <= since.as_second())
    }
}

/// Serves the door.
#[derive(Debug)]
pub struct PublishingDoor {
    router: Router,
    time_max: Duration,
}

#[derive(Clone, Debug)]
struct Shared {
    keeper: Arc<DirectoryKeeper>,
    path: Arc<str>,
}

impl PublishingDoor {
    /// Publishes what `keeper` has at `path`; a connection lives `time_max` at most.
    #[must_use]
    pub fn new(keeper: Arc<DirectoryKeeper>, path: &str, time_max: Duration) -> Arc<Self> {
        let shared = Shared { keeper, path: path.into() };
        let router =
            Router::new().fallback(answer).layer(DefaultBodyLimit::max(0)).with_state(shared);
        Arc::new(Self { router, time_max })
    }
}

#[async_trait::async_trait]
impl SessionHandler for PublishingDoor {
    fn protocol(&self) -> Protocol {
        Protocol::Directory
    }

    fn refusal_line(&self) -> &[u8] {
        b""
    }

    async fn session(&self, connection: Connection) {
        let Connection { stream, peer, stopping, .. } = connection;
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.time_max)
            .keep_alive(false)
            .max_buf_size(HEAD_OCTETS_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
        let mut served = std::pin::pin!(tokio::time::timeout(self.time_max, served));
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = stopping.cancelled() => {
                // Nobody waits at the stop for a client that has asked nothing yet.
                let rest = Duration::from_secs(1).min(self.time_max);
                match tokio::time::timeout(rest, served).await {
                    Ok(ended) => ended,
                    Err(elapsed) => Err(elapsed),
                }
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "bad request");
            }
            Err(_) => tracing::debug!(%peer, "a request for the directory entry took too long"),
        }
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let response = respond(&shared, &request);
    let status = response.status().as_str().to_owned();
    metrics::counter!(metrics_names::DIRECTORY_REQUESTS, "status" => status).increment(1);
    response
}

fn respond(shared: &Shared, request: &Request) -> Response {
    let asked = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if asked != &*shared.path {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allowed = [(header::ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response();
    }
    let Some(published) = shared.keeper.published() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let validators = [
        (header::ETAG, published.etag.clone()),
        (header::LAST_MODIFIED, published.http_date().unwrap_or_default()),
    ];
    if published.is_known(request.headers()) {
        return (StatusCode::NOT_MODIFIED, validators).into_response();
    }
    let kind = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-cache")];
    (validators, kind, Body::from(published.octets.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_judged_by_etag_and_only_without_it_by_date() {
        let octets = Bytes::from_static(b"signed");
        let digest = Sha256Digest::of(b"ldif");
        let modified = UnixMillis(784_111_777_500);
        let published = Published::new(octets, digest, String::new(), modified);
        // The example of RFC 9110 §5.6.7.
        assert_eq!(published.http_date().as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let etag = published.etag.clone();
        let known = |fields: &[(header::HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            published.is_known(&headers)
        };
        assert!(known(&[(header::IF_NONE_MATCH, &format!("\"a\", W/{etag}"))]));
        assert!(known(&[(header::IF_NONE_MATCH, "*")]));
        assert!(known(&[(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")]));
        assert!(!known(&[(header::IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]));
        let later = "Sun, 06 Nov 2034 08:49:37 GMT";
        assert!(!known(&[(header::IF_NONE_MATCH, "\"a\""), (header::IF_MODIFIED_SINCE, later)]));
        assert!(!known(&[(header::IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!known(&[]));
    }
}
