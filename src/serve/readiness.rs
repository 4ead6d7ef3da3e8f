//! What `/readyz` asks of the store: whether a message could be taken now.
//!
//! Not here: the registry, which answers for itself.

use std::{error::Error, sync::Arc};

use storage::{catalog::engine::Family, store::Store};

use crate::{http::ReadinessCheck, pec::records::TRANSMISSIONS};

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
