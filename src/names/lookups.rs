//! DNS as the way to other servers asks for it.

use std::{net::IpAddr, sync::Arc};

use super::{Answer, Exchange, Names, NamesError, TlsaRecord};
use crate::pec::lookups::Lookups;

#[async_trait::async_trait]
impl Lookups for Names {
    fn for_one_destination(self: Arc<Self>) -> Arc<dyn Lookups> {
        Arc::new(self.with_budget())
    }

    async fn mx(&self, domain: &str) -> Result<Answer<Vec<Exchange>>, NamesError> {
        Self::mx(self, domain).await
    }

    async fn addresses(&self, host: &str) -> Result<Answer<Vec<IpAddr>>, NamesError> {
        Self::addresses(self, host).await
    }

    async fn txt(&self, name: &str) -> Result<Answer<Vec<String>>, NamesError> {
        Self::txt(self, name).await
    }

    async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Vec<TlsaRecord>>, NamesError> {
        Self::tlsa(self, host, port).await
    }
}
