//! `ceralacca domain`.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Site,
    failure::Failure,
    output::{Output, Shown, instant},
    say,
};
use crate::{config::DomainName, registry::domain::RegisteredDomain, texts::Text};

#[derive(Debug, Subcommand)]
pub(super) enum DomainCommand {
    #[command(
        about = say("Registra un dominio PEC", "Registers a PEC domain"),
        after_help = say("Esempio:\n  ceralacca domain add pec.example", "Example:\n  ceralacca domain add pec.example"),
    )]
    Add(Named),
    #[command(about = say("Elenca i domini", "Lists the domains"))]
    List,
    #[command(about = say("Mostra un dominio", "Shows a domain"))]
    Show(Named),
    #[command(about = say("Toglie un dominio che non ha mai avuto caselle", "Removes a domain that never had an account"))]
    Remove(Named),
}

#[derive(Debug, clap::Args)]
pub(super) struct Named {
    #[arg(value_name = "DOMAIN", help = say("Il dominio, come pec.example", "The domain, such as pec.example"))]
    domain: DomainName,
}

impl DomainCommand {
    pub(super) async fn run(self, site: &Site<'_>, output: &Output) -> Result<(), Failure> {
        let registry = site.registry;
        let domain = match self {
            Self::List => {
                let domains: Vec<DomainView> =
                    registry.domains().await?.into_iter().map(DomainView::from).collect();
                output.list(&domains);
                return Ok(());
            }
            Self::Add(named) => registry.add_domain(&named.domain).await?,
            Self::Show(named) => registry.domain(&named.domain).await?,
            Self::Remove(named) => registry.remove_domain(&named.domain).await?,
        };
        output.one(&DomainView::from(domain));
        Ok(())
    }
}

/// A domain as printed.
#[derive(Debug, Serialize)]
struct DomainView {
    name: String,
    kind: &'static str,
    open_accounts: u64,
    created_at: String,
}

impl From<RegisteredDomain> for DomainView {
    fn from(domain: RegisteredDomain) -> Self {
        Self {
            name: domain.name,
            kind: domain.kind.name(),
            open_accounts: domain.open_accounts,
            created_at: instant(domain.created_at),
        }
    }
}

impl Shown for DomainView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("DOMINIO", "DOMAIN"),
            Text::fixed("TIPO", "KIND"),
            Text::fixed("CASELLE", "ACCOUNTS"),
            Text::fixed("DAL", "SINCE"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.kind.to_owned(),
            self.open_accounts.to_string(),
            self.created_at.clone(),
        ]
    }
}
