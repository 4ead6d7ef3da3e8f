//! The signing key of the tests, and the known answer of RFC 8463.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail_auth::{
    common::{
        crypto::{RsaKey, Sha256},
        headers::HeaderWriter as _,
    },
    dkim::DkimSigner,
};

/// A key that signs for whom a test wants.
pub(crate) struct Key {
    pem: String,
    public: Vec<u8>,
}

/// Made once for all tests.
pub(crate) static SIGNER: LazyLock<Key> = LazyLock::new(Key::generate);

impl Key {
    fn generate() -> Self {
        let key = openssl::rsa::Rsa::generate(2048).expect("a key");
        let public = key.public_key_to_der().expect("DER");
        let key = openssl::pkey::PKey::from_rsa(key).expect("a key");
        let pem = key.private_key_to_pem_pkcs8().expect("PEM");
        Self { pem: String::from_utf8(pem).expect("ASCII"), public }
    }

    #[expect(deprecated, reason = "the way that is not wants a type of a crate that is not ours")]
    pub(crate) fn private(&self) -> RsaKey<Sha256> {
        RsaKey::from_pkcs8_pem(&self.pem).expect("a key")
    }

    /// The record of the public key, as it stands in a zone file: pieces of 255 octets at most.
    pub(crate) fn record(&self, selector: &str) -> String {
        let text = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(&self.public));
        let pieces: Vec<String> = text
            .as_bytes()
            .chunks(200)
            .map(|piece| format!("\"{}\"", String::from_utf8_lossy(piece)))
            .collect();
        format!("{selector}._domainkey TXT {}\n", pieces.join(" "))
    }

    /// A DKIM-Signature field of `domain` for `message`.
    pub(crate) fn signature(domain: &str, selector: &str, message: &[u8]) -> String {
        let signer = DkimSigner::from_key(SIGNER.private());
        let signer = signer.domain(domain).selector(selector);
        let signer = signer.headers(["From", "To", "Subject", "Date", "Message-ID"]);
        signer.sign(message).expect("a signature").to_header()
    }
}

/// The keys of RFC 8463 §A.2, in the zone `football.example.com`.
pub(crate) const RFC_8463_RECORDS: &str = "\
    brisbane._domainkey TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
    test._domainkey TXT \"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3\" \
    \"idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5\" \
    \"QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\"\n";

/// The signed message of RFC 8463 §A.3.
pub(crate) const RFC_8463_MESSAGE: &str = "\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r
 subject : date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r
 date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
\r
Hi.\r
\r
We lost the game.  Are you hungry yet?\r
\r
Joe.\r
";
