//! Logins by a token (RFC 7628), whose claim is the address of the account.
//!
//! A token that was made up counts as a failure like a wrong password, of the login that its bearer
//! gave, or, where he gave none, of the token itself: others who give none have not failed. One that the issuer has signed and that has expired does not: that is a client whose
//! clock or memory is bad, and nobody guesses by it.
//!
//! Not here: what makes a token right ([`crate::oauth`]).

use std::net::IpAddr;

use protocols::access::{Identity, LoginError};

use super::{RegistryAuthenticator, login_digest, unavailable};
use crate::oauth::TokenError;

impl RegistryAuthenticator {
    pub(super) async fn bearer(
        &self,
        peer: IpAddr,
        login: Option<&str>,
        token: &str,
    ) -> Result<Identity, LoginError> {
        let tokens = self.tokens.as_ref().ok_or(LoginError::BadCredentials)?;
        let claim = self.claimed(peer, login.unwrap_or(token)).await?;
        let name = match tokens.verify(token).await {
            Ok(name) => name,
            Err(error @ TokenError::NoKeys) => return Err(unavailable(error)),
            Err(error) => {
                tracing::debug!(%peer, %error, "token refused");
                let counts = error.is_forged();
                return Err(if counts { self.failed(&claim) } else { LoginError::BadCredentials });
            }
        };
        // Nobody acts for another here: whom the client wants to be must be whom the token names.
        if login.is_some_and(|login| login_digest(login) != login_digest(&name)) {
            tracing::debug!(%peer, "token of another login than the one that is asked for");
            return Err(LoginError::BadCredentials);
        }
        let claim = if login.is_some() { claim } else { self.claimed(peer, &name).await? };
        if claim.known.is_none() {
            tracing::info!(%peer, "a token of the issuer names no account of this provider");
            return Err(LoginError::BadCredentials);
        }
        self.entered(claim)
    }
}
