//! A token: JWS in its compact form, with claims in JSON (RFC 7515 §3.1, RFC 7519 §3).
//!
//! ```text
//! base64url(header) "." base64url(claims) "." base64url(signature)
//! ```
//!
//! Not here: signatures ([`super::keys`]).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Value};

use super::TokenError;

/// How a token is signed (RFC 7518 §3.1). No other way is taken, `none` least of all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Finds it by its registered name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A token that was read, and not verified yet.
#[derive(Debug)]
pub struct Token<'a> {
    /// What it says it is signed with.
    pub(super) algorithm: Algorithm,
    /// Which key it says that was.
    pub(super) key_id: Option<String>,
    /// What is signed.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: Map<String, Value>,
}

fn object(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&BASE64URL.decode(part).ok()?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

impl<'a> Token<'a> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When it is of no kind that is taken.
    pub fn read(text: &'a str) -> Result<Self, TokenError> {
        let malformed = |what| move || TokenError::Malformed(what);
        let (signed, signature) =
            text.rsplit_once('.').ok_or_else(malformed("it has no signature"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed("it has no claims"))?;
        let header = object(header).ok_or_else(malformed("its header is no JSON object"))?;
        let claims = object(claims).ok_or_else(malformed("its claims are no JSON object"))?;
        let signature = BASE64URL.decode(signature);
        let signature = signature.map_err(|_| TokenError::Malformed("its signature"))?;
        // Extensions that must be understood (RFC 7515 §4.1.11): none is.
        if header.contains_key("crit") {
            return Err(TokenError::Malformed("it has an extension that must be understood"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::of_name);
        let algorithm = algorithm.ok_or_else(malformed("its algorithm is not taken"))?;
        let key_id = header.get("kid").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), signature, claims })
    }
}

/// What claims must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// `iss`, as it stands.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The claim with the address of the account.
    pub login_claim: String,
    /// Seconds by which the issuer's clock may be another.
    pub tolerance_seconds: i64,
}

impl Rules {
    /// Judges the claims of a token whose signature was verified (RFC 7519 §4.1); returns the login.
    ///
    /// # Errors
    ///
    /// When the token does not count here or now.
    pub fn login(&self, token: &Token<'_>, now_seconds: i64) -> Result<String, TokenError> {
        let claims = &token.claims;
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(TokenError::Claims("it is of another issuer than oauth.issuer"));
        }
        let for_us = |value: &Value| value.as_str() == Some(&self.audience);
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(for_us),
            Some(one) => for_us(one),
            None => false,
        };
        if !audience {
            return Err(TokenError::Claims("it is for another audience than oauth.audience"));
        }
        let expires = seconds(claims, "exp")?.ok_or(TokenError::Claims("it never expires"))?;
        if now_seconds >= expires.saturating_add(self.tolerance_seconds) {
            return Err(TokenError::Claims("it has expired"));
        }
        for claim in ["nbf", "iat"] {
            let from = seconds(claims, claim)?.unwrap_or(i64::MIN);
            if now_seconds.saturating_add(self.tolerance_seconds) < from {
                return Err(TokenError::Claims("it is of the future: compare the clocks"));
            }
        }
        // An issuer that lets people write their own address says whether it has looked.
        if self.login_claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false))
        {
            return Err(TokenError::Claims("its issuer has not verified the address"));
        }
        let login = claims.get(&self.login_claim).and_then(Value::as_str);
        let login = login.filter(|login| !login.is_empty());
        login.map(str::to_owned).ok_or(TokenError::Claims("it lacks the claim oauth.login_claim"))
    }
}

/// A NumericDate (RFC 7519 §2): seconds since 1970, perhaps with a fraction.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        // Rounded towards the past by a second at most; what does not fit saturates.
        #[expect(clippy::cast_possible_truncation, reason = "a date beyond the range is its end")]
        value.as_f64().map(|seconds| seconds.floor() as i64)
    });
    whole.map(Some).ok_or(TokenError::Claims("a date in it is no number"))
}
