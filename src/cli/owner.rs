//! `ceralacca owner`.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Site,
    failure::Failure,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    registry::{
        account::AccountFilter,
        codes::{CodiceFiscale, PartitaIva},
        owner::{OwnerData, OwnerFilter, OwnerId, OwnerName, RegisteredOwner},
    },
    texts::Text,
};

#[derive(Debug, Subcommand)]
pub(super) enum OwnerCommand {
    #[command(
        about = say("Registra un titolare", "Registers an owner"),
        after_help = say(
            "Esempi:\n  ceralacca owner add --name Maria --surname Rossi --codice-fiscale RSSMRA79B11C566R\n  ceralacca owner add --body \"Studio Verdi\" --partita-iva 02046570426",
            "Examples:\n  ceralacca owner add --name Maria --surname Rossi --codice-fiscale RSSMRA79B11C566R\n  ceralacca owner add --body \"Studio Verdi\" --partita-iva 02046570426",
        ),
    )]
    Add(OwnerFields),
    #[command(about = say("Elenca i titolari", "Lists the owners"))]
    List {
        #[arg(long, help = say("Parte del nome", "Part of the name"))]
        name: Option<String>,
        #[arg(long, help = say("Questo codice fiscale", "This codice fiscale"))]
        codice_fiscale: Option<CodiceFiscale>,
        #[arg(long, help = say("Questa partita IVA", "This partita IVA"))]
        partita_iva: Option<PartitaIva>,
        #[arg(long, value_name = "ID", help = say("Solo dopo questo numero", "Only after this number"))]
        after: Option<i64>,
        #[arg(long, help = say("Al più tanti", "At most so many"))]
        limit: Option<u32>,
    },
    #[command(about = say("Mostra un titolare e le sue caselle", "Shows an owner and his accounts"))]
    Show(Numbered),
    #[command(
        about = say("Cambia i dati di un titolare; ciò che non si indica resta", "Changes an owner; what is not given stays"),
        after_help = say("Esempio:\n  ceralacca owner set 1 --surname Bianchi", "Example:\n  ceralacca owner set 1 --surname Bianchi"),
    )]
    Set {
        #[command(flatten)]
        owner: Numbered,
        #[command(flatten)]
        fields: OwnerFields,
    },
    #[command(about = say("Toglie un titolare che non ha mai avuto caselle", "Removes an owner who never had an account"))]
    Remove(Numbered),
}

#[derive(Debug, clap::Args)]
pub(super) struct Numbered {
    #[arg(value_name = "ID", help = say("Il numero del titolare", "The owner's number"))]
    id: i64,
}

#[derive(Debug, clap::Args)]
pub(super) struct OwnerFields {
    #[arg(long, conflicts_with = "body", help = say("Nome", "Given name"))]
    name: Option<String>,
    #[arg(long, conflicts_with = "body", help = say("Cognome", "Family name"))]
    surname: Option<String>,
    #[arg(long, value_name = "NAME", help = say("Denominazione di una persona giuridica", "Name of a body"))]
    body: Option<String>,
    #[arg(long, value_name = "CODE", help = say("Codice fiscale", "Codice fiscale"))]
    codice_fiscale: Option<CodiceFiscale>,
    #[arg(long, value_name = "CODE", help = say("Partita IVA", "Partita IVA"))]
    partita_iva: Option<PartitaIva>,
}

impl OwnerFields {
    fn into_new(self) -> Result<OwnerData, Failure> {
        let name = match (self.name, self.surname, self.body) {
            (Some(given_name), Some(family_name), None) => {
                OwnerName::Person { given_name, family_name }
            }
            (None, None, Some(name)) => OwnerName::Body { name },
            _ => {
                return Err(Failure::invalid(Text::fixed(
                    "indicare --name e --surname di una persona, oppure --body di una persona giuridica",
                    "give --name and --surname of a person, or --body of a body",
                )));
            }
        };
        Ok(OwnerData { name, codice_fiscale: self.codice_fiscale, partita_iva: self.partita_iva })
    }

    fn change(self, data: &mut OwnerData) {
        if let Some(name) = self.body {
            data.name = OwnerName::Body { name };
        }
        if self.name.is_some() || self.surname.is_some() {
            let (given, family) = match &data.name {
                OwnerName::Person { given_name, family_name } => {
                    (given_name.clone(), family_name.clone())
                }
                OwnerName::Body { .. } => (String::new(), String::new()),
            };
            data.name = OwnerName::Person {
                given_name: self.name.unwrap_or(given),
                family_name: self.surname.unwrap_or(family),
            };
        }
        data.codice_fiscale = self.codice_fiscale.or(data.codice_fiscale.take());
        data.partita_iva = self.partita_iva.or(data.partita_iva.take());
    }
}

impl OwnerCommand {
    pub(super) async fn run(self, site: &Site<'_>, output: &Output) -> Result<(), Failure> {
        let registry = site.registry;
        let owner = match self {
            Self::List { name, codice_fiscale, partita_iva, after, limit } => {
                let after = after.map(OwnerId);
                let filter = OwnerFilter { name, codice_fiscale, partita_iva, after, limit };
                let owners: Vec<OwnerView> =
                    registry.owners(&filter).await?.into_iter().map(OwnerView::from).collect();
                output.list(&owners);
                return Ok(());
            }
            Self::Add(fields) => registry.add_owner(fields.into_new()?).await?,
            Self::Show(owner) => registry.owner(OwnerId(owner.id)).await?,
            Self::Set { owner, fields } => {
                registry.change_owner(OwnerId(owner.id), |data| fields.change(data)).await?
            }
            Self::Remove(owner) => registry.remove_owner(OwnerId(owner.id)).await?,
        };
        let filter = AccountFilter { owner: Some(owner.id), ..AccountFilter::default() };
        let accounts = registry.accounts(&filter).await?;
        let mut view = OwnerView::from(owner);
        view.accounts = accounts.iter().map(|account| account.address.to_string()).collect();
        output.one(&view);
        Ok(())
    }
}

/// An owner as printed. Lists leave the accounts out.
#[derive(Debug, Serialize)]
struct OwnerView {
    id: i64,
    kind: &'static str,
    name: String,
    given_name: Option<String>,
    family_name: Option<String>,
    codice_fiscale: Option<String>,
    partita_iva: Option<String>,
    created_at: String,
    changed_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
}

impl From<RegisteredOwner> for OwnerView {
    fn from(owner: RegisteredOwner) -> Self {
        let name = owner.data.name.to_string();
        let (kind, given_name, family_name) = match owner.data.name {
            OwnerName::Person { given_name, family_name } => {
                ("persona-fisica", Some(given_name), Some(family_name))
            }
            OwnerName::Body { .. } => ("persona-giuridica", None, None),
        };
        Self {
            id: owner.id.0,
            kind,
            name,
            given_name,
            family_name,
            codice_fiscale: owner.data.codice_fiscale.map(|code| code.as_str().to_owned()),
            partita_iva: owner.data.partita_iva.map(|code| code.as_str().to_owned()),
            created_at: instant(owner.created_at),
            changed_at: instant(owner.changed_at),
            accounts: Vec::new(),
        }
    }
}

impl Shown for OwnerView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("N.", "ID"),
            Text::fixed("TITOLARE", "OWNER"),
            Text::fixed("CODICE FISCALE", "CODICE FISCALE"),
            Text::fixed("PARTITA IVA", "PARTITA IVA"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.clone(),
            self.codice_fiscale.clone().unwrap_or_default(),
            self.partita_iva.clone().unwrap_or_default(),
        ]
    }

    fn details(&self) -> Vec<(Text, String)> {
        let mut details: Vec<_> = Self::columns().into_iter().zip(self.row()).collect();
        details.push((Text::fixed("TIPO", "KIND"), self.kind.to_owned()));
        details.push((Text::fixed("CASELLE", "ACCOUNTS"), self.accounts.join(", ")));
        details.push((Text::fixed("DAL", "SINCE"), self.created_at.clone()));
        details
    }
}
