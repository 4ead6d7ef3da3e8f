//! Whether what is kept of archives reads, and is of accounts that there are.
//!
//! Not here: tiers, usage and rows (`storage::check`).

use storage::{
    catalog::{
        engine::{Family, Reader},
        keys::{self, ACCOUNTS, KeyReader, object},
        pages::Pages,
    },
    error::StoreError,
    ids::AccountId,
};

use super::{
    ARCHIVE_NOTICES, ARCHIVE_RULES, ARCHIVE_RUNS, notice::FullRecord, rules, run::RunRecord,
};
use crate::pec::records::decode;

/// Rows read at once.
const PAGE: usize = 1_000;

/// What is wrong with a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ArchiveFault {
    /// It cannot be read.
    Damaged(String),
    /// Its account is not there.
    NoAccount,
}

/// Reads every row, and tells `found` of each that is not as it must be.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn check(
    reader: &dyn Reader,
    mut found: impl FnMut(String, ArchiveFault) + Send,
) -> Result<(), StoreError> {
    for family in super::FAMILIES {
        let mut pages = Pages::prefix(family, &[], PAGE);
        while let Some(page) = pages.next(reader).await? {
            let mut named = Vec::new();
            for (key, value) in page {
                match account_of(family, &key, &value) {
                    Ok(account) => named.push((key, account)),
                    Err(StoreError::Damaged { object, detail }) => {
                        found(object, ArchiveFault::Damaged(detail));
                    }
                    // A store of a newer program is not opened: an octet is another.
                    Err(StoreError::TooNew { object, found: format, known }) => {
                        let detail = format!("its format {format} is above {known}");
                        found(object, ArchiveFault::Damaged(detail));
                    }
                    Err(error) => return Err(error),
                }
            }
            let asked: Vec<_> =
                named.iter().map(|(_, account)| (ACCOUNTS, keys::account(*account))).collect();
            for ((key, _), account) in named.iter().zip(reader.multi_get(&asked).await?) {
                if account.is_none() {
                    found(object(family, key), ArchiveFault::NoAccount);
                }
            }
        }
    }
    Ok(())
}

/// Whose row it is, when it reads.
fn account_of(family: Family, key: &[u8], value: &[u8]) -> Result<AccountId, StoreError> {
    let mut fields = KeyReader::new(family, key);
    let account = AccountId(fields.take_u64()?);
    fields.finish()?;
    if family == ARCHIVE_RULES {
        rules::decode_own(key, value)?;
    } else if family == ARCHIVE_RUNS {
        decode::<RunRecord>(family, key, value)?;
    } else if family == ARCHIVE_NOTICES {
        decode::<FullRecord>(family, key, value)?;
    }
    Ok(account)
}
