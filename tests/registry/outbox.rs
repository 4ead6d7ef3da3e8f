//! The outbox: every change reaches the store, each version once.

use ceralacca::registry::{
    RegistryError,
    account::AccountState,
    outbox::{AccountChange, OutboxError, Round, apply_pending},
    plan::{Plan, Plans},
    receipts::ReceiptsPlace,
};

use crate::fixture::{Fixture, RecordingSink, at, reopen};

#[tokio::test]
async fn every_change_is_handed_over_once_in_order() {
    let fixture = Fixture::new().await;
    let sink = RecordingSink::default();
    let address = fixture.add("anna@pec.example").await;
    fixture.registry.add_increments(&address, 2).await.unwrap();
    fixture.registry.block(&address, "prova").await.unwrap();
    assert_eq!(fixture.registry.account(&address).await.unwrap().applied_version, 0);

    let round = apply_pending(&fixture.registry, &sink).await.unwrap();
    assert_eq!(round, Round { applied: 3, refused: 0 });
    let taken = sink.taken.lock().unwrap().clone();
    let versions: Vec<u64> = taken.iter().map(|change| change.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert_eq!(taken[0].quota_octets, Some(1 << 30));
    assert_eq!(taken[1].quota_octets, Some(3 << 30));
    assert_eq!(taken[2].state, AccountState::Blocked);
    assert_eq!(fixture.registry.account(&address).await.unwrap().applied_version, 3);

    let again = apply_pending(&fixture.registry, &sink).await.unwrap();
    assert_eq!(again, Round::default());
    assert_eq!(sink.taken.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_gets_the_rest_later() {
    let fixture = Fixture::new().await;
    let sink = RecordingSink::default();
    for number in 0..600 {
        fixture.add(&format!("casella{number}@pec.example")).await;
    }
    *sink.fail_after.lock().unwrap() = Some(300);
    let stopped = apply_pending(&fixture.registry, &sink).await;
    assert!(matches!(stopped, Err(OutboxError::Store(_))), "{stopped:?}");
    assert_eq!(fixture.registry.pending_changes().await.unwrap(), 300);
    *sink.fail_after.lock().unwrap() = None;
    apply_pending(&fixture.registry, &sink).await.unwrap();
    let mut accounts: Vec<u64> =
        sink.taken.lock().unwrap().iter().map(|change| change.account_id).collect();
    accounts.dedup();
    assert_eq!(accounts, (1..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn raised_limits_reach_the_open_accounts_of_that_plan_at_the_next_start() {
    let fixture = Fixture::new().await;
    let sink = RecordingSink::default();
    fixture.add("base@pec.example").await;
    fixture.add("avanzata@pec.example").await;
    fixture.registry.set_plan(&at("avanzata@pec.example"), Plan::Avanzata).await.unwrap();
    fixture.add("closed@pec.example").await;
    fixture.registry.close_account(&at("closed@pec.example")).await.unwrap();
    apply_pending(&fixture.registry, &sink).await.unwrap();
    fixture.registry.close().await;

    let mut plans = Plans::default();
    let mut limits = plans.limits(Plan::Base);
    limits.recipients_max = 80;
    plans.grant(Plan::Base, limits);
    let registry = reopen(&fixture.file(), plans).await;
    assert_eq!(registry.refresh_limits().await.unwrap(), 1);
    assert_eq!(registry.refresh_limits().await.unwrap(), 0);
    apply_pending(&registry, &sink).await.unwrap();
    let last = sink.taken.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.address.as_str(), last.recipients_max), ("base@pec.example", 80));
    assert_eq!(last.version, 2);
}

#[tokio::test]
async fn where_receipts_are_filed_is_told_to_the_store() {
    let fixture = Fixture::new().await;
    let sink = RecordingSink::default();
    let address = fixture.add("anna@pec.example").await;
    let changed = fixture.registry.set_receipts(&address, ReceiptsPlace::Ricevute).await.unwrap();
    assert_eq!((changed.receipts, changed.version), (ReceiptsPlace::Ricevute, 2));
    let read = fixture.registry.account(&address).await.unwrap();
    assert_eq!(read.receipts, ReceiptsPlace::Ricevute);
    apply_pending(&fixture.registry, &sink).await.unwrap();
    let taken = sink.taken.lock().unwrap().clone();
    let told: Vec<_> = taken.iter().map(|change| change.receipts).collect();
    assert_eq!(told, [ReceiptsPlace::Inbox, ReceiptsPlace::Ricevute]);
    let mut old = serde_json::to_value(&taken[1]).unwrap();
    assert_eq!(old["receipts"], "ricevute");
    old.as_object_mut().unwrap().remove("receipts");
    let old: AccountChange = serde_json::from_value(old).unwrap();
    assert_eq!(old.receipts, ReceiptsPlace::Inbox);
}

/// Rows that a version before the third migration wrote say nothing of ordinary mail.
#[tokio::test]
async fn who_wants_certified_mail_only_is_told_to_the_store_and_the_provider_takes_all() {
    let fixture = Fixture::new().await;
    let sink = RecordingSink::default();
    let address = fixture.add("anna@pec.example").await;
    let changed = fixture.registry.set_certified_mail_only(&address, true).await.unwrap();
    assert_eq!((changed.certified_mail_only, changed.version), (true, 2));
    let again = fixture.registry.set_certified_mail_only(&address, true).await.unwrap();
    assert_eq!(again.version, 2, "nothing changed");
    apply_pending(&fixture.registry, &sink).await.unwrap();
    let taken = sink.taken.lock().unwrap().clone();
    let told: Vec<bool> = taken.iter().map(|change| change.certified_mail_only).collect();
    assert_eq!(told, [false, true]);
    let mut old = serde_json::to_value(&taken[1]).unwrap();
    old.as_object_mut().unwrap().remove("certified_mail_only");
    let old: AccountChange = serde_json::from_value(old).unwrap();
    assert!(!old.certified_mail_only);

    let service = at("posta-certificata@alfa.example");
    fixture.registry.ensure_service_account(&service).await.unwrap();
    let refused = fixture.registry.set_certified_mail_only(&service, true).await;
    assert!(matches!(refused, Err(RegistryError::ServicePlan)), "{refused:?}");
}
