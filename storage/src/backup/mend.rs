//! Brings back packs that the store has lost, from the copies that a back-up has of them.
//!
//! What another node's collector took while the object store was its own is there again only so. A copy
//! counts when it is sound to its last chunk.
//!
//! Not here: damaged packs that are there, which a scrub finds.

use std::collections::BTreeMap;

use object_store::ObjectStore;

use super::{
    BackupError,
    packs::{self, list_packs},
};
use crate::{
    account::scan_all,
    catalog::engine::Scan,
    error::StoreError,
    pack::{
        index::{PACKS, PackRow},
        store::PackId,
    },
    store::Store,
};

const PAGE: usize = 1_000;

/// What mending did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MendedPacks {
    /// Packs that the catalog names.
    pub packs: u64,
    /// Those that were gone, and are there again.
    pub mended: u64,
    /// Those that are gone: their paths.
    pub lost: Vec<String>,
}

impl Store {
    /// Looks whether every pack that the catalog names is there, in its length, and fetches those that are
    /// not from `copies`.
    pub async fn mend_packs(
        &self,
        copies: Option<&dyn ObjectStore>,
    ) -> Result<MendedPacks, BackupError> {
        let octets = self.octets();
        let objects = &**octets.packs.objects();
        let there: BTreeMap<PackId, u64> =
            list_packs(objects).await?.into_iter().map(|(pack, meta)| (pack, meta.size)).collect();
        let mut outcome = MendedPacks::default();
        for (key, value) in scan_all(&**self.engine(), Scan::prefix(PACKS, b"", PAGE)).await? {
            let pack = PackId::from_octets(&key).ok_or_else(|| StoreError::Damaged {
                object: "a key of `packs`".to_owned(),
                detail: "it names no pack".to_owned(),
            })?;
            outcome.packs += 1;
            let row = PackRow::decode(&value, pack)?;
            if there.get(&pack) == Some(&row.pack_octets) {
                continue;
            }
            let copy = match copies {
                Some(copies) => packs::read_whole(copies, pack).await?,
                None => None,
            };
            match copy {
                Some(copy) if octets.sound_pack(pack, &copy).await?.is_ok() => {
                    packs::replace(objects, pack, &copy).await?;
                    outcome.mended += 1;
                }
                _ => outcome.lost.push(pack.path()),
            }
        }
        Ok(outcome)
    }
}
