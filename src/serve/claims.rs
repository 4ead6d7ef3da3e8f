//! Whether this node is still the one that its object stores belong to.
//!
//! * Before the doors open, the object store of the packs must be this node's, and the back-up must not
//!   be another's. A back-up that does not answer keeps no mail out; a node that once knew that it is
//!   superseded knows it without an answer.
//! * While it serves, both are looked at every [`PAUSE`], and when an increment is refused; neither look
//!   waits for the other, or for an increment under way. When another node was restored from the back-up,
//!   this one closes its doors as at a stop and ends with an error: what it would acknowledge from then on
//!   would be lost.
//!
//! Not here: what a claim is (`storage::claim`); back-up and collector, which look for themselves.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use storage::{claim, error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::{service::BackupService, target},
    config::Config,
    texts::{Language, Text},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// The node is not the store's: it must not serve.
#[derive(Debug)]
pub struct NodeRefused {
    text: Text,
}

impl NodeRefused {
    /// Why, and what to do.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }
}

impl fmt::Display for NodeRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text.get(Language::English))
    }
}

impl Error for NodeRefused {}

/// The claim of a node that serves.
#[derive(Debug)]
pub struct NodeClaim {
    config: Arc<Config>,
    store: Arc<Store>,
    refusal: Mutex<Option<NodeRefused>>,
}

impl NodeClaim {
    /// Confirms the claim, before anything is served.
    ///
    /// # Errors
    ///
    /// [`NodeRefused`] when an object store is another node's; others when that of the packs does not
    /// answer.
    pub async fn confirm(config: &Arc<Config>, store: &Arc<Store>) -> anyhow::Result<Arc<Self>> {
        let (config, store) = (Arc::clone(config), Arc::clone(store));
        let claim = Arc::new(Self { config, store, refusal: Mutex::default() });
        if let Err(error) = claim.store.confirm_own_objects().await {
            return Err(refusal(&error).map_or_else(|| error.into(), anyhow::Error::from));
        }
        match claim.look_at_backup().await {
            Ok(Some(refused)) => Err(refused.into()),
            Ok(None) => Ok(claim),
            Err(error) => {
                tracing::warn!(error = %format_args!("{error:#}"), "the back-up does not answer");
                Ok(claim)
            }
        }
    }

    async fn look_at_packs(&self) -> anyhow::Result<Option<NodeRefused>> {
        judged(async { Ok(self.store.confirm_own_objects().await?) }).await
    }

    async fn look_at_backup(&self) -> anyhow::Result<Option<NodeRefused>> {
        let config = Arc::clone(&self.config);
        judged(async {
            // A folder may hang.
            let opened = tokio::task::spawn_blocking(move || target::open_to_look(&config));
            match opened.await?? {
                Some(target) => Ok(self.store.confirm_claim(&*target.objects).await?),
                None => Ok(()),
            }
        })
        .await
    }

    /// Looks from time to time until `stopping` is cancelled, and cancels it when the claim is lost.
    /// `backup` rings when an increment was refused.
    pub async fn watch(
        self: Arc<Self>,
        backup: Option<Arc<BackupService>>,
        stopping: CancellationToken,
    ) {
        while stopping.run_until_cancelled(pause(backup.as_deref())).await.is_some() {
            let looks = async { tokio::join!(self.look_at_packs(), self.look_at_backup()) };
            let Some((packs, backup)) = stopping.run_until_cancelled(looks).await else { return };
            for looked in [packs, backup] {
                match looked {
                    Ok(None) => {}
                    Ok(Some(refused)) => {
                        tracing::error!(%refused, "another node has taken over: the doors are closed");
                        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(refused);
                        stopping.cancel();
                    }
                    Err(error) => {
                        tracing::warn!(error = %format_args!("{error:#}"), "the claim could not be looked at");
                    }
                }
            }
        }
    }

    /// Why the node had to stop, when it had to.
    ///
    /// # Errors
    ///
    /// [`NodeRefused`] when the claim was lost.
    pub fn verdict(&self) -> Result<(), NodeRefused> {
        match self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }
}

async fn pause(backup: Option<&BackupService>) {
    let suspicion = async {
        match backup {
            Some(backup) => backup.superseded().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => {}
        () = suspicion => {}
    }
}

/// Waits for a look, for a bounded time; an error means that it told nothing.
async fn judged(
    look: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Option<NodeRefused>> {
    match tokio::time::timeout(LOOK_TIME_MAX, look).await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(error)) => match error.downcast_ref().and_then(refusal) {
            Some(refused) => Ok(Some(refused)),
            None => Err(error),
        },
        Err(_) => anyhow::bail!("it does not answer within {LOOK_TIME_MAX:?}"),
    }
}

/// What an operator reads when the claim is not this node's.
fn refusal(error: &StoreError) -> Option<NodeRefused> {
    let text = match error {
        StoreError::ForeignObjects => Text::fixed(
            "L'archivio a oggetti, o la copia, appartiene a un'altra installazione: controllare [objects] e [backup]; \
             un archivio nuovo vuole una cartella o un prefisso vuoti",
            "The object store, or the back-up, belongs to another installation: check [objects] and [backup]; \
             a new store wants an empty folder or prefix",
        ),
        StoreError::Superseded { ours, found } => Text::filled(
            format!(
                "Un altro nodo è stato ripristinato dalla copia di questo e ne ha preso il posto (epoca {found}, questa è la {ours}): \
                 spegnere questo nodo per sempre; se il ripristino è stato un errore, spegnere l'altro e poi `ceralacca store take-over`"
            ),
            format!(
                "Another node was restored from this one's back-up and has taken its place (epoch {found}, this is {ours}): \
                 turn this node off for good; if the restore was a mistake, turn the other one off, then `ceralacca store take-over`"
            ),
        ),
        StoreError::TakeOverUnfinished(epoch) => Text::filled(
            format!(
                "Questo nodo ha iniziato a riprendere l'archivio (epoca {epoch}) e non ha finito: ripetere `ceralacca store take-over --yes`"
            ),
            format!(
                "This node has begun to take the store over (epoch {epoch}) and has not finished: repeat `ceralacca store take-over --yes`"
            ),
        ),
        StoreError::Damaged { object, detail } if object.starts_with(claim::PREFIX) => {
            Text::filled(
                format!(
                    "L'oggetto {object}, che dice di chi è l'archivio, è guasto ({detail}): se nessun altro nodo serve, `ceralacca store take-over --yes`"
                ),
                format!(
                    "The object {object}, which says whose the store is, is damaged ({detail}): when no other node serves, `ceralacca store take-over --yes`"
                ),
            )
        }
        StoreError::Rehearsal => Text::fixed(
            "Questa cartella è la prova di un ripristino: si può leggere e verificare, non può servire. Ripristinare in un'altra cartella con --replace",
            "This folder is the rehearsal of a restore: it can be read and checked, it cannot serve. Restore into another folder with --replace",
        ),
        _ => return None,
    };
    Some(NodeRefused { text })
}
