//! What can go wrong in the registry, for people in both languages.

use std::fmt;

use super::{
    account::AccountState, address::AddressError, codes::CodeError, password::PasswordError,
    plan::Plan,
};
use crate::texts::{Language, Text};

/// What the registry keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entity {
    /// A domain.
    Domain,
    /// An owner.
    Owner,
    /// An account.
    Account,
}

/// Why nothing was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// The address is malformed.
    Address(AddressError),
    /// A codice fiscale or a partita IVA is malformed.
    Code(CodeError),
    /// The password is refused.
    Password(PasswordError),
    /// A name or a reason is empty or too long.
    Name(&'static str),
    /// A person needs a codice fiscale, a body one of the two codes.
    CodeMissing,
    /// The domain of the address is not one of ours.
    DomainNotRegistered(String),
    /// There is no such thing.
    NotFound(Entity, String),
    /// There is one already.
    Exists(Entity, String),
    /// It still has accounts.
    InUse(Entity, String),
    /// The owner has an open account and may have one only.
    OwnerHasAccount(String),
    /// Only the service account has no owner, and only it has the plan `service`.
    ServicePlan,
    /// The plan allows fewer increments.
    TooManyIncrements {
        /// The plan.
        plan: Plan,
        /// What it allows.
        most: u32,
    },
    /// The account's state does not allow the change.
    State(String, AccountState),
    /// The database failed. Temporary unless the disk is lost.
    Database {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// Correct the request.
    Invalid,
    /// Name something that exists.
    NotFound,
    /// Look at the present state first.
    Conflict,
    /// Try again later.
    Temporary,
}

impl RegistryError {
    pub(super) fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self + Copy {
        move |error| Self::Database { operation, source: Box::new(error) }
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(..) => ErrorKind::NotFound,
            Self::Exists(..) | Self::InUse(..) | Self::OwnerHasAccount(_) | Self::State(..) => {
                ErrorKind::Conflict
            }
            Self::Database { .. } => ErrorKind::Temporary,
            _ => ErrorKind::Invalid,
        }
    }

    /// What happened and what to do.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::Address(error) => address_text(*error),
            Self::Code(error) => error.text(),
            Self::Password(error) => error.text(),
            Self::NotFound(entity, name) => not_found(*entity, name),
            Self::Exists(entity, name) => exists(*entity, name),
            Self::InUse(entity, name) => in_use(*entity, name),
            Self::State(address, state) => wrong_state(address, *state),
            Self::Name(what) => Text::filled(
                format!("{what}: da 1 a 200 caratteri, senza caratteri di controllo"),
                format!("{what}: 1 to 200 characters, no control characters"),
            ),
            Self::CodeMissing => Text::fixed(
                "una persona fisica vuole il codice fiscale, una persona giuridica codice fiscale o partita IVA",
                "a person needs a codice fiscale, a body a codice fiscale or a partita IVA",
            ),
            Self::DomainNotRegistered(domain) => Text::filled(
                format!(
                    "{domain} non è un dominio PEC di questo gestore: prima `ceralacca domain add {domain}`"
                ),
                format!(
                    "{domain} is not a PEC domain of this provider: first `ceralacca domain add {domain}`"
                ),
            ),
            Self::OwnerHasAccount(owner) => Text::filled(
                format!(
                    "il titolare {owner} ha già una casella aperta: chiuderla prima, o togliere one_account_per_codice_fiscale"
                ),
                format!(
                    "owner {owner} has an open account already: close it first, or unset one_account_per_codice_fiscale"
                ),
            ),
            Self::ServicePlan => Text::fixed(
                "il tipo service è della sola casella di servizio, che non ha titolare: scegliere un altro tipo",
                "the plan service is for the service account alone, which has no owner: choose another plan",
            ),
            Self::TooManyIncrements { plan, most } => Text::filled(
                format!(
                    "il tipo {plan} ammette al più {most} incrementi da 1 GB: indicarne meno, o cambiare tipo"
                ),
                format!(
                    "plan {plan} allows {most} increments of 1 GB at most: give fewer, or change the plan"
                ),
            ),
            Self::Database { operation, source } => Text::filled(
                format!(
                    "l'anagrafica non riesce a {operation} ({source}): controllare disco e permessi, poi riprovare"
                ),
                format!(
                    "the registry cannot {operation} ({source}): check disk and permissions, then retry"
                ),
            ),
        }
    }
}

fn address_text(error: AddressError) -> Text {
    let italian = match error {
        AddressError::NoAt => "un indirizzo ha una sola @, come nome.cognome@pec.example",
        AddressError::LocalPart => {
            "prima di @ stanno da 1 a 64 lettere, cifre, punti, trattini o trattini bassi; il punto mai all'inizio, alla fine o doppio"
        }
        AddressError::Domain(_) => {
            "non è un dominio: scriverlo in ASCII con almeno un punto, come pec.example"
        }
    };
    Text::filled(italian.to_owned(), error.to_string())
}

fn names(entity: Entity) -> (&'static str, &'static str, &'static str) {
    match entity {
        Entity::Domain => ("dominio", "domain", "domain"),
        Entity::Owner => ("titolare", "owner", "owner"),
        Entity::Account => ("casella", "account", "account"),
    }
}

fn not_found(entity: Entity, name: &str) -> Text {
    let (italian, english, command) = names(entity);
    Text::filled(
        format!(
            "{italian} {name}: non esiste; `ceralacca {command} list` mostra quelli che ci sono"
        ),
        format!(
            "{english} {name} does not exist; `ceralacca {command} list` shows those there are"
        ),
    )
}

fn exists(entity: Entity, name: &str) -> Text {
    let (italian, english, command) = names(entity);
    let (remedy_it, remedy_en) = match entity {
        Entity::Account => (
            "; un indirizzo non si assegna due volte, nemmeno dopo la chiusura",
            "; an address is never given twice, not even after closing",
        ),
        _ => ("", ""),
    };
    Text::filled(
        format!("{italian} {name}: esiste già (`ceralacca {command} show {name}`){remedy_it}"),
        format!("{english} {name} exists already (`ceralacca {command} show {name}`){remedy_en}"),
    )
}

fn in_use(entity: Entity, name: &str) -> Text {
    let (italian, english, command) = names(entity);
    Text::filled(
        format!(
            "{italian} {name}: ha ancora caselle, anche chiuse; vederle con `ceralacca account list --{command} {name}`"
        ),
        format!(
            "{english} {name} still has accounts, maybe closed ones; see `ceralacca account list --{command} {name}`"
        ),
    )
}

fn wrong_state(address: &str, state: AccountState) -> Text {
    let (italian, english) = match state {
        AccountState::Active => ("è attiva", "is active"),
        AccountState::Blocked => ("è bloccata", "is blocked"),
        AccountState::Closed => (
            "è chiusa e non si riapre: creare un'altra casella",
            "is closed and cannot be reopened: make another account",
        ),
    };
    Text::filled(format!("la casella {address} {italian}"), format!("account {address} {english}"))
}

impl fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().get(Language::English))
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl From<AddressError> for RegistryError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<CodeError> for RegistryError {
    fn from(error: CodeError) -> Self {
        Self::Code(error)
    }
}

impl From<PasswordError> for RegistryError {
    fn from(error: PasswordError) -> Self {
        Self::Password(error)
    }
}
