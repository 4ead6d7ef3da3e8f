//! Which messages are cold: those without a row in a live mailbox. All their rows are in archive
//! mailboxes, or they have departed and a snapshot keeps them.
//!
//! Nothing notes it beside the rows. It is read from the state that the marks are read from: the
//! departed messages of an account, and the rows of its archive mailboxes, compared with how many
//! rows each message has. So it is exact for that state, however a row came where it is; an
//! account without archive mailboxes costs two short scans.
//!
//! It only decides where chunks lie, never whether they stay. So what cannot be told is warm: the
//! messages of an account of which a record is damaged, and those behind the first [`ROWS_MAX`]
//! archived rows.

use super::Run;
use crate::{
    account::capture::departed_at,
    catalog::{
        engine::{Family, Reader},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, MailboxRecord, ReferencesRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::rows::row_at,
};

/// Entries read at a time.
const PAGE: usize = 512;
/// Archived rows of one account that are looked at: 8 MiB of numbers.
const ROWS_MAX: usize = 1 << 20;

/// The cold messages of one account after the other, in one state.
pub(super) struct ColdMessages<'r> {
    /// `None`: nothing is cold.
    reader: Option<&'r dyn Reader>,
    account: Option<AccountId>,
    /// EmailNumbers, ascending.
    numbers: Vec<u64>,
    octets: u64,
}

impl Run<'_> {
    /// The cold messages in the state of `reader`; none when nothing is to be moved.
    pub(super) fn cold_messages<'r>(&self, reader: &'r dyn Reader) -> ColdMessages<'r> {
        let reader = self.options.cold_after.is_some().then_some(reader);
        ColdMessages { reader, account: None, numbers: Vec::new(), octets: 0 }
    }
}

impl ColdMessages<'_> {
    /// Whether the record under `key` of `family` is a cold message. Asked in the order of the keys.
    pub(super) async fn has(&mut self, family: Family, key: &[u8]) -> Result<bool, StoreError> {
        let Some(reader) = self.reader.filter(|_| family == keys::MESSAGES) else {
            return Ok(false);
        };
        let mut fields = KeyReader::new(family, key);
        let (Ok(account), Ok(number)) = (fields.take_u64(), fields.take_u64()) else {
            return Ok(false);
        };
        let account = AccountId(account);
        if self.account != Some(account) {
            self.account = Some(account);
            self.numbers.clear();
            match self.load(reader, account).await {
                Ok(()) => {}
                // A store of a newer program is not opened: where a version is unknown, an octet is another.
                Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => self.numbers.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(self.numbers.binary_search(&number).is_ok())
    }

    /// Octets read since it was asked last.
    pub(super) fn take_octets(&mut self) -> u64 {
        std::mem::take(&mut self.octets)
    }

    async fn load(&mut self, reader: &dyn Reader, account: AccountId) -> Result<(), StoreError> {
        let archived = self.archived(reader, account).await?;
        for archived in archived.chunks(PAGE) {
            let key = |(number, _): &(u64, u64)| {
                (keys::MESSAGE_REFERENCES, keys::message(account, EmailNumber(*number)))
            };
            let keys: Vec<_> = archived.iter().map(key).collect();
            let records = reader.multi_get(&keys).await?;
            for (((family, key), record), (number, found)) in keys.iter().zip(records).zip(archived)
            {
                let record =
                    record.map(|it| records::decode::<ReferencesRecord>(*family, key, &it));
                let rows = record.transpose()?.map_or(1, |record| record.rows);
                if *found >= rows {
                    self.numbers.push(*number);
                }
            }
        }
        let mut pages = Pages::prefix(keys::DEPARTED_MESSAGES, &keys::account(account), PAGE);
        while let Some(page) = pages.next(reader).await? {
            for (key, value) in &page {
                self.octets += (key.len() + value.len()) as u64;
                self.numbers.push(departed_at(key)?.1.0);
            }
        }
        self.numbers.sort_unstable();
        self.numbers.dedup();
        Ok(())
    }

    /// The EmailNumbers that rows of archive mailboxes have, ascending, and how many of these rows.
    async fn archived(
        &mut self,
        reader: &dyn Reader,
        account: AccountId,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut archives = Vec::new();
        let mut pages = Pages::prefix(keys::MAILBOXES, &keys::account(account), PAGE);
        while let Some(page) = pages.next(reader).await? {
            for (key, value) in &page {
                self.octets += (key.len() + value.len()) as u64;
                let record: MailboxRecord = records::decode(keys::MAILBOXES, key, value)?;
                let mut fields = KeyReader::new(keys::MAILBOXES, key);
                fields.take_u64()?;
                if record.is_archive() {
                    archives.push(MailboxId(fields.take_u64()?));
                }
            }
        }
        let mut numbers = Vec::new();
        'mailboxes: for mailbox in archives {
            let prefix = keys::mailbox(account, mailbox);
            let mut pages = Pages::prefix(keys::MAILBOX_ROWS, &prefix, PAGE);
            while let Some(page) = pages.next(reader).await? {
                for (key, value) in &page {
                    self.octets += (key.len() + value.len()) as u64;
                    numbers.push(row_at(key, value)?.email_number.0);
                }
                if numbers.len() >= ROWS_MAX {
                    break 'mailboxes;
                }
            }
        }
        numbers.sort_unstable();
        let runs = numbers.chunk_by(|one, next| one == next);
        Ok(runs.filter_map(|run| Some((*run.first()?, run.len() as u64))).collect())
    }
}
