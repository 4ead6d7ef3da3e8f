//! Who logs in, where hashing passwords is no part of what is measured: everybody.

use std::net::IpAddr;

use protocols::{
    access::{Authenticator, Identity, LoginError, Protocol, ScramKeys},
    sasl::scram::ScramVerifier,
};
use storage::ids::AccountId;

/// Lets in every name that this function knows, to the account that it says, whatever the password.
#[derive(Debug)]
pub(crate) struct Everybody(pub(crate) fn(&str) -> Option<AccountId>);

#[async_trait::async_trait]
impl Authenticator for Everybody {
    async fn verify_password(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        login: &str,
        _password: &str,
    ) -> Result<Identity, LoginError> {
        let account_id = self.0(login).ok_or(LoginError::BadCredentials)?;
        Ok(Identity { account_id, address: login.to_owned() })
    }

    async fn scram_keys(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        _login: &str,
    ) -> Result<ScramKeys, LoginError> {
        Err(LoginError::BadCredentials)
    }

    async fn scram_settled(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        _login: &str,
        _verifier: &ScramVerifier,
        _proven: bool,
    ) -> Result<Identity, LoginError> {
        Err(LoginError::BadCredentials)
    }
}
