//! The issuer's keys: a JWK Set (RFC 7517 §5), and signatures by them (RFC 7518 §3.3 to §3.5).
//!
//! Invariants: a key verifies what is of its kind only, and nothing when it is meant for something
//! else; RSA has 2,048 to 8,192 bits, so that neither forging nor verifying is cheap or dear.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Public},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Verifier},
};
use serde::Deserialize;

use super::token::{Algorithm, Token};

/// Keys of one set; no issuer has so many.
const KEYS_MAX: usize = 64;

/// Bits that a modulus of RSA may have.
const RSA_BITS: std::ops::RangeInclusive<i32> = 2_048..=8_192;

/// Bits that a public exponent may have: a large one makes verifying slow.
const RSA_EXPONENT_BITS: std::ops::RangeInclusive<i32> = 2..=33;

/// The octets are no key set that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not the JSON of RFC 7517 §5.
    #[error("it is no JWK Set in JSON")]
    NotASet(#[source] serde_json::Error),
    /// No key in it verifies RS256, PS256 or ES256.
    #[error("no key in it can verify RS256, PS256 or ES256")]
    NoUsableKey,
}

/// One key as JSON has it. Members that are not named here do not matter.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

/// A key that may verify.
#[derive(Clone)]
struct IssuerKey {
    id: Option<String>,
    /// The one way it is meant for, where the issuer says so.
    algorithm: Option<Algorithm>,
    elliptic: bool,
    key: PKey<Public>,
}

/// The keys of an issuer.
#[derive(Clone)]
pub struct KeySet(Vec<IssuerKey>);

impl fmt::Debug for KeySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl KeySet {
    /// Reads a set. Keys of other kinds are passed over (RFC 7517 §5); a set without any other is one
    /// too: an issuer that has withdrawn its keys says so.
    ///
    /// # Errors
    ///
    /// When it is no set.
    pub fn read(octets: &[u8]) -> Result<Self, KeySetError> {
        let set: JwkSet = serde_json::from_slice(octets).map_err(KeySetError::NotASet)?;
        let usable = |value| serde_json::from_value(value).ok().and_then(|jwk| usable(&jwk));
        let keys: Vec<_> = set.keys.into_iter().filter_map(usable).take(KEYS_MAX).collect();
        Ok(Self(keys))
    }

    /// The set, where it has a key.
    ///
    /// # Errors
    ///
    /// When it has none that can be used.
    pub fn with_some(self) -> Result<Self, KeySetError> {
        if self.0.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(self) }
    }

    /// Whether a key in it is of the name and the kind that the token speaks of.
    pub(super) fn may_verify(&self, token: &Token<'_>) -> bool {
        self.fitting(token).next().is_some()
    }

    /// Whether the token was signed with one of them.
    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        // A failure of the library verifies nothing.
        self.fitting(token).any(|key| key.verify(token).unwrap_or(false))
    }

    fn fitting<'t>(&'t self, token: &'t Token<'_>) -> impl Iterator<Item = &'t IssuerKey> {
        self.0.iter().filter(|key| {
            let named = token.key_id.is_none() || token.key_id == key.id;
            let kind = key.elliptic == (token.algorithm == Algorithm::Es256);
            named && kind && key.algorithm.is_none_or(|algorithm| algorithm == token.algorithm)
        })
    }
}

fn usable(jwk: &Jwk) -> Option<IssuerKey> {
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|all| all.iter().any(|operation| operation == "verify"));
    let algorithm = match &jwk.alg {
        Some(name) => Some(Algorithm::of_name(name)?),
        None => None,
    };
    for_signatures.then_some(())?;
    let (elliptic, key) = match jwk.kty.as_str() {
        "RSA" => (false, rsa(jwk)?),
        "EC" => (true, elliptic(jwk)?),
        _ => return None,
    };
    Some(IssuerKey { id: jwk.kid.clone(), algorithm, elliptic, key })
}

fn number(text: Option<&String>) -> Option<BigNum> {
    BigNum::from_slice(&BASE64URL.decode(text?).ok()?).ok()
}

fn rsa(jwk: &Jwk) -> Option<PKey<Public>> {
    let (modulus, exponent) = (number(jwk.n.as_ref())?, number(jwk.e.as_ref())?);
    let sound = RSA_BITS.contains(&modulus.num_bits())
        && RSA_EXPONENT_BITS.contains(&exponent.num_bits())
        && exponent.is_bit_set(0);
    sound.then_some(())?;
    PKey::from_rsa(Rsa::from_public_components(modulus, exponent).ok()?).ok()
}

fn elliptic(jwk: &Jwk) -> Option<PKey<Public>> {
    (jwk.crv.as_deref() == Some("P-256")).then_some(())?;
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).ok()?;
    let (x, y) = (number(jwk.x.as_ref())?, number(jwk.y.as_ref())?);
    // Refuses a point that is not on the curve.
    PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y).ok()?).ok()
}

impl IssuerKey {
    fn verify(&self, token: &Token<'_>) -> Result<bool, ErrorStack> {
        let mut verifier = Verifier::new(MessageDigest::sha256(), &self.key)?;
        if token.algorithm == Algorithm::Ps256 {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            verifier.set_rsa_mgf1_md(MessageDigest::sha256())?;
        }
        if token.algorithm == Algorithm::Es256 {
            // R and S, of 32 octets each, where OpenSSL wants DER (RFC 7518 §3.4).
            let Some((r, s)) = token.signature.split_at_checked(32).filter(|(_, s)| s.len() == 32)
            else {
                return Ok(false);
            };
            let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
            let signature = EcdsaSig::from_private_components(r, s)?.to_der()?;
            return verifier.verify_oneshot(&signature, token.signed);
        }
        verifier.verify_oneshot(&token.signature, token.signed)
    }
}
