//! `keys list`, `add`, `roll` and `remove`.

use serde::{Deserialize, Serialize};
use trust::{
    certificate::{Certificate, profile},
    clock::UnixMillis,
    key::PrivateKey,
};

use super::directory::{failed, keeper};
use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    keys::{
        ring::{PairView, RingError},
        watch,
    },
    texts::Text,
};

/// A signing pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeyView {
    /// SHA-1 of the certificate: names it in the other commands and in the directory.
    pub sha1: String,
    /// The name in the certificate.
    pub name: String,
    /// `signs`, `next` (an instant is decided), `waiting`, `old`, `expired`.
    pub state: String,
    /// From when on it signs, in ms since 1970.
    pub signs_from_millis: Option<i64>,
    /// Since when its certificate is in the provider's entry; 0 = since the beginning.
    pub listed_from_millis: i64,
    /// First instant of validity.
    pub not_before_millis: i64,
    /// Last instant of validity.
    pub not_after_millis: i64,
    /// Whether its key is here.
    pub has_key: bool,
    /// Whether `[signing]` names it.
    pub configured: bool,
    /// How the certificate deviates from RFC 6109 §5.5.
    pub deviations: Vec<String>,
}

impl KeyView {
    fn of(site: &Site, pair: &PairView, now: UnixMillis) -> Self {
        let provider = &site.config.provider;
        let deviations =
            profile::deviations(&pair.certificate, &provider.name, &provider.service_address);
        let state = match pair.signs_from {
            _ if pair.validity.1 < now => "expired",
            _ if pair.signs => "signs",
            Some(from) if from > now => "next",
            Some(_) => "old",
            None => "waiting",
        };
        Self {
            sha1: pair.sha1.clone(),
            name: pair.certificate.common_name().unwrap_or_default(),
            state: state.to_owned(),
            signs_from_millis: pair.signs_from.map(|from| from.0),
            listed_from_millis: pair.listed_from.0,
            not_before_millis: pair.validity.0.0,
            not_after_millis: pair.validity.1.0,
            has_key: pair.has_key,
            configured: pair.configured,
            deviations: deviations.iter().map(ToString::to_string).collect(),
        }
    }
}

fn views(site: &Site) -> Result<Vec<KeyView>, OperationError> {
    let keeper = keeper(site)?;
    let now = keeper.now();
    Ok(keeper.ring().pairs().iter().map(|pair| KeyView::of(site, pair, now)).collect())
}

/// What is changed is in use when the command ends.
async fn take_into_use(site: &Site) -> Result<Vec<KeyView>, OperationError> {
    if let Some(engine) = &site.engine {
        let taken = watch::take_into_use(keeper(site)?, engine).await;
        taken.map_err(|error| failed(Kind::Failed, &error))?;
    }
    views(site)
}

fn refused(error: &RingError) -> OperationError {
    let (kind, italian) = match error {
        RingError::Pair(_)
        | RingError::Certificate(_)
        | RingError::Key(_)
        | RingError::Expired(_) => (Kind::Invalid, "la coppia non può firmare"),
        RingError::Unknown(_) => (Kind::NotFound, "nessuna coppia con quel certificato"),
        RingError::Known(_) => (Kind::Conflict, "la coppia c'è già"),
        RingError::NoKey(_) => (Kind::Conflict, "la chiave non è qui"),
        RingError::InUse(_) => (
            Kind::Conflict,
            "la coppia firma: prima farne firmare un'altra (`ceralacca keys roll`)",
        ),
        RingError::Configured(_) => (
            Kind::Conflict,
            "è la coppia della configurazione, che ogni avvio riprende: indicarne un'altra in [signing] e riavviare, poi toglierla",
        ),
        RingError::TooEarly { .. } => (
            Kind::Conflict,
            "il certificato è pubblicato da meno di 48 ore e gli altri potrebbero non conoscerlo: un istante più tardi, oppure --force",
        ),
        RingError::Full => (Kind::Conflict, "troppe coppie: toglierne una scaduta"),
        RingError::File { .. } | RingError::Damaged { .. } => {
            (Kind::Failed, "la cartella delle coppie di firma non si legge o non si scrive")
        }
    };
    let english = OperationError::of_machine(error);
    let english = english.text.get(crate::texts::Language::English).to_owned();
    OperationError::new(kind, Text::filled(format!("{italian} ({english})"), english))
}

/// Asks for the pairs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct KeysList {}

#[async_trait::async_trait]
impl Operation for KeysList {
    const NAME: &'static str = "keys/list";

    type Outcome = Vec<KeyView>;

    async fn run(&self, site: &Site, _: &Run) -> Result<Vec<KeyView>, OperationError> {
        views(site)
    }
}

/// Hands in a further pair; without one the development authority makes it.
#[derive(Clone, Deserialize, Serialize)]
pub struct KeysAdd {
    /// The certificate, then those up to the root, in PEM, and the key in PEM.
    #[serde(default)]
    pub pair: Option<(String, String)>,
}

impl std::fmt::Debug for KeysAdd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the key may reach a log.
        formatter.debug_struct("KeysAdd").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Operation for KeysAdd {
    const NAME: &'static str = "keys/add";

    type Outcome = Vec<KeyView>;

    async fn run(&self, site: &Site, _: &Run) -> Result<Vec<KeyView>, OperationError> {
        let ring = keeper(site)?.ring();
        let (certificate, chain, key) = match &self.pair {
            Some((chain, key)) => {
                let read = Certificate::all_from_pem(chain.as_bytes());
                let mut chain = read.map_err(|error| refused(&error.into()))?.into_iter();
                let none = || refused(&RingError::Unknown(String::new()));
                let certificate = chain.next().ok_or_else(none)?;
                let key = PrivateKey::from_pem(key.as_bytes());
                (certificate, chain.collect(), key.map_err(|error| refused(&error.into()))?)
            }
            None => made(site)?,
        };
        ring.add(&certificate, &chain, &key).map_err(|error| refused(&error))?;
        take_into_use(site).await
    }
}

/// A pair of the development authority.
fn made(site: &Site) -> Result<(Certificate, Vec<Certificate>, PrivateKey), OperationError> {
    let Some(authority) = keeper(site)?.authority() else {
        return Err(OperationError::new(
            Kind::Conflict,
            Text::fixed(
                "senza autorità di sviluppo servono --certificate e --key",
                "without a development authority --certificate and --key are needed",
            ),
        ));
    };
    let provider = &site.config.provider;
    let issued = authority.issue_provider(&provider.name, &provider.service_address);
    let issued = issued.map_err(|error| OperationError::of_machine(&error))?;
    Ok((issued.certificate, vec![authority.certificate().clone()], issued.key))
}

/// Asks that another pair signs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeysRoll {
    /// Its name, or enough of it.
    pub sha1: String,
    /// From when on, in ms since 1970; `None` = as soon as the others know the certificate.
    #[serde(default)]
    pub at_millis: Option<i64>,
    /// Also before they can know it.
    #[serde(default)]
    pub force: bool,
}

#[async_trait::async_trait]
impl Operation for KeysRoll {
    const NAME: &'static str = "keys/roll";

    type Outcome = Vec<KeyView>;

    async fn run(&self, site: &Site, _: &Run) -> Result<Vec<KeyView>, OperationError> {
        let keeper = keeper(site)?;
        let ring = keeper.ring();
        let wanted = self.sha1.to_ascii_lowercase();
        // What is not one pair the ring refuses.
        let pair = ring.pairs().into_iter().find(|pair| pair.sha1.starts_with(&wanted));
        if let Some(pair) = pair
            && !self.force
            && keeper.is_listed(&pair.certificate).await == Some(false)
        {
            return Err(OperationError::new(
                Kind::Conflict,
                Text::fixed(
                    "nella copia in uso dell'indice la voce di questo gestore non ha ancora quel certificato: gli altri non lo conoscono. Dopo `ceralacca directory fetch` ripetere, oppure --force",
                    "in the copy of the directory in use this provider's entry does not have that certificate yet: the others do not know it. Repeat after `ceralacca directory fetch`, or --force",
                ),
            ));
        }
        let at = self.at_millis.map(UnixMillis);
        let decided = ring.roll(&self.sha1, at, self.force);
        let from = decided.map_err(|error| refused(&error))?;
        tracing::info!(sha1 = self.sha1, from_millis = from.0, "another pair shall sign");
        take_into_use(site).await
    }
}

/// Asks to take a pair away.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeysRemove {
    /// Its name, or enough of it.
    pub sha1: String,
}

#[async_trait::async_trait]
impl Operation for KeysRemove {
    const NAME: &'static str = "keys/remove";

    type Outcome = Vec<KeyView>;

    async fn run(&self, site: &Site, _: &Run) -> Result<Vec<KeyView>, OperationError> {
        keeper(site)?.ring().remove(&self.sha1).map_err(|error| refused(&error))?;
        tracing::info!(sha1 = self.sha1, "a signing pair was removed");
        take_into_use(site).await
    }
}
