//! An issuer of tokens: its keys as a JWK Set, and tokens that it signs, or that somebody forges.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use openssl::{
    bn::{BigNum, BigNumContext, BigNumRef},
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer},
};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://accesso.example";
pub(crate) const AUDIENCE: &str = "posta";

/// One key pair of the issuer.
pub(crate) struct IssuerPair {
    pub(crate) id: &'static str,
    /// `RS256`, `PS256` or `ES256`.
    pub(crate) algorithm: &'static str,
    key: PKey<Private>,
}

impl IssuerPair {
    pub(crate) fn rsa(id: &'static str, algorithm: &'static str, bits: u32) -> Self {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        Self { id, algorithm, key }
    }

    pub(crate) fn elliptic(id: &'static str) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        Self { id, algorithm: "ES256", key }
    }

    /// The public half (RFC 7517 §4).
    pub(crate) fn jwk(&self) -> Value {
        let number =
            |number: &BigNumRef, octets| BASE64URL.encode(number.to_vec_padded(octets).unwrap());
        let mut jwk = if let Ok(key) = self.key.ec_key() {
            let mut context = BigNumContext::new().unwrap();
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            let point = key.public_key();
            point.affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
            json!({"kty": "EC", "crv": "P-256", "x": number(&x, 32), "y": number(&y, 32)})
        } else {
            let key = self.key.rsa().unwrap();
            let octets = i32::try_from(key.size()).unwrap();
            json!({"kty": "RSA", "n": number(key.n(), octets), "e": number(key.e(), 3)})
        };
        jwk["kid"] = self.id.into();
        jwk["alg"] = self.algorithm.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with `claims` (RFC 7515 §3.1).
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.id, "typ": "JWT"}), claims)
    }

    /// The same with another header.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = BASE64URL.encode(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signature(&self, octets: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        if self.algorithm == "PS256" {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            signer.set_rsa_mgf1_md(MessageDigest::sha256()).unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(octets).unwrap();
        if self.algorithm != "ES256" {
            return signature;
        }
        let signature = EcdsaSig::from_der(&signature).unwrap();
        [signature.r(), signature.s()].map(|half| half.to_vec_padded(32).unwrap()).concat()
    }
}

/// The set of some pairs.
pub(crate) fn jwk_set(pairs: &[&IssuerPair]) -> String {
    json!({"keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Claims that let `address` in until `expires`, in seconds since 1970.
pub(crate) fn claims(address: &str, expires: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": ["altro", AUDIENCE], "sub": "4711", "email": address,
        "email_verified": true, "iat": expires - 3_600, "exp": expires,
    })
}
