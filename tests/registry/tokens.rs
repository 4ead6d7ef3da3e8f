//! Logins by tokens of an issuer, against the registry.

use std::{net::IpAddr, sync::Arc};

use ceralacca::{
    config::{Config, LoginSettings, OauthSettings},
    oauth::{
        TokenVerifier,
        keeper::{KeyKeeper, KeySource},
    },
    registry::{
        authenticator::RegistryAuthenticator, credential::Credential, outbox::apply_pending,
        password::PreparedPassword,
    },
};
use protocols::access::{Authenticator as _, Identity, LoginError, Protocol};
use storage::ids::AccountId;
use trust::{
    clock::{ManualClock, UnixMillis},
    random::SystemRandom,
};

use crate::{
    fixture::{Fixture, RecordingSink, at},
    issuer::{AUDIENCE, ISSUER, IssuerPair, claims, jwk_set},
};

const ANNA: &str = "anna@pec.example";
const NOW: i64 = 1_800_000_000;

struct Place {
    fixture: Fixture,
    authenticator: RegistryAuthenticator,
    pair: IssuerPair,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new(settings: LoginSettings) -> Self {
        let fixture = Fixture::new().await;
        fixture.add(ANNA).await;
        let password = PreparedPassword::new("tavolo lampada fiume").unwrap();
        let credential = Credential::make(&password, &SystemRandom).unwrap();
        fixture.registry.set_credential(&at(ANNA), &credential).await.unwrap();
        apply_pending(&fixture.registry, &RecordingSink::default()).await.unwrap();
        let (pair, folder) = (IssuerPair::elliptic("one"), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("keys.json"), jwk_set(&[&pair])).unwrap();
        let oauth = oauth(folder.path());
        let source = KeySource::File(oauth.keys.file.clone().unwrap());
        let keys = KeyKeeper::open(&oauth.keys, source).unwrap();
        let clock = Arc::new(ManualClock::new(UnixMillis(NOW * 1_000)));
        let tokens = TokenVerifier::new(&oauth, keys, clock);
        let random = Arc::new(SystemRandom);
        let authenticator =
            RegistryAuthenticator::new(Arc::clone(&fixture.registry), settings, random);
        let authenticator = authenticator.await.unwrap().with_tokens(tokens);
        Self { fixture, authenticator, pair, _folder: folder }
    }

    async fn enter(&self, login: Option<&str>, token: &str) -> Result<Identity, LoginError> {
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        self.authenticator.verify_token(Protocol::Imap, peer, login, token).await
    }
}

/// As a file of the configuration says it.
fn oauth(folder: &std::path::Path) -> OauthSettings {
    let file = folder.join("ceralacca.toml");
    let text = format!(
        "[oauth]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nkeys_file = \"keys.json\"\n"
    );
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), []).unwrap().oauth.unwrap()
}

#[tokio::test]
async fn a_token_lets_in_the_account_that_it_names_and_no_other() {
    let place = Place::new(Config::default().login).await;
    let token = place.pair.token(&claims(ANNA, NOW + 60));
    let anna = Identity { account_id: AccountId(1), address: ANNA.to_owned() };
    assert_eq!(place.enter(None, &token).await.unwrap(), anna);
    assert_eq!(place.enter(Some("Anna@PEC.example"), &token).await.unwrap(), anna);
    let other = place.enter(Some("bruno@pec.example"), &token).await;
    assert!(matches!(other, Err(LoginError::BadCredentials)), "{other:?}");
    let nobody = place.pair.token(&claims("nobody@pec.example", NOW + 60));
    let nobody = place.enter(None, &nobody).await;
    assert!(matches!(nobody, Err(LoginError::BadCredentials)), "{nobody:?}");
    place.fixture.registry.block(&at(ANNA), "prova").await.unwrap();
    let blocked = place.enter(None, &token).await;
    assert!(matches!(blocked, Err(LoginError::Blocked)), "{blocked:?}");
}

#[tokio::test]
async fn forged_tokens_count_as_failures_and_expired_ones_do_not() {
    let settings =
        LoginSettings { failures_per_account_and_address_max: 3, ..Config::default().login };
    let place = Place::new(settings).await;
    let good = place.pair.token(&claims(ANNA, NOW + 60));
    let expired = place.pair.token(&claims(ANNA, NOW - 3_600));
    for _ in 0..10 {
        let late = place.enter(Some(ANNA), &expired).await;
        assert!(matches!(late, Err(LoginError::BadCredentials)), "{late:?}");
    }
    assert!(place.enter(Some(ANNA), &good).await.is_ok());
    let stranger = IssuerPair::elliptic("one");
    for _ in 0..3 {
        let forged = place.enter(Some(ANNA), &stranger.token(&claims(ANNA, NOW + 60))).await;
        assert!(matches!(forged, Err(LoginError::BadCredentials)), "{forged:?}");
    }
    let stopped = place.enter(Some(ANNA), &good).await;
    assert!(matches!(stopped, Err(LoginError::TooManyFailures)), "{stopped:?}");
}

#[tokio::test]
async fn a_token_opens_an_account_without_a_password_that_no_password_opens() {
    let place = Place::new(Config::default().login).await;
    let carla = "carla@pec.example";
    place.fixture.add(carla).await;
    apply_pending(&place.fixture.registry, &RecordingSink::default()).await.unwrap();
    let token = place.pair.token(&claims(carla, NOW + 60));
    assert_eq!(place.enter(None, &token).await.unwrap().address, carla);
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    for password in ["", "tavolo lampada fiume"] {
        let by_password =
            place.authenticator.verify_password(Protocol::Imap, peer, carla, password).await;
        assert!(matches!(by_password, Err(LoginError::BadCredentials)), "{by_password:?}");
    }
    let keys = place.authenticator.scram_keys(Protocol::Imap, peer, carla).await.unwrap();
    let proven =
        place.authenticator.scram_settled(Protocol::Imap, peer, carla, &keys.verifier, true);
    assert!(matches!(proven.await, Err(LoginError::BadCredentials)));
}

#[tokio::test]
async fn tokens_without_a_login_do_not_fail_for_each_other() {
    let settings =
        LoginSettings { failures_per_account_and_address_max: 3, ..Config::default().login };
    let place = Place::new(settings).await;
    let stranger = IssuerPair::elliptic("one");
    for later in 60..70 {
        let forged = place.enter(None, &stranger.token(&claims(ANNA, NOW + later))).await;
        assert!(matches!(forged, Err(LoginError::BadCredentials)), "{forged:?}");
    }
    let good = place.pair.token(&claims(ANNA, NOW + 60));
    assert!(place.enter(None, &good).await.is_ok(), "who sends none of these has not failed");
}
