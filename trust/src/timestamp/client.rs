//! The client of a time-stamping service over HTTP (RFC 3161 §3.4).
//!
//! Invariants:
//!
//! * Nothing is returned that has not been verified: imprint, nonce, signature, certificate.
//! * An answer has at most [`TOKEN_OCTETS_MAX`] octets, and a call ends within the time-out.
//! * Redirects are not followed and no proxy is taken from the environment: the service is the
//!   configured one.

use std::{sync::Arc, time::Duration};

use der::{Encode as _, asn1::Int};
use reqwest::{Client, Response, header, redirect};
use x509_tsp::{TimeStampReq, TspVersion};

use super::{
    TOKEN_OCTETS_MAX, TimestampError, TimestampSource, TimestampToken, authority::imprint_of,
    token_of_response, verify::verify,
};
use crate::{certificate::chain::TrustedAuthorities, digest::Sha256Digest, random::RandomSource};

/// How to reach the service, and whom to believe.
#[derive(Clone, Debug)]
pub struct HttpTimestampConfig {
    /// The service: an `http` or `https` URL.
    pub url: String,
    /// Longest time of one call, from connecting to the last octet.
    pub timeout: Duration,
    /// Authorities that the service's certificate must lead to.
    pub trusted: TrustedAuthorities,
}

/// A time-stamping service reached over HTTP.
#[derive(Debug)]
pub struct HttpTimestampSource {
    client: Client,
    config: HttpTimestampConfig,
    random: Arc<dyn RandomSource>,
}

impl HttpTimestampSource {
    /// Prepares the client; nothing is sent.
    ///
    /// # Errors
    ///
    /// [`TimestampError::Unreachable`] when TLS cannot be set up.
    pub fn new(
        config: HttpTimestampConfig,
        random: Arc<dyn RandomSource>,
    ) -> Result<Self, TimestampError> {
        let client = Client::builder()
            .timeout(config.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|source| TimestampError::Unreachable { url: config.url.clone(), source })?;
        Ok(Self { client, config, random })
    }

    fn unreachable(&self, source: reqwest::Error) -> TimestampError {
        TimestampError::Unreachable { url: self.config.url.clone(), source }
    }

    fn refused(&self, answer: String) -> TimestampError {
        TimestampError::Refused { url: self.config.url.clone(), answer }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, TimestampError> {
        let mut octets = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if octets.len() + piece.len() > TOKEN_OCTETS_MAX {
                return Err(self.refused("more octets than a time stamp has".to_owned()));
            }
            octets.extend_from_slice(&piece);
        }
        Ok(octets)
    }
}

#[async_trait::async_trait]
impl TimestampSource for HttpTimestampSource {
    async fn stamp(&self, digest: Sha256Digest) -> Result<TimestampToken, TimestampError> {
        // Positive and of full length: the first octet is neither 0 nor above 127.
        let mut nonce = [0; 8];
        self.random.fill(&mut nonce);
        nonce[0] = nonce[0] & 0x3f | 0x40;
        let request = TimeStampReq {
            version: TspVersion::V1,
            message_imprint: imprint_of(digest)?,
            req_policy: None,
            nonce: Some(Int::new(&nonce)?),
            cert_req: true,
            extensions: None,
        }
        .to_der()?;
        let response = self
            .client
            .post(&self.config.url)
            .header(header::CONTENT_TYPE, "application/timestamp-query")
            .header(header::ACCEPT, "application/timestamp-reply")
            .body(request)
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            return Err(self.refused(format!("HTTP {}", response.status())));
        }
        let octets = self.read(response).await?;
        let token = token_of_response(&octets)?.map_err(|answer| self.refused(answer))?;
        let verified = verify(&token, digest, &self.config.trusted)?;
        if verified.nonce.as_deref() != Some(&nonce[..]) {
            return Err(TimestampError::WrongNonce);
        }
        Ok(token)
    }
}
