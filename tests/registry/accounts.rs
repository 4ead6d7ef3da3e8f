//! Domains, owners, accounts: what is taken, what is refused, what changes.

use ceralacca::{
    config::{Config, RegistrySettings},
    registry::{
        Entity, ErrorKind, RegistryError,
        account::{AccountFilter, AccountState, NewAccount},
        owner::{OwnerData, OwnerFilter, OwnerId, OwnerName},
        plan::Plan,
    },
};
use storage::ids::AccountId;

use crate::fixture::{Fixture, at, person};

#[tokio::test]
async fn an_account_goes_through_its_life_and_every_change_raises_the_version() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let address = fixture.add("Anna.Rossi@pec.example").await;
    assert_eq!(address.to_string(), "anna.rossi@pec.example");
    assert_eq!(registry.account(&address).await.unwrap().version, 1);

    fixture.clock.advance(5_000);
    let blocked = registry.block(&address, "credenziali sospette").await.unwrap();
    assert_eq!((blocked.state, blocked.version), (AccountState::Blocked, 2));
    assert_eq!(blocked.block_reason.as_deref(), Some("credenziali sospette"));
    assert_eq!(blocked.changed_at.0, 1_005_000);

    let active = registry.unblock(&address).await.unwrap();
    assert_eq!(
        (active.state, active.version, active.block_reason),
        (AccountState::Active, 3, None)
    );
    assert_eq!(registry.unblock(&address).await.unwrap().version, 3, "nothing changed");

    let advanced = registry.set_plan(&address, Plan::Avanzata).await.unwrap();
    assert_eq!((advanced.plan, advanced.version), (Plan::Avanzata, 4));
    assert_eq!(registry.add_increments(&address, 40).await.unwrap().increments, 40);

    let closed = registry.close_account(&address).await.unwrap();
    assert_eq!((closed.state, closed.version), (AccountState::Closed, 6));
    assert_eq!(registry.account(&address).await.unwrap(), closed);
    let reopened = registry.unblock(&address).await.unwrap_err();
    assert!(matches!(reopened, RegistryError::State(_, AccountState::Closed)), "{reopened}");
}

#[tokio::test]
async fn an_address_or_a_number_is_never_given_twice() {
    let fixture = Fixture::new().await;
    let address = fixture.add("anna@pec.example").await;
    fixture.registry.close_account(&address).await.unwrap();
    let again = fixture.registry.add_account(fixture.new_account("ANNA@pec.example")).await;
    assert!(matches!(again, Err(RegistryError::Exists(Entity::Account, _))), "{again:?}");
    let second = fixture.add("bruno@pec.example").await;
    assert_eq!(fixture.registry.account(&second).await.unwrap().id, AccountId(2));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let add = async |change: &dyn Fn(&mut NewAccount)| {
        let mut new = fixture.new_account("anna@pec.example");
        change(&mut new);
        registry.add_account(new).await.map(drop).unwrap_err()
    };
    let foreign = add(&|new| new.address = at("anna@other.example")).await;
    assert!(matches!(foreign, RegistryError::DomainNotRegistered(_)), "{foreign}");
    let nobody = add(&|new| new.owner = Some(OwnerId(99))).await;
    assert!(matches!(nobody, RegistryError::NotFound(Entity::Owner, _)), "{nobody}");
    let ownerless = add(&|new| new.owner = None).await;
    assert!(matches!(ownerless, RegistryError::ServicePlan), "{ownerless}");
    let large = add(&|new| new.increments = 6).await;
    assert!(matches!(large, RegistryError::TooManyIncrements { most: 5, .. }), "{large}");
    assert_eq!(large.kind(), ErrorKind::Invalid);
    assert!(registry.accounts(&AccountFilter::default()).await.unwrap().is_empty());
    assert_eq!(registry.pending_changes().await.unwrap(), 0);

    let address = fixture.add("anna@pec.example").await;
    registry.add_increments(&address, 5).await.unwrap();
    let more = registry.add_increments(&address, 1).await.unwrap_err();
    assert!(matches!(more, RegistryError::TooManyIncrements { .. }), "{more}");
    let unknown = registry.block(&at("nobody@pec.example"), "x").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(matches!(registry.block(&address, " ").await, Err(RegistryError::Name(_))));
}

#[tokio::test]
async fn one_codice_fiscale_has_one_open_account_where_that_is_configured() {
    let settings =
        RegistrySettings { one_account_per_codice_fiscale: true, ..Config::default().registry };
    let fixture = Fixture::with(settings).await;
    let address = fixture.add("anna@pec.example").await;
    let second = fixture.registry.add_account(fixture.new_account("anna2@pec.example")).await;
    assert!(matches!(second, Err(RegistryError::OwnerHasAccount(_))), "{second:?}");
    fixture.registry.close_account(&address).await.unwrap();
    fixture.add("anna2@pec.example").await;
}

#[tokio::test]
async fn owners_are_checked_found_changed_and_removed() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let twice = registry.add_owner(person("RSSMRA79B11C566R")).await.unwrap_err();
    assert!(matches!(twice, RegistryError::Exists(Entity::Owner, _)), "{twice}");
    let body = OwnerData {
        name: OwnerName::Body { name: "Studio D'Angelo".into() },
        codice_fiscale: None,
        partita_iva: Some("02046570426".parse().unwrap()),
    };
    let studio = registry.add_owner(body.clone()).await.unwrap();
    let anonymous = OwnerData { partita_iva: None, ..body };
    assert!(matches!(registry.add_owner(anonymous).await, Err(RegistryError::CodeMissing)));

    let by_name = OwnerFilter { name: Some("maria ROSSI".into()), ..OwnerFilter::default() };
    assert_eq!(registry.owners(&by_name).await.unwrap()[0].id, fixture.owner);
    let by_code =
        OwnerFilter { partita_iva: Some("02046570426".parse().unwrap()), ..OwnerFilter::default() };
    assert_eq!(registry.owners(&by_code).await.unwrap()[0], studio);

    let renamed = registry
        .change_owner(studio.id, |data| data.name = OwnerName::Body { name: "Studio Due".into() })
        .await
        .unwrap();
    assert_eq!(registry.owner(studio.id).await.unwrap(), renamed);
    registry.remove_owner(studio.id).await.unwrap();
    fixture.add("anna@pec.example").await;
    let kept = registry.remove_owner(fixture.owner).await.unwrap_err();
    assert!(matches!(kept, RegistryError::InUse(Entity::Owner, _)), "{kept}");
}

#[tokio::test]
async fn a_domain_with_accounts_stays_and_the_service_domain_takes_no_holders() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let service = at("posta-certificata@gestore.example");
    let first = registry.ensure_service_account(&service).await.unwrap();
    assert_eq!(registry.ensure_service_account(&service).await.unwrap(), first);
    assert_eq!((first.plan, first.owner), (Plan::Service, None));
    let holder = registry.add_account(fixture.new_account("anna@gestore.example")).await;
    assert!(matches!(holder, Err(RegistryError::DomainNotRegistered(_))), "{holder:?}");
    registry.add_domain(&"gestore.example".parse().unwrap()).await.unwrap();
    fixture.add("anna@gestore.example").await;
    let kept = registry.remove_domain(&"gestore.example".parse().unwrap()).await.unwrap_err();
    assert!(matches!(kept, RegistryError::InUse(Entity::Domain, _)), "{kept}");
    registry.remove_domain(&"pec.example".parse().unwrap()).await.unwrap();
    assert_eq!(registry.domains().await.unwrap().len(), 1);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let fixture = Fixture::new().await;
    for number in 0..5 {
        fixture.add(&format!("casella{number}@pec.example")).await;
    }
    fixture.registry.block(&at("casella3@pec.example"), "prova").await.unwrap();
    fixture.registry.set_plan(&at("casella4@pec.example"), Plan::MassivaBase).await.unwrap();
    let found = async |filter: AccountFilter| {
        let accounts = fixture.registry.accounts(&filter).await.unwrap();
        accounts.iter().map(|account| account.id.0).collect::<Vec<_>>()
    };
    let all = AccountFilter::default();
    assert_eq!(found(all.clone()).await, [1, 2, 3, 4, 5]);
    let blocked = AccountFilter { state: Some(AccountState::Blocked), ..all.clone() };
    assert_eq!(found(blocked).await, [4]);
    assert_eq!(found(AccountFilter { plan: Some(Plan::MassivaBase), ..all.clone() }).await, [5]);
    let part = AccountFilter { address_part: Some("LLA1@".into()), ..all.clone() };
    assert_eq!(found(part).await, [2]);
    let page = AccountFilter { after: Some(AccountId(2)), limit: Some(2), ..all.clone() };
    assert_eq!(found(page).await, [3, 4]);
    let elsewhere = AccountFilter { domain: Some("other.example".parse().unwrap()), ..all };
    assert_eq!(found(elsewhere).await, [0; 0]);
}
