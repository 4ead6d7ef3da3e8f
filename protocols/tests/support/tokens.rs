//! A login by token: one token is right, and another belongs to an account that is blocked.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::missing_panics_doc)]

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use protocols::access::{Authenticator, Identity, LoginError, Protocol, ScramKeys};
use protocols::sasl::scram::ScramVerifier;
use storage::ids::AccountId;

pub const TOKEN: &str = "eyJ0b2tlbi5vZi5hbm5h";
pub const BLOCKED_TOKEN: &str = "eyJ0b2tlbi5vZi5tYXJpbw";
pub const OWNER: &str = "anna.rossi@pec.example";

/// What refused clients are told.
pub const REFUSAL: &str = r#"{"status":"invalid_token","openid-configuration":"https://issuer.example/.well-known/openid-configuration"}"#;

/// The one message of OAUTHBEARER, in base64.
pub fn message(login: &str, token: &str) -> String {
    let login = if login.is_empty() { String::new() } else { format!("a={login}") };
    BASE64.encode(format!("n,{login},\x01host=mail.example\x01auth=Bearer {token}\x01\x01"))
}

/// The JSON in base64.
pub fn refusal() -> String {
    BASE64.encode(REFUSAL)
}

/// Takes tokens besides what `A` takes.
#[derive(Debug)]
pub struct WithTokens<A>(pub A);

#[async_trait::async_trait]
impl<A: Authenticator> Authenticator for WithTokens<A> {
    async fn verify_password(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        self.0.verify_password(protocol, peer, login, password).await
    }

    async fn scram_keys(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError> {
        self.0.scram_keys(protocol, peer, login).await
    }

    async fn scram_settled(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError> {
        self.0.scram_settled(protocol, peer, login, verifier, proven).await
    }

    fn token_refusal(&self) -> Option<&str> {
        Some(REFUSAL)
    }

    async fn verify_token(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: Option<&str>,
        token: &str,
    ) -> Result<Identity, LoginError> {
        match (login, token) {
            (None | Some(OWNER), TOKEN) => {
                Ok(Identity { account_id: AccountId(1), address: OWNER.to_owned() })
            }
            (_, BLOCKED_TOKEN) => Err(LoginError::Blocked),
            _ => Err(LoginError::BadCredentials),
        }
    }
}
