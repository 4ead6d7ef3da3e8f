//! What is noted about mailboxes, and whose mailboxes an account may read.

use bytes::Bytes;

use super::house::{ANNA, House};
use crate::{
    account::{Account, settings::AccountSettings},
    catalog::{engine::Batch, keys},
    error::StoreError,
    ids::{AccountId, MailboxId},
    store::{Store, StoreLimits},
};

fn limits() -> StoreLimits {
    StoreLimits {
        annotations_per_account_max: 3,
        annotation_octets_per_account_max: 60,
        annotation_octets_max: 20,
        ..StoreLimits::default()
    }
}

async fn house() -> (House, Account) {
    let engine = crate::catalog::simulated::SimulatedEngine::new(&Store::families(&[]));
    let objects = super::objects::fresh();
    let house = House::try_open_with(engine, objects, limits()).await.expect("open the store");
    let settings =
        AccountSettings { address: "anna@pec.example".to_owned(), ..AccountSettings::default() };
    house.store.apply_account(ANNA, 1, settings).await.expect("create");
    let anna = house.store.account(ANNA).await.expect("anna");
    (house, anna)
}

fn note(entry: &str, value: &str) -> (String, Option<Bytes>) {
    (entry.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())))
}

async fn noted(account: &Account, mailbox: Option<MailboxId>) -> Vec<(String, Bytes)> {
    account.annotations(mailbox).await.expect("annotations")
}

#[tokio::test]
async fn annotations_survive_a_rename_and_go_with_their_mailbox() {
    let (house, anna) = house().await;
    let id = anna.create_mailbox("Lavori", None).await.expect("create");
    anna.annotate(Some(id), vec![note("/shared/b", "2"), note("/private/a", "1")])
        .await
        .expect("annotate");
    anna.annotate(None, vec![note("/private/a", "mine")]).await.expect("annotate");
    anna.rename_mailbox("Lavori", "Opere").await.expect("rename");
    let names: Vec<_> = noted(&anna, Some(id)).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["/private/a", "/shared/b"]);
    house.is_sound().await;
    anna.annotate(Some(id), vec![("/shared/b".to_owned(), None), note("/private/a", "3")])
        .await
        .expect("annotate");
    assert_eq!(noted(&anna, Some(id)).await, [("/private/a".to_owned(), Bytes::from("3"))]);
    anna.delete_mailbox("Opere").await.expect("delete");
    assert_eq!(noted(&anna, Some(id)).await, []);
    assert_eq!(noted(&anna, None).await.len(), 1);
    let gone = anna.annotate(Some(id), vec![note("/private/a", "1")]).await;
    assert!(matches!(gone, Err(StoreError::NoSuchMailbox { .. })), "{gone:?}");
    house.is_sound().await;
}

#[tokio::test]
async fn annotations_are_bounded_by_number_and_octets_and_refused_as_a_whole() {
    let (house, anna) = house().await;
    let inbox = Some(anna.mailbox_by_name("INBOX").await.expect("INBOX").id());
    let long = "x".repeat(21);
    let refused =
        anna.annotate(inbox, vec![note("/shared/a", "1"), note("/shared/b", &long)]).await;
    assert!(matches!(refused, Err(StoreError::AnnotationTooLarge(20))), "{refused:?}");
    assert_eq!(noted(&anna, inbox).await, []);
    let three = ["/shared/a", "/shared/b", "/shared/c"].map(|name| note(name, "1"));
    anna.annotate(inbox, three.to_vec()).await.expect("three");
    let refused = anna.annotate(None, vec![note("/private/d", "1")]).await;
    assert!(matches!(refused, Err(StoreError::TooManyAnnotations(3))), "{refused:?}");
    // 3 names of 9 octets and 3 values of 1 are 30; 31 more do not fit.
    let grow = |octets: usize| vec![note("/shared/a", &"y".repeat(octets)), note("/shared/b", "z")];
    anna.annotate(inbox, grow(20)).await.expect("49 octets");
    let refused = anna.annotate(inbox, vec![note("/shared/b", &"y".repeat(13))]).await;
    assert!(
        matches!(refused, Err(StoreError::OverQuota { used: 49, limit: 60, .. })),
        "{refused:?}"
    );
    anna.annotate(inbox, vec![("/shared/a".to_owned(), None)]).await.expect("room is made");
    anna.annotate(inbox, vec![note("/shared/b", &"y".repeat(13))]).await.expect("it fits now");
    house.is_sound().await;
}

#[tokio::test]
async fn an_annotation_without_its_mailbox_is_found_and_taken_out() {
    let (house, anna) = house().await;
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX").id();
    anna.annotate(Some(inbox), vec![note("/shared/a", "1")]).await.expect("annotate");
    let mut batch = Batch::default();
    let stray = keys::annotation(ANNA, Some(MailboxId(999)), "/shared/a");
    let value = crate::catalog::records::encode(&crate::catalog::records::AnnotationRecord {
        value: Bytes::from("1"),
    });
    batch.put(keys::ANNOTATIONS, stray, value);
    batch.put(keys::ACCOUNT_GRANTS, keys::grant(ANNA, AccountId(99)), Bytes::from_static(b"\x01"));
    house.store.commit(batch).await.expect("commit");
    let report = house.store.check(&|_| {}).await.expect("check");
    assert_eq!(report.seen.violations, 2, "{report:?}");
    house.store.repair(&NoRegistry, true, &|_| {}).await.expect("repair");
    assert_eq!(noted(&anna, Some(inbox)).await.len(), 1);
    house.is_sound().await;
}

#[derive(Debug)]
struct NoRegistry;

#[async_trait::async_trait]
impl crate::repair::SettingsSource for NoRegistry {
    async fn settings(&self, _: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_grant_is_given_and_taken_once() {
    let (house, anna) = house().await;
    let other = AccountId(8);
    let settings =
        AccountSettings { address: "posta@pec.example".to_owned(), ..AccountSettings::default() };
    house.store.apply_account(other, 1, settings).await.expect("create");
    let grant = |granted| anna.grant(other, granted, Batch::default());
    assert!(grant(true).await.expect("grant"));
    assert!(!grant(true).await.expect("grant"));
    assert_eq!(anna.granted().await.expect("granted"), [other]);
    house.is_sound().await;
    assert!(grant(false).await.expect("revoke"));
    assert!(!grant(false).await.expect("revoke"));
    assert_eq!(anna.granted().await.expect("granted"), []);
}
