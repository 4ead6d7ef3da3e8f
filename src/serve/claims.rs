//! Whether this node is still the one that its object stores belong to.
//!
//! * Before the doors open, the object store of the packs must be this node's, and the back-up must not
//!   be another's. A back-up that does not answer keeps no mail out.
//! * While it serves, both are looked at every [`PAUSE`], and when an increment is refused. When another node was restored from the back-up,
//!   this one closes its doors as at a stop and ends with an error: what it would acknowledge from then on
//!   would be lost.
//!
//! Not here: what a claim is (`storage::claim`); back-up and collector, which look for themselves.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use storage::{backup::BackupError, error::StoreError, store::Store};
use tokio_util::sync::CancellationToken;

use super::objects::ObjectsRefused;
use crate::{backup::service::BackupService, texts::Text};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a start waits for the back-up.
const BACKUP_TIME_MAX: Duration = Duration::from_secs(10);

/// The claim of a node that serves.
#[derive(Debug)]
pub struct NodeClaim {
    store: Arc<Store>,
    backup: Option<Arc<BackupService>>,
    refusal: Mutex<Option<ObjectsRefused>>,
}

impl NodeClaim {
    /// Confirms the claim, before anything is served.
    ///
    /// # Errors
    ///
    /// [`ObjectsRefused`] when an object store is another node's; others when that of the packs does not
    /// answer.
    pub async fn confirm(
        store: &Arc<Store>,
        backup: Option<&Arc<BackupService>>,
    ) -> anyhow::Result<Arc<Self>> {
        let claim =
            Self { store: Arc::clone(store), backup: backup.cloned(), refusal: Mutex::default() };
        match claim.store.confirm_own_objects().await {
            Ok(()) => {}
            Err(error) => {
                return Err(refusal(&error).map_or_else(|| error.into(), anyhow::Error::from));
            }
        }
        match tokio::time::timeout(BACKUP_TIME_MAX, claim.look_at_backup()).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(refused))) => return Err(refused.into()),
            Ok(Err(error)) => {
                tracing::warn!(error = %format_args!("{error:#}"), "the back-up does not answer");
            }
            Err(_) => tracing::warn!("the back-up does not answer in time"),
        }
        Ok(Arc::new(claim))
    }

    async fn look_at_backup(&self) -> anyhow::Result<Option<ObjectsRefused>> {
        let Some(backup) = &self.backup else { return Ok(None) };
        let Err(error) = backup.confirm().await else { return Ok(None) };
        match error.downcast_ref::<BackupError>() {
            Some(BackupError::Store(cause)) => match refusal(cause) {
                Some(refused) => Ok(Some(refused)),
                None => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Looks from time to time until `stopping` is cancelled, and cancels it when the claim is lost.
    pub async fn watch(self: Arc<Self>, stopping: CancellationToken) {
        while stopping.run_until_cancelled(self.pause()).await.is_some() {
            let Some(looked) = stopping.run_until_cancelled(self.look()).await else { return };
            match looked {
                Ok(None) => {}
                Ok(Some(refused)) => {
                    tracing::error!(%refused, "another node has taken over: the doors are closed");
                    *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
                    stopping.cancel();
                }
                Err(error) => {
                    tracing::warn!(error = %format_args!("{error:#}"), "the claim could not be looked at");
                }
            }
        }
    }

    async fn pause(&self) {
        let suspicion = async {
            match &self.backup {
                Some(backup) => backup.superseded().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = suspicion => {}
        }
    }

    async fn look(&self) -> anyhow::Result<Option<ObjectsRefused>> {
        match self.store.confirm_own_objects().await {
            Ok(()) => self.look_at_backup().await,
            Err(error) => match refusal(&error) {
                Some(refused) => Ok(Some(refused)),
                None => Err(error.into()),
            },
        }
    }

    /// Why the node had to stop, when it had to.
    ///
    /// # Errors
    ///
    /// [`ObjectsRefused`] when the claim was lost.
    pub fn verdict(&self) -> Result<(), ObjectsRefused> {
        match self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }
}

/// What an operator reads when the claim is another's.
fn refusal(error: &StoreError) -> Option<ObjectsRefused> {
    let text = match error {
        StoreError::Superseded { ours, found } if ours == found => Text::fixed(
            "L'archivio a oggetti, o la copia, appartiene già a un'altra installazione: controllare [objects] e [backup]; \
             un archivio nuovo vuole una cartella o un prefisso vuoti",
            "The object store, or the back-up, belongs to another installation already: check [objects] and [backup]; \
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
        StoreError::Rehearsal => Text::fixed(
            "Questa cartella è la prova di un ripristino: si può leggere e verificare, non può servire. Ripristinare di nuovo senza --rehearsal",
            "This folder is the rehearsal of a restore: it can be read and checked, it cannot serve. Restore again without --rehearsal",
        ),
        _ => return None,
    };
    Some(ObjectsRefused::new(text))
}
