//! What `/readyz` asks besides the registry: whether a message could be taken and a receipt signed now.
//!
//! Not here: the registry, which answers for itself.

use std::{error::Error, sync::Arc};

use storage::{catalog::engine::Family, store::Store};

use crate::{http::ReadinessCheck, keys::ring::SigningRing, pec::records::TRANSMISSIONS};

/// The catalog answers: mail works.
#[derive(Debug)]
pub struct CatalogReady(pub Arc<Store>);

/// A family that every message touches.
const PROBE: Family = TRANSMISSIONS;

#[async_trait::async_trait]
impl ReadinessCheck for CatalogReady {
    fn name(&self) -> &'static str {
        "catalog"
    }

    async fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.engine().get(PROBE, b"readiness").await?;
        Ok(())
    }
}

/// A signing certificate is valid: receipts do not have to wait.
#[derive(Debug)]
pub struct SignerReady(pub Arc<SigningRing>);

#[async_trait::async_trait]
impl ReadinessCheck for SignerReady {
    fn name(&self) -> &'static str {
        "signer"
    }

    async fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.0.can_sign() { Ok(()) } else { Err("no signing certificate is valid now".into()) }
    }
}
