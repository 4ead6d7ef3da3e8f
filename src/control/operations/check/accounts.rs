//! Invariant 9: registry and catalog say the same of every account.
//!
//! Both are in use while they are compared, so a difference counts only when it is still there a
//! moment later and no change of the account waits in the outbox.

use std::time::Duration;

use storage::{
    account::settings::AccountSettings,
    catalog::{
        keys::{self, KeyReader},
        pages::Pages,
    },
    error::StoreError,
    ids::AccountId,
};

use super::finding::{Above, Findings, Setting};
use crate::{
    control::{OperationError, Progress, Run, Site},
    registry::Told,
    texts::Text,
};

/// Accounts read at a time.
const PAGE: u32 = 256;

/// How long a change may be on its way from the one to the other.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// The number of the invariant.
pub(super) const INVARIANT: u8 = 9;

/// Compares every account of the registry with the catalog, and the other way.
pub(super) async fn compare(
    site: &Site,
    run: &Run,
    findings: &mut Findings,
) -> Result<(), OperationError> {
    let (mut after, mut done) = (None, 0);
    loop {
        let page = read(site, after, PAGE).await?;
        let mut suspects = Vec::new();
        for told in &page {
            if difference(site, told).await?.is_some() {
                suspects.push(told);
            }
        }
        report_settled(site, suspects, findings).await?;
        done += page.len() as u64;
        let what = Text::fixed("caselle confrontate", "accounts compared");
        run.tell(Progress::new(what, done, None).with_troubles(findings.count));
        run.go_on()?;
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.id),
            _ => break,
        }
    }
    unknown_to_registry(site, run, findings).await
}

/// Reports those of `suspects` that still differ when a change would have arrived.
async fn report_settled(
    site: &Site,
    suspects: Vec<&Told>,
    findings: &mut Findings,
) -> Result<(), OperationError> {
    if suspects.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(ON_ITS_WAY).await;
    for told in suspects {
        // One that changed meanwhile is told to the store by the outbox.
        if told_of(site, told.id).await?.as_ref() == Some(told)
            && let Some((object, fault)) = difference(site, told).await?
        {
            findings.add(INVARIANT, object, &fault);
        }
    }
    Ok(())
}

async fn read(
    site: &Site,
    after: Option<AccountId>,
    limit: u32,
) -> Result<Vec<Told>, OperationError> {
    let told = site.registry.told(after, limit).await;
    told.map_err(|error| OperationError::of_machine(&error))
}

/// Reports accounts of the catalog that the registry never made.
async fn unknown_to_registry(
    site: &Site,
    run: &Run,
    findings: &mut Findings,
) -> Result<(), OperationError> {
    let mut pages = Pages::prefix(keys::ACCOUNTS, &[], PAGE as usize);
    while let Some(page) = pages.next(&**site.store.engine()).await? {
        for (key, _) in &page {
            // A key that is none was reported by the store's own check.
            let Ok(id) = KeyReader::new(keys::ACCOUNTS, key).take_u64() else { continue };
            let id = AccountId(id);
            if told_of(site, id).await?.is_none() {
                findings.add(INVARIANT, format!("account {id}"), &Above::NotInRegistry);
            }
        }
        run.go_on()?;
    }
    Ok(())
}

async fn told_of(site: &Site, id: AccountId) -> Result<Option<Told>, OperationError> {
    let told = read(site, id.0.checked_sub(1).map(AccountId), 1).await?;
    Ok(told.into_iter().find(|told| told.id == id))
}

async fn difference(site: &Site, told: &Told) -> Result<Option<(String, Above)>, OperationError> {
    if told.waiting {
        return Ok(None);
    }
    let object = format!("account {} ({})", told.id, told.settings.address);
    let before = told.id.0.checked_sub(1).map(AccountId);
    let found = match site.store.accounts(before, 1).await {
        // The store's own check has reported it.
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => return Ok(None),
        found => found?,
    };
    let found = found.into_iter().find(|(id, ..)| *id == told.id);
    let Some((_, version, settings)) = found else {
        return Ok(Some((object, Above::NotInCatalog)));
    };
    let versions = (version != told.version).then_some((told.version, version));
    let settings = different(&told.settings, &settings, told.limits_told);
    let by_address = match site.store.account_by_address(&told.settings.address).await {
        Err(StoreError::Damaged { .. } | StoreError::TooNew { .. }) => None,
        found => found?.map(|(id, _)| id),
    };
    let address_lost = by_address != Some(told.id);
    let differs = versions.is_some() || !settings.is_empty() || address_lost;
    Ok(differs.then_some((object, Above::Differs { versions, settings, address_lost })))
}

/// The settings in which the two differ.
fn different(told: &AccountSettings, found: &AccountSettings, limits: bool) -> Vec<Setting> {
    let limits_of = |settings: &AccountSettings| {
        (
            settings.quota_octets,
            settings.message_octets_max,
            settings.recipients_max,
            settings.messages_per_minute_max,
            settings.messages_per_day_max,
            settings.archive_quota_octets,
        )
    };
    let named = [
        (Setting::Address, told.address != found.address),
        (Setting::State, told.state != found.state),
        (Setting::Plan, told.plan != found.plan),
        (Setting::Service, told.service != found.service),
        (Setting::OrdinaryMail, told.certified_mail_only != found.certified_mail_only),
        (Setting::Receipts, told.receipts != found.receipts),
        (Setting::Limits, limits && limits_of(told) != limits_of(found)),
    ];
    let differ = named.into_iter().filter(|(_, differ)| *differ);
    differ.map(|(setting, _)| setting).collect()
}
