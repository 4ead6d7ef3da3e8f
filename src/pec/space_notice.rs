//! Tells a holder that his mailbox or his archive fills: one notice for each level that usage has
//! reached, and one when the archive takes nothing more by itself.
//!
//! The store writes a warning in the batch that reaches a level (`storage::account::quota`), a run of
//! the archive in the batch that finds no room (`crate::archive::notice`); this room turns each into a message from the service address in the holder's INBOX. Invariants:
//!
//! * The notice, the end of the warning and the journal are one batch that expects the warning: a
//!   holder reads each notice once, whatever is interrupted and however many workers try.
//! * The notice is stored whatever space is left and charged nothing, so that it neither fills the
//!   mailbox nor reaches a level itself.
//! * A warning that no longer holds, or that a later one surpasses, ends without a notice.
//!
//! It is no receipt of RFC 6109: it has no marker field and no certification data, and nothing
//! answers to it.
//!
//! Not here: when a level counts as reached, refusals for lack of space (`delivery_point`).

use std::sync::Arc;

use storage::{
    account::{
        Account,
        quota::{QuotaRule, QuotaWarning},
        settings::{AccountSettings, AccountState},
        tier::Tier,
    },
    catalog::engine::Batch,
    error::StoreError,
    ids::AccountId,
    mailbox::{append::AppendRequest, flags::Flags},
};
use trust::clock::UnixMillis;

use super::{
    engine::{PecEngine, PecError},
    frame::entity,
    instant::CertifiedInstant,
    issue::{self, INBOX},
    issuer::{Issuer, Unsealed, prefixed_subject},
    journal::JournalEvent,
    records::JournalRecord,
    texts::Text,
};
use crate::archive::notice::{self, FullRecord, Owed};

/// Warnings read at a time.
const WARNINGS: usize = 100;

/// Passes on every warning that waits. A holder whose account is damaged is passed over and logged: the
/// others do not wait for him.
///
/// # Errors
///
/// The first error met that may not be there the next time; what was not passed on stays and is tried again.
pub async fn warn_holders(engine: &Arc<PecEngine>) -> Result<(), PecError> {
    let mut put_off = Ok(());
    let mut last: Option<QuotaWarning> = None;
    let mut unreadable = |error: StoreError| {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "a holder cannot be told that his mailbox fills");
    };
    loop {
        let store = engine.store();
        let warnings = store.quota_warnings(last.as_ref(), WARNINGS, &mut unreadable).await?;
        for warning in &warnings {
            passed(warning.account, warn(engine, warning).await, &mut put_off)?;
        }
        match warnings.into_iter().next_back() {
            Some(warning) => last = Some(warning),
            None => break,
        }
    }
    let mut pages = notice::all(WARNINGS);
    while let Some(owed) = notice::owed(engine.store(), &mut pages).await? {
        for owed in &owed {
            passed(owed.account, tell_of_full_archive(engine, owed).await, &mut put_off)?;
        }
    }
    put_off
}

/// Takes note of what became of one notice: `put_off` keeps the first error that may not be there the next
/// time. An error that every other notice would meet, too, is returned.
fn passed(
    account: AccountId,
    outcome: Result<(), PecError>,
    put_off: &mut Result<(), PecError>,
) -> Result<(), PecError> {
    match outcome {
        // Another worker passed it on.
        Ok(()) | Err(PecError::Store(StoreError::Conflict)) => {}
        Err(error @ (PecError::Sign(_) | PecError::Stopping)) => return Err(error),
        Err(error) if error.is_temporary() => {
            if put_off.is_ok() {
                *put_off = Err(error);
            }
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(account = account.0, error, "a holder cannot be told of his space");
        }
    }
    Ok(())
}

async fn tell_of_full_archive(engine: &Arc<PecEngine>, owed: &Owed) -> Result<(), PecError> {
    let mut also = Batch::default();
    owed.settle(&mut also);
    let account = match engine.store().account(owed.account).await {
        Ok(account) => account,
        Err(StoreError::NoSuchAccount(_)) => return drop_warning(engine, also).await,
        Err(error) => return Err(error.into()),
    };
    let settings = account.settings().await?;
    if settings.state == AccountState::Closed {
        return drop_warning(engine, also).await;
    }
    let detail = format!("{}: {} / {}", owed.full.resource, owed.full.used, owed.full.limit);
    let told =
        (Space::of_full(&owed.full), CertifiedInstant::new(UnixMillis(owed.full.at)), detail);
    deliver(engine, told, &account, &settings, also).await
}

async fn warn(engine: &Arc<PecEngine>, warning: &QuotaWarning) -> Result<(), PecError> {
    let mut also = Batch::default();
    warning.settle(&mut also);
    let account = match engine.store().account(warning.account).await {
        Ok(account) => account,
        Err(StoreError::NoSuchAccount(_)) => return drop_warning(engine, also).await,
        Err(error) => return Err(error.into()),
    };
    let settings = account.settings().await?;
    if settings.state == AccountState::Closed || !account.warning_stands(warning).await? {
        return drop_warning(engine, also).await;
    }
    let detail = format!("{} %: {} / {}", warning.level, warning.used_octets, warning.limit_octets);
    let told = (Space::of(warning), CertifiedInstant::new(warning.at), detail);
    deliver(engine, told, &account, &settings, also).await
}

async fn drop_warning(engine: &PecEngine, settled: Batch) -> Result<(), PecError> {
    engine.store().commit(settled).await?;
    Ok(())
}

async fn deliver(
    engine: &Arc<PecEngine>,
    (facts, instant, detail): (Space, CertifiedInstant, String),
    account: &Account,
    settings: &AccountSettings,
    mut also: Batch,
) -> Result<(), PecError> {
    let (address, at) = (settings.address.clone(), instant);
    let notice =
        issue::issue(engine, 0, move |issuer| issuer.space_notice(&address, &facts, &at)).await?;
    let staged = engine.stage(&notice.octets).await?;
    let journal = JournalRecord {
        recipients: vec![settings.address.clone()],
        related: vec![notice.message_id.clone()],
        provider: engine.issuer().name.clone(),
        detail,
        ..JournalRecord::default()
    };
    engine.journal(&mut also, engine.now(), JournalEvent::SpaceNotice, journal);
    account
        .append(AppendRequest {
            mailbox: account.mailbox_by_name(INBOX).await?.id(),
            message: &staged,
            flags: Flags::default(),
            internal_date: Some(engine.now()),
            charged_octets: Some(0),
            quota: QuotaRule::Exempt,
            also,
        })
        .await?;
    Ok(())
}

/// What the notice says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    about: About,
    used: u64,
    limit: u64,
}

/// What of a holder's space it is about.
#[derive(Clone, Copy, Debug)]
enum About {
    /// Live mail has reached so many per cent.
    Live(u32),
    /// The archive has.
    Archive(u32),
    /// The archive has no room for what its rules pick: octets.
    ArchiveFull,
    /// The same: messages.
    ArchiveMessages,
    /// The same: mailboxes.
    ArchiveMailboxes,
}

impl Space {
    fn of(warning: &QuotaWarning) -> Self {
        let about = match warning.tier {
            Tier::Live => About::Live(warning.level),
            Tier::Archive => About::Archive(warning.level),
        };
        Self { about, used: warning.used_octets, limit: warning.limit_octets }
    }

    fn of_full(full: &FullRecord) -> Self {
        let about = match full.resource.as_str() {
            "mailboxes" => About::ArchiveMailboxes,
            "archive messages" => About::ArchiveMessages,
            _ => About::ArchiveFull,
        };
        Self { about, used: full.used, limit: full.limit }
    }

    fn subject(&self) -> String {
        match self.about {
            About::Live(level) => format!("AVVISO: spazio della casella occupato al {level}%"),
            About::Archive(level) => format!("AVVISO: spazio dell'archivio occupato al {level}%"),
            About::ArchiveFull | About::ArchiveMessages | About::ArchiveMailboxes => {
                "AVVISO: archivio della casella pieno".to_owned()
            }
        }
    }

    /// Italian and English.
    fn paragraphs(&self, address: &str) -> [Vec<String>; 2] {
        match self.about {
            About::Live(level) => self.live(address, level),
            About::Archive(level) => self.archive(address, level),
            About::ArchiveFull | About::ArchiveMessages | About::ArchiveMailboxes => {
                self.archive_full(address)
            }
        }
    }

    fn live(&self, address: &str, level: u32) -> [Vec<String>; 2] {
        let (used, limit) = (megabytes(self.used), megabytes(self.limit));
        let italian = vec![
            format!("La casella {address} ha raggiunto il {level}% dello spazio: {used} MB di {limit} MB."),
            "Quando lo spazio è esaurito i nuovi messaggi non vengono consegnati: il mittente riceve un avviso di mancata consegna. Le ricevute dei messaggi inviati continuano ad arrivare.".to_owned(),
            "Cosa fare: eliminare i messaggi che non servono e svuotare il Cestino, spostarli in Archivio, oppure chiedere un incremento di spazio.".to_owned(),
            NO_SPACE_ITALIAN.to_owned(),
        ];
        let english = vec![
            format!("The mailbox {address} has reached {level}% of its space: {used} MB of {limit} MB."),
            "When no space is left, new messages are not delivered: their sender gets a non-delivery notice. Receipts of messages sent still arrive.".to_owned(),
            "What to do: delete messages that are not needed and empty the trash, move them to Archivio, or ask for more space.".to_owned(),
            NO_SPACE_ENGLISH.to_owned(),
        ];
        [italian, english]
    }

    fn archive(&self, address: &str, level: u32) -> [Vec<String>; 2] {
        let (used, limit) = (megabytes(self.used), megabytes(self.limit));
        let italian = vec![
            format!("L'archivio della casella {address} ha raggiunto il {level}% del suo spazio: {used} MB di {limit} MB."),
            "Quando lo spazio dell'archivio è esaurito i messaggi vecchi restano dove sono e occupano lo spazio della casella. Nessun messaggio va perso.".to_owned(),
            ARCHIVE_REMEDY_ITALIAN.to_owned(),
            NO_SPACE_ITALIAN.to_owned(),
        ];
        let english = vec![
            format!("The archive of the mailbox {address} has reached {level}% of its space: {used} MB of {limit} MB."),
            "When the archive has no space left, old messages stay where they are and take the space of the mailbox. No message is lost.".to_owned(),
            ARCHIVE_REMEDY_ENGLISH.to_owned(),
            NO_SPACE_ENGLISH.to_owned(),
        ];
        [italian, english]
    }

    fn archive_full(&self, address: &str) -> [Vec<String>; 2] {
        let Self { used, limit, .. } = *self;
        let (italian, english) = match self.about {
            About::ArchiveMailboxes => {
                (format!("{used} cartelle di {limit}"), format!("{used} folders of {limit}"))
            }
            About::ArchiveMessages => {
                (format!("{used} messaggi di {limit}"), format!("{used} messages of {limit}"))
            }
            _ => {
                let (used, limit) = (megabytes(used), megabytes(limit));
                (format!("{used} MB di {limit} MB"), format!("{used} MB of {limit} MB"))
            }
        };
        let italian = vec![
            format!("L'archivio della casella {address} è pieno: {italian}. I messaggi vecchi che non vi trovano posto restano dove sono."),
            "Nessun messaggio va perso. L'archiviazione riprende da sola quando c'è di nuovo posto.".to_owned(),
            ARCHIVE_REMEDY_ITALIAN.to_owned(),
            NO_SPACE_ITALIAN.to_owned(),
        ];
        let english = vec![
            format!(
                "The archive of the mailbox {address} is full: {english}. Old messages for which it has no room stay where they are."
            ),
            "No message is lost. Archiving goes on by itself when there is room again.".to_owned(),
            ARCHIVE_REMEDY_ENGLISH.to_owned(),
            NO_SPACE_ENGLISH.to_owned(),
        ];
        [italian, english]
    }
}

const ARCHIVE_REMEDY_ITALIAN: &str = "Cosa fare: eliminare dalle cartelle sotto Archivio ciò che non serve, oppure chiedere un incremento dello spazio dell'archivio.";
const ARCHIVE_REMEDY_ENGLISH: &str = "What to do: delete what is not needed from the folders below Archivio, or ask for more space of the archive.";
const NO_SPACE_ITALIAN: &str = "Questo avviso non occupa spazio nella casella.";
const NO_SPACE_ENGLISH: &str = "This notice takes no space in the mailbox.";

impl Issuer {
    /// The notice that the mailbox of `address`, or its archive, fills.
    pub(super) fn space_notice(
        &self,
        address: &str,
        space: &Space,
        at: &CertifiedInstant,
    ) -> Unsealed {
        let heading = match space.about {
            About::Live(_) => "Avviso di saturazione della casella",
            _ => "Avviso di saturazione dell'archivio",
        };
        let text = Text { heading, paragraphs: space.paragraphs(address).to_vec() };
        let (header, message_id) = self.notice_header(
            // Nobody's automatic answer shall answer to it.
            &[("Auto-Submitted", "auto-generated")],
            at,
            prefixed_subject(&space.subject(), None),
            address,
            None,
        );
        let entity = entity(&self.identifiers, &text, None, None);
        Unsealed { header: header.to_octets(), entity, message_id, data: None }
    }
}

/// Megabytes of 2²⁰ octets with one decimal, as Italian writes it.
fn megabytes(octets: u64) -> String {
    let tenths = u128::from(octets) * 10 / (1 << 20);
    format!("{},{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(megabytes(1 << 30), "1024,0");
        assert_eq!(megabytes((1 << 20) * 3 / 2), "1,5");
        assert_eq!(megabytes(u64::MAX), "17592186044415,9");
    }
}
