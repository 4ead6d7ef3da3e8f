//! The store's epoch: 1 for a new store, raised by every restore.
//!
//! It is part of every identifier that must never come back from the lost time, and it tells two
//! nodes apart that grew from one back-up: no epoch is claimed twice (`claim`). The row is `store_identity/epoch`: a version octet and a
//! big-endian u32. A store without the row is of epoch 1.
//!
//! Not here: what identifiers look like (floors above).

use bytes::Bytes;

use crate::{
    catalog::engine::{Family, Reader},
    error::StoreError,
};

/// What names this store: its secret and its epoch.
pub(crate) const STORE_IDENTITY: Family = Family("store_identity");
/// The key of the epoch.
pub(crate) const EPOCH_KEY: &[u8] = b"epoch";

const VERSION: u8 = 1;
const FIRST: u32 = 1;

/// Reads the epoch.
pub async fn read(reader: &(impl Reader + ?Sized)) -> Result<u32, StoreError> {
    let object = || "store_identity row `epoch`".to_owned();
    let Some(octets) = reader.get(STORE_IDENTITY, EPOCH_KEY).await? else { return Ok(FIRST) };
    match octets.split_first() {
        Some((&version, _)) if version > VERSION => Err(StoreError::TooNew {
            object: object(),
            found: version.into(),
            known: VERSION.into(),
        }),
        Some((&VERSION, epoch)) if epoch.len() == 4 => {
            Ok(epoch.iter().fold(0, |epoch, octet| epoch << 8 | u32::from(*octet)))
        }
        _ => Err(StoreError::Damaged {
            object: object(),
            detail: "it is not a version octet and four octets".into(),
        }),
    }
}

/// The row's value.
pub(crate) fn encode(epoch: u32) -> Bytes {
    let mut octets = vec![VERSION];
    octets.extend_from_slice(&epoch.to_be_bytes());
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            engine::{Batch, Engine as _},
            simulated::SimulatedEngine,
        },
        store::Store,
    };

    #[tokio::test]
    async fn a_row_of_another_length_is_no_epoch() {
        let engine = SimulatedEngine::new(&Store::families(&[]));
        assert_eq!(read(&*engine).await.expect("an epoch"), FIRST);
        for octets in [&[][..], &[VERSION], &[VERSION, 0, 0, 2], &[VERSION, 0, 0, 0, 2, 0]] {
            let mut batch = Batch::default();
            batch.put(STORE_IDENTITY, EPOCH_KEY, octets);
            engine.commit(batch).await.expect("commit");
            let refused = read(&*engine).await;
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{octets:?}: {refused:?}");
        }
    }
}
