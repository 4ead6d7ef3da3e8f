//! The client's side of SCRAM-SHA-256 (RFC 5802 §3), written from the password's end.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::missing_panics_doc)]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use openssl::{hash::MessageDigest, pkcs5, sha};
use protocols::net::stream::ConnectionStream;
use trust::digest::hmac_sha256;

/// One exchange.
pub struct Client {
    password: String,
    header: String,
    bare: String,
    binding: Vec<u8>,
    signature: String,
}

impl Client {
    /// A client that binds to nothing: `flag` is `n` or `y`.
    pub fn unbound(login: &str, password: &str, flag: &str) -> Self {
        Self::new(login, password, flag, Vec::new())
    }

    /// A client that binds to `stream`, under TLS 1.3.
    pub fn bound(login: &str, password: &str, stream: &ConnectionStream) -> Self {
        Self::new(login, password, "p=tls-exporter", exporter(stream))
    }

    pub fn new(login: &str, password: &str, flag: &str, binding: Vec<u8>) -> Self {
        Self {
            password: password.to_owned(),
            header: format!("{flag},,"),
            bare: format!("n={login},r=fyko+d2lbbFgONRv9qkxdawL"),
            binding,
            signature: String::new(),
        }
    }

    /// The first message, in base64.
    pub fn first(&self) -> String {
        BASE64.encode(format!("{}{}", self.header, self.bare))
    }

    /// The answer to the challenge; both in base64.
    pub fn last(&mut self, challenge: &str) -> String {
        let challenge = String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap();
        let attribute = |name: &str| {
            let found = challenge.split(',').find_map(|one| one.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{name} in {challenge}"))
        };
        let salt = BASE64.decode(attribute("s=")).unwrap();
        let rounds = attribute("i=").parse().unwrap();
        let mut salted = [0; 32];
        let password = self.password.as_bytes();
        pkcs5::pbkdf2_hmac(password, &salt, rounds, MessageDigest::sha256(), &mut salted).unwrap();
        let channel = BASE64.encode([self.header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={channel},r={}", attribute("r="));
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let client_key = hmac_sha256(&salted, b"Client Key").unwrap();
        let signature = hmac_sha256(&sha::sha256(&client_key), message.as_bytes()).unwrap();
        let proof: Vec<u8> =
            client_key.iter().zip(signature).map(|(left, right)| left ^ right).collect();
        let server_key = hmac_sha256(&salted, b"Server Key").unwrap();
        let signature = hmac_sha256(&server_key, message.as_bytes()).unwrap();
        self.signature = format!("v={}", BASE64.encode(signature));
        BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof)))
    }

    /// Whether the server, too, knows the password.
    pub fn believes(&self, signature: &str) -> bool {
        BASE64.decode(signature).unwrap() == self.signature.as_bytes()
    }
}

/// `tls-exporter` as the client sees it (RFC 9266 §2).
pub fn exporter(stream: &ConnectionStream) -> Vec<u8> {
    let ConnectionStream::Tls(stream) = stream else { panic!("in the clear") };
    let mut octets = vec![0; 32];
    let label = "EXPORTER-Channel-Binding";
    stream.ssl().export_keying_material(&mut octets, label, Some(&[])).unwrap();
    octets
}
