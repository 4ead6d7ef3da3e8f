//! Tells a holder that his mailbox fills: one notice for each level that usage has reached.
//!
//! The store writes a warning in the batch that reaches a level (`storage::account::quota`); this
//! room turns it into a message from the service address in the holder's INBOX. Invariants:
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
    },
    catalog::engine::Batch,
    error::StoreError,
    mailbox::{append::AppendRequest, flags::Flags},
};

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

/// Warnings read at a time.
const WARNINGS: usize = 100;

/// Passes on every warning that waits.
///
/// # Errors
///
/// The first error met; what was not passed on stays and is tried again.
pub async fn warn_holders(engine: &Arc<PecEngine>) -> Result<(), PecError> {
    let mut last: Option<QuotaWarning> = None;
    loop {
        let warnings = engine.store().quota_warnings(last.as_ref(), WARNINGS).await?;
        for warning in &warnings {
            match warn(engine, warning).await {
                // Another worker passed it on.
                Ok(()) | Err(PecError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        match warnings.into_iter().next_back() {
            Some(warning) => last = Some(warning),
            None => return Ok(()),
        }
    }
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
    deliver(engine, warning, &account, &settings, also).await
}

async fn drop_warning(engine: &PecEngine, settled: Batch) -> Result<(), PecError> {
    engine.store().commit(settled).await?;
    Ok(())
}

async fn deliver(
    engine: &Arc<PecEngine>,
    warning: &QuotaWarning,
    account: &Account,
    settings: &AccountSettings,
    mut also: Batch,
) -> Result<(), PecError> {
    let instant = CertifiedInstant::new(warning.at);
    let (address, facts, at) = (settings.address.clone(), Space::of(warning), instant.clone());
    let notice =
        issue::issue(engine, 0, move |issuer| issuer.space_notice(&address, &facts, &at)).await?;
    let staged = engine.stage(&notice.octets).await?;
    let journal = JournalRecord {
        recipients: vec![settings.address.clone()],
        related: vec![notice.message_id.clone()],
        provider: engine.issuer().name.clone(),
        detail: format!("{} %: {} / {}", warning.level, warning.used_octets, warning.limit_octets),
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
    /// Per cent.
    level: u32,
    used: u64,
    limit: u64,
}

impl Space {
    fn of(warning: &QuotaWarning) -> Self {
        Self { level: warning.level, used: warning.used_octets, limit: warning.limit_octets }
    }
}

impl Issuer {
    /// The notice that the mailbox of `address` fills.
    pub(super) fn space_notice(
        &self,
        address: &str,
        space: &Space,
        at: &CertifiedInstant,
    ) -> Unsealed {
        let Space { level, used, limit } = *space;
        let (used, limit) = (megabytes(used), megabytes(limit));
        let italian = vec![
            format!("La casella {address} ha raggiunto il {level}% dello spazio: {used} MB di {limit} MB."),
            "Quando lo spazio è esaurito i nuovi messaggi non vengono consegnati: il mittente riceve un avviso di mancata consegna. Le ricevute dei messaggi inviati continuano ad arrivare.".to_owned(),
            "Cosa fare: eliminare i messaggi che non servono e svuotare il Cestino, oppure chiedere un incremento di spazio.".to_owned(),
            "Questo avviso non occupa spazio nella casella.".to_owned(),
        ];
        let english = vec![
            format!("The mailbox {address} has reached {level}% of its space: {used} MB of {limit} MB."),
            "When no space is left, new messages are not delivered: their sender gets a non-delivery notice. Receipts of messages sent still arrive.".to_owned(),
            "What to do: delete messages that are not needed and empty the trash, or ask for more space.".to_owned(),
            "This notice takes no space in the mailbox.".to_owned(),
        ];
        let text = Text {
            heading: "Avviso di saturazione della casella",
            paragraphs: vec![italian, english],
        };
        let subject = format!("AVVISO: spazio della casella occupato al {level}%");
        let (header, message_id) = self.notice_header(
            // Nobody's automatic answer shall answer to it.
            &[("Auto-Submitted", "auto-generated")],
            at,
            prefixed_subject(&subject, None),
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
