//! Says whether a whole pack is sound: its layout, its index, and every chunk in it.
//!
//! Not here: scrubbing, which reads packs piece by piece and remembers what it finds (`scrub`).

use bytes::Bytes;

use super::store::{OctetStore, off_thread};
use crate::{
    error::StoreError,
    pack::{format, store::PackId, stored},
};

impl OctetStore {
    /// Verifies a pack that is in memory. The inner error says what is wrong with it first.
    pub(crate) async fn sound_pack(
        &self,
        pack: PackId,
        octets: &Bytes,
    ) -> Result<Result<(), String>, StoreError> {
        let (octets, secret) = (octets.clone(), self.secret.clone());
        let verified = off_thread(octets.len(), move || {
            for entry in format::read(&octets, &pack.path())? {
                let name = || format!("chunk {}", entry.stored_id);
                let form = usize::try_from(entry.offset)
                    .ok()
                    .and_then(|start| Some(start..start.checked_add(entry.stored_octets as usize)?))
                    .and_then(|range| octets.get(range))
                    .ok_or_else(|| StoreError::Damaged {
                        object: name(),
                        detail: "the pack ends before it".to_owned(),
                    })?;
                stored::verify(form, entry.plain_octets, entry.stored_id, &secret, &name)?;
            }
            Ok(())
        });
        match verified.await {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::Damaged { object, detail }) => Ok(Err(format!("{object}: {detail}"))),
            Err(error @ StoreError::TooNew { .. }) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }
}
