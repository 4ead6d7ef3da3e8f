//! What operators do by IMAP: they read a service account, and set the space of accounts.

use std::sync::Arc;

use ceralacca::{mail_access::StoreMailAccess, registry::outbox::apply_pending, serve};
use protocols::access::{Identity, MailAccess as _, MailAccount, SetQuotaError};
use storage::{
    account::tier::Tier,
    catalog::{engine::Batch, simulated::SimulatedEngine},
    error::StoreError,
    ids::AccountId,
    mailbox::{
        append::AppendRequest,
        flags::{FlagChange, Flags},
        view::Access,
    },
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use trust::random::SeededRandom;

use super::fixture::{Fixture, at};

pub(crate) const OPERATOR: &str = "operatore@pec.example";
pub(crate) const SERVICE: &str = "posta-certificata@alfa.example";

pub(crate) struct House {
    pub(crate) fixture: Fixture,
    pub(crate) store: Arc<Store>,
    mail: StoreMailAccess,
}

impl House {
    pub(crate) async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.add(OPERATOR).await;
        fixture.add("anna@pec.example").await;
        fixture.registry.ensure_service_account(&at(SERVICE)).await.unwrap();
        let store = Store::open_with_engine(
            SimulatedEngine::new(&Store::families(&serve::store::families())),
            Arc::new(object_store::memory::InMemory::new()),
            fixture.clock.clone(),
            Arc::new(SeededRandom::new(1)),
            OctetStoreConfig::default(),
            StoreLimits::default(),
        )
        .await
        .unwrap();
        apply_pending(&fixture.registry, &*store).await.unwrap();
        let mail = StoreMailAccess::new(Arc::clone(&store), 1 << 20)
            .with_operators(fixture.registry.clone(), &[at(OPERATOR)]);
        Self { fixture, store, mail }
    }

    pub(crate) async fn id(&self, address: &str) -> AccountId {
        self.store.account_by_address(address).await.unwrap().unwrap().0
    }

    async fn open(&self, address: &str) -> Arc<dyn MailAccount> {
        let identity = Identity { account_id: self.id(address).await, address: address.to_owned() };
        self.mail.open(&identity).await.unwrap()
    }

    pub(crate) async fn deliver(&self, address: &str) {
        let account = self.store.account(self.id(address).await).await.unwrap();
        let mut writer = self.store.message_writer();
        writer.write(b"Subject: x\r\n\r\ny\r\n").await.unwrap();
        let message = writer.finish().await.unwrap();
        let request = AppendRequest {
            mailbox: account.mailbox_by_name("INBOX").await.unwrap().id(),
            message: &message,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: storage::account::quota::QuotaRule::Enforce,
            also: Batch::default(),
        };
        account.append(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_shared_account_is_read_and_nothing_of_it_changes() {
    let house = House::new().await;
    house.deliver(SERVICE).await;
    let operator = house.store.account(house.id(OPERATOR).await).await.unwrap();
    let service = house.id(SERVICE).await;
    let name = format!("Altri utenti/{SERVICE}/INBOX");
    let before = house.open(OPERATOR).await;
    assert!(before.list().await.unwrap().iter().all(|entry| !entry.name.starts_with("Altri")));
    assert!(matches!(before.open(&name).await, Err(StoreError::NoSuchMailboxName(_))));

    assert!(operator.grant(service, true, Batch::default()).await.unwrap());
    let mail = house.open(OPERATOR).await;
    let listed = mail.list().await.unwrap();
    assert_eq!(listed[0].name, "INBOX");
    let entry = listed.iter().find(|entry| entry.name == name).unwrap();
    assert!(entry.read_only && entry.mailbox_id.is_some() && !entry.subscribed);
    assert!(listed.iter().any(|entry| entry.name == "Altri utenti" && entry.mailbox_id.is_none()));
    let view = mail.open(&name).await.unwrap();
    assert_eq!((view.access(), view.other_account()), (Access::ReadOnly, Some(service)));
    let (_, rows) = view.rows().await.unwrap();
    let octets = view.read(rows[0].email_number, 0..100).await.unwrap();
    assert_eq!(&octets[..10], b"Subject: x");

    let seen = Flags { seen: true, ..Flags::default() };
    let uids = [rows[0].uid];
    let read_only = |refused: StoreError| assert!(matches!(refused, StoreError::ReadOnly));
    read_only(view.store_flags(&uids, FlagChange::Add, &seen, None).await.unwrap_err());
    read_only(view.expunge(&uids).await.unwrap_err());
    let inbox = mail.destination("INBOX").await.unwrap();
    let copied = view.copy(&uids, inbox).await;
    assert!(matches!(copied, Err(StoreError::OtherAccount)), "{copied:?}");
    read_only(view.move_to(&uids, inbox).await.unwrap_err());
    read_only(mail.destination(&name).await.unwrap_err());
    read_only(mail.create(&format!("Altri utenti/{SERVICE}/x"), None).await.unwrap_err());
    read_only(mail.create("Altri utenti", None).await.unwrap_err());
    read_only(mail.delete(&name).await.unwrap_err());
    read_only(mail.rename("Bozze", &name).await.unwrap_err());
    read_only(mail.append(&name).await.err().unwrap());
    let noted = vec![("/shared/comment".to_owned(), Some(b"x".to_vec()))];
    read_only(mail.annotate(Some(&name), noted).await.unwrap_err());
    // What was recent stays so for the account itself.
    let recent = view.claim_recent().await.unwrap();
    assert_eq!(view.claim_recent().await.unwrap(), recent);

    assert!(operator.grant(service, false, Batch::default()).await.unwrap());
    assert!(matches!(view.state().await, Err(StoreError::NoSuchMailbox { .. })));
    assert!(matches!(
        view.read(rows[0].email_number, 0..9).await,
        Err(StoreError::NoSuchMailbox { .. })
    ));
    assert!(matches!(mail.open(&name).await, Err(StoreError::NoSuchMailboxName(_))));
}

#[tokio::test]
async fn a_change_in_a_shared_account_wakes_who_reads_it() {
    let house = House::new().await;
    let operator = house.store.account(house.id(OPERATOR).await).await.unwrap();
    operator.grant(house.id(SERVICE).await, true, Batch::default()).await.unwrap();
    let mail = house.open(OPERATOR).await;
    let mut changes = mail.changes();
    changes.mark_unchanged();
    house.deliver(SERVICE).await;
    changes.changed().await.unwrap();
}

#[tokio::test]
async fn annotations_of_others_are_told_when_they_are_shared() {
    let house = House::new().await;
    let operator = house.store.account(house.id(OPERATOR).await).await.unwrap();
    operator.grant(house.id(SERVICE).await, true, Batch::default()).await.unwrap();
    let service = house.open(SERVICE).await;
    let note = |entry: &str| (entry.to_owned(), Some(b"x".to_vec()));
    service
        .annotate(Some("INBOX"), vec![note("/shared/comment"), note("/private/comment")])
        .await
        .unwrap();
    assert_eq!(service.annotations(Some("INBOX")).await.unwrap().len(), 2);
    let mail = house.open(OPERATOR).await;
    let told = mail.annotations(Some(&format!("Altri utenti/{SERVICE}/INBOX"))).await.unwrap();
    let told: Vec<_> = told.iter().map(|annotation| annotation.entry.as_str()).collect();
    assert_eq!(told, ["/shared/comment"]);
}

#[tokio::test]
async fn an_operator_sets_space_through_the_registry_and_others_do_not() {
    let house = House::new().await;
    let gigabytes = |number: u64| number << 30;
    let anna = "anna@pec.example";
    let holder = house.open(anna).await;
    assert!(!holder.is_operator());
    let refused = holder.set_space(None, Tier::Live, gigabytes(3)).await;
    assert!(matches!(refused, Err(SetQuotaError::NotOperator)), "{refused:?}");

    let operator = house.open(OPERATOR).await;
    assert!(operator.is_operator());
    let usage = operator.set_space(Some(anna), Tier::Live, gigabytes(2) + 1).await.unwrap();
    assert_eq!(usage.octets.limit, Some(gigabytes(3)));
    let registered = house.fixture.registry.account(&at(anna)).await.unwrap();
    assert_eq!((registered.increments, registered.applied_version), (2, registered.version));
    assert_eq!(holder.quota().await.unwrap().octets.limit, Some(gigabytes(3)));
    assert_eq!(operator.quota_of(anna).await.unwrap(), usage);
    // The plan base has 1 GB, and 5 increments at most.
    for forbidden in [gigabytes(1) - 1, gigabytes(6) + 1, u64::MAX] {
        let refused = operator.set_space(Some(anna), Tier::Live, forbidden).await;
        assert!(matches!(refused, Err(SetQuotaError::PlanForbids(_))), "{forbidden}: {refused:?}");
    }
    for missing in ["nessuno@pec.example", "no address", ""] {
        let refused = operator.set_space(Some(missing), Tier::Live, gigabytes(2)).await;
        assert!(matches!(refused, Err(SetQuotaError::NoSuchAccount(_))), "{missing}: {refused:?}");
    }
    let unlimited = operator.set_space(Some(SERVICE), Tier::Live, gigabytes(2)).await;
    assert!(matches!(unlimited, Err(SetQuotaError::PlanForbids(_))), "{unlimited:?}");
}
