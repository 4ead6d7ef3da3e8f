//! Logins by a token of an issuer (OAuth 2.0, OpenID Connect): the token is a JWT (RFC 7519) that the
//! issuer has signed (RFC 7515), and one of its claims is the address of the account.
//!
//! * [`token`]: what stands in a token, and whether it holds now. * [`keys`]: the issuer's keys
//!   (RFC 7517). * [`keeper`]: where they come from, and when they are read again.
//!
//! Invariants:
//!
//! * Only RS256, PS256 and ES256 are verified, each with a key of its own kind; what a token says of
//!   itself decides nothing else (RFC 8725 §3.1, §3.2).
//! * A token counts for one issuer, for one audience, and until it expires; the time is the clock's
//!   that was handed in.
//! * Nothing of a token is logged.
//!
//! Not here: how a protocol carries it (`protocols::sasl`), whether the account exists and may log
//! in (`registry::authenticator`).

pub mod keeper;
pub mod keys;
pub mod token;

use std::sync::Arc;

use trust::clock::Clock;

use self::{
    keeper::KeyKeeper,
    token::{Rules, Token},
};
use crate::config::OauthSettings;

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no JWT, or one of a kind that is not taken.
    #[error("the token is no signed JWT of a kind that is taken: {0}")]
    Malformed(&'static str),
    /// The issuer has no key of the name and the kind that it speaks of, as far as is known here.
    #[error("the issuer has no such key, or has had it for less than oauth.keys_retry")]
    UnknownKey,
    /// A key of the issuer fits it, and does not verify it.
    #[error("no key of the issuer verifies the token")]
    Signature,
    /// It was signed, and does not count here or now.
    #[error("the token does not count: {0}")]
    Claims(&'static str),
    /// The issuer's keys are not to be had.
    #[error("there are no keys of the issuer: look at oauth.keys_file or oauth.keys_url")]
    NoKeys,
}

impl TokenError {
    /// Whether somebody made it up. One that the issuer did sign, and that has expired, is what an
    /// honest client sends that has not looked at its clock; one with an unknown key is what it sends
    /// while the issuer changes its keys and they cannot be read.
    #[must_use]
    pub fn is_forged(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Signature)
    }
}

/// Verifies tokens of one issuer.
#[derive(Debug)]
pub struct TokenVerifier {
    rules: Rules,
    keys: Arc<KeyKeeper>,
    clock: Arc<dyn Clock>,
    refusal: String,
}

impl TokenVerifier {
    /// Verifies tokens as `settings` say, with the keys of `keys`.
    #[must_use]
    pub fn new(settings: &OauthSettings, keys: Arc<KeyKeeper>, clock: Arc<dyn Clock>) -> Self {
        let rules = Rules {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            login_claim: settings.login_claim.clone(),
            tolerance_seconds: i64::try_from(settings.clock_tolerance.0 / 1_000).unwrap_or(0),
        };
        Self { refusal: refusal(settings), rules, keys, clock }
    }

    /// What refused clients are told (RFC 7628 §3.2.2).
    #[must_use]
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// Returns the login that the token gives its bearer.
    ///
    /// # Errors
    ///
    /// When it gives none.
    pub async fn verify(&self, token: &str) -> Result<String, TokenError> {
        let token = Token::read(token)?;
        let mut keys = self.keys.current().ok_or(TokenError::NoKeys)?;
        if !keys.may_verify(&token) {
            // The issuer may have begun to sign with another key since.
            keys = self.keys.read_again().await.ok_or(TokenError::NoKeys)?;
        }
        if !keys.may_verify(&token) {
            return Err(TokenError::UnknownKey);
        }
        if !keys.verify(&token) {
            // A new key may have the name of the old one, or none.
            keys = self.keys.read_again().await.ok_or(TokenError::NoKeys)?;
            if !keys.verify(&token) {
                return Err(TokenError::Signature);
            }
        }
        self.rules.login(&token, self.clock.now().seconds())
    }
}

fn refusal(settings: &OauthSettings) -> String {
    let mut answer = serde_json::Map::new();
    let mut put = |key: &str, value: String| drop(answer.insert(key.to_owned(), value.into()));
    put("status", "invalid_token".to_owned());
    if let Some(scope) = &settings.scope {
        put("scope", scope.clone());
    }
    let issuer = settings.issuer.trim_end_matches('/');
    put("openid-configuration", format!("{issuer}/.well-known/openid-configuration"));
    serde_json::Value::Object(answer).to_string()
}

#[cfg(test)]
pub(crate) mod tests;
