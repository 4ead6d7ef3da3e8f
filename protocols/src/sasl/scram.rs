//! SCRAM-SHA-256: messages and proofs (RFC 5802, RFC 7677).
//!
//! ```text
//! C: gs2-header "n=" login ",r=" client nonce
//! S: "r=" client nonce, server nonce ",s=" salt ",i=" iterations
//! C: "c=" base64 of gs2-header and channel binding ",r=" nonce ",p=" proof
//! S: "v=" server signature
//!
//! gs2-header = ( "n" / "y" / "p=" cb-name ) "," [ "a=" login ] ","
//! ```
//!
//! Invariants:
//!
//! * The proof is checked over the messages as they were sent, octet for octet.
//! * Whoever binds must bind to this connection; `y`, "I could bind and you cannot", is refused
//!   where binding is offered: somebody has taken it out of the offer (RFC 5802 §6).
//! * Keys are compared in constant time and never printed.
//!
//! Not here: where verifiers are kept, and who may log in ([`crate::access::Authenticator`]).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use openssl::{error::ErrorStack, hash::MessageDigest, memcmp, pkcs5, sha};
use trust::digest::hmac_sha256;

use super::{LOGIN_OCTETS_MAX, text};
use crate::net::stream::ChannelBindings;

/// Octets of a client's message: a login, a nonce, a channel binding and a proof are far below.
const MESSAGE_OCTETS_MAX: usize = 4_096;

/// What a server keeps of a password for SCRAM (RFC 5802 §3).
#[derive(Clone, Eq, PartialEq)]
pub struct ScramVerifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// Rounds of Hi().
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl ScramVerifier {
    /// Derives the verifier of a password, prepared by SASLprep (RFC 4013), for tens of
    /// milliseconds.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Result<Self, ErrorStack> {
        let mut salted = [0; 32];
        let rounds = usize::try_from(iterations).unwrap_or(usize::MAX);
        pkcs5::pbkdf2_hmac(password, salt, rounds, MessageDigest::sha256(), &mut salted)?;
        Ok(Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: sha::sha256(&hmac_sha256(&salted, b"Client Key")?),
            server_key: hmac_sha256(&salted, b"Server Key")?,
        })
    }
}

/// Why an exchange fails. The peer learns only that login or password is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScramError {
    #[error("a message does not read by the grammar of RFC 5802 §7")]
    Malformed,
    #[error("an extension is asked for that must not be ignored")]
    Extension,
    #[error("the client binds to another connection, or knows of no binding where there is one")]
    Binding,
    #[error("the nonce is not the one of this exchange")]
    Nonce,
    #[error("OpenSSL cannot compute the proof")]
    Computation(#[from] ErrorStack),
}

/// The client's first message.
#[derive(Debug)]
pub(super) struct ClientFirst {
    /// Whom it names.
    pub(super) login: String,
    gs2_header: String,
    bare: String,
    nonce: String,
    /// What `c=` must hold behind the header.
    binding: Vec<u8>,
}

impl ClientFirst {
    /// Reads it. `plus` says which of the two mechanisms was chosen.
    pub(super) fn read(
        message: &[u8],
        plus: bool,
        bindings: &ChannelBindings,
    ) -> Result<Self, ScramError> {
        let message = message_text(message)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed)?;
        let (authorization, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let binding = binding_of(flag, plus, bindings)?;
        let mut attributes = bare.split(',');
        let login = match attributes.next().and_then(|first| first.split_once('=')) {
            Some(("n", name)) => saslname(name)?,
            // reserved-mext (RFC 5802 §5.1)
            Some(("m", _)) => return Err(ScramError::Extension),
            _ => return Err(ScramError::Malformed),
        };
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(ScramError::Malformed)?;
        // Nobody acts for another here: an authorization identity must be the login itself. GNU SASL
        // may write `a=` when there is none.
        if !matches!(authorization, "" | "a=") {
            let name = authorization.strip_prefix("a=").ok_or(ScramError::Malformed)?;
            (saslname(name)? == login).then_some(()).ok_or(ScramError::Malformed)?;
        }
        Ok(Self {
            login,
            gs2_header: format!("{flag},{authorization},"),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
            binding,
        })
    }

    /// The server's first message, and what the client's last one is checked against.
    pub(super) fn answered(self, verifier: ScramVerifier, server_nonce: &str) -> Challenged {
        let nonce = format!("{}{server_nonce}", self.nonce);
        let salt = BASE64.encode(&verifier.salt);
        let message = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Challenged { first: self, verifier, nonce, message }
    }
}

/// An exchange in which the server has sent its challenge.
#[derive(Debug)]
pub(super) struct Challenged {
    first: ClientFirst,
    verifier: ScramVerifier,
    nonce: String,
    message: String,
}

impl Challenged {
    /// Whom the client named.
    pub(super) fn login(&self) -> &str {
        &self.first.login
    }

    /// The challenge.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// What the challenge was made of.
    pub(super) fn verifier(&self) -> &ScramVerifier {
        &self.verifier
    }

    /// Checks the client's last message; returns the server's last one when the proof is right,
    /// `None` when it is wrong.
    pub(super) fn conclude(&self, message: &[u8]) -> Result<Option<String>, ScramError> {
        let message = message_text(message)?;
        // Base64 has no comma: the proof is what stands behind the last one.
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof = BASE64.decode(proof).map_err(|_| ScramError::Malformed)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let bound = attributes.next().and_then(|first| first.strip_prefix("c="));
        let bound = bound.and_then(|text| BASE64.decode(text).ok()).ok_or(ScramError::Malformed)?;
        if bound != [self.first.gs2_header.as_bytes(), &self.first.binding].concat() {
            return Err(ScramError::Binding);
        }
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        if nonce.ok_or(ScramError::Malformed)? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let auth_message = format!("{},{},{without_proof}", self.first.bare, self.message);
        let signature = hmac_sha256(&self.verifier.stored_key, auth_message.as_bytes())?;
        let mut client_key = [0; 32];
        for (key, (left, right)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *key = left ^ right;
        }
        if !memcmp::eq(&sha::sha256(&client_key), &self.verifier.stored_key) {
            return Ok(None);
        }
        let signature = hmac_sha256(&self.verifier.server_key, auth_message.as_bytes())?;
        Ok(Some(format!("v={}", BASE64.encode(signature))))
    }
}

fn message_text(message: &[u8]) -> Result<&str, ScramError> {
    let fits = message.len() <= MESSAGE_OCTETS_MAX && !message.contains(&0);
    let message = fits.then(|| std::str::from_utf8(message).ok()).flatten();
    message.ok_or(ScramError::Malformed)
}

/// What the flag says that the exchange is bound to.
fn binding_of(flag: &str, plus: bool, bindings: &ChannelBindings) -> Result<Vec<u8>, ScramError> {
    match (flag, plus) {
        ("n", false) => Ok(Vec::new()),
        ("y", false) if bindings.is_empty() => Ok(Vec::new()),
        ("y" | "n", _) => Err(ScramError::Binding),
        (other, _) => {
            let name = other.strip_prefix("p=").ok_or(ScramError::Malformed)?;
            let binding = bindings.of_name(name).filter(|_| plus);
            binding.map(<[u8]>::to_vec).ok_or(ScramError::Binding)
        }
    }
}

/// `saslname = 1*(value-safe-char / "=2C" / "=3D")`
pub(super) fn saslname(name: &str) -> Result<String, ScramError> {
    let mut login = String::new();
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once('=') {
        login.push_str(plain);
        (login, rest) = match escaped.split_at_checked(2) {
            Some(("2C", next)) => (login + ",", next),
            Some(("3D", next)) => (login + "=", next),
            _ => return Err(ScramError::Malformed),
        };
    }
    login.push_str(rest);
    text(login.as_bytes(), LOGIN_OCTETS_MAX).ok_or(ScramError::Malformed)
}

/// `printable = %x21-2B / %x2D-7E`
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|octet| matches!(octet, 0x21..=0x2b | 0x2d..=0x7e))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
