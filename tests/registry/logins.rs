//! Logins against the registry.

use std::{net::IpAddr, sync::Arc};

use ceralacca::{
    config::{Config, LoginSettings, units::Millis},
    metrics_names,
    registry::{
        authenticator::RegistryAuthenticator, credential::Credential, outbox::apply_pending,
        password::PreparedPassword,
    },
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use protocols::access::{Authenticator as _, Identity, LoginError, Protocol, ScramKeys};
use storage::ids::AccountId;
use trust::random::SystemRandom;

use crate::fixture::{Fixture, RecordingSink, at, reopen};

pub(crate) const PASSWORD: &str = "tavolo lampada fiume";

pub(crate) async fn set_password(fixture: &Fixture, address: &str, password: &str) {
    let prepared = PreparedPassword::new(password).unwrap();
    let credential = Credential::make(&prepared, &SystemRandom).unwrap();
    fixture.registry.set_credential(&at(address), &credential).await.unwrap();
}

async fn authenticator(fixture: &Fixture, settings: LoginSettings) -> RegistryAuthenticator {
    let random = Arc::new(SystemRandom);
    RegistryAuthenticator::new(Arc::clone(&fixture.registry), settings, random).await.unwrap()
}

async fn with_anna() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.add("anna@pec.example").await;
    set_password(&fixture, "anna@pec.example", PASSWORD).await;
    apply_pending(&fixture.registry, &RecordingSink::default()).await.unwrap();
    fixture
}

async fn log_in(
    authenticator: &RegistryAuthenticator,
    from: &str,
    login: &str,
    password: &str,
) -> Result<Identity, LoginError> {
    let peer: IpAddr = from.parse().unwrap();
    authenticator.verify_password(Protocol::Imap, peer, login, password).await
}

#[tokio::test]
async fn the_right_password_gives_the_identity_in_any_case_of_the_address() {
    let fixture = with_anna().await;
    let authenticator = authenticator(&fixture, Config::default().login).await;
    let anna = Identity { account_id: AccountId(1), address: "anna@pec.example".into() };
    assert_eq!(
        log_in(&authenticator, "192.0.2.1", "Anna@PEC.example", PASSWORD).await.unwrap(),
        anna
    );
    for (login, password) in [
        ("anna@pec.example", "tavolo lampada Fiume"),
        ("anna@pec.example", ""),
        ("anna@pec.example", "\u{0}"),
        ("nobody@pec.example", PASSWORD),
        ("anna", PASSWORD),
    ] {
        let refused = log_in(&authenticator, "192.0.2.1", login, password).await;
        assert!(matches!(refused, Err(LoginError::BadCredentials)), "{login}: {refused:?}");
    }
}

#[tokio::test]
async fn a_new_password_makes_the_old_one_void_at_once() {
    let fixture = with_anna().await;
    let authenticator = authenticator(&fixture, Config::default().login).await;
    log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await.unwrap();
    set_password(&fixture, "anna@pec.example", "finestra monte barca").await;
    let old = log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await;
    assert!(matches!(old, Err(LoginError::BadCredentials)), "{old:?}");
    log_in(&authenticator, "192.0.2.1", "anna@pec.example", "finestra monte barca").await.unwrap();
}

#[tokio::test]
async fn a_blocked_account_is_told_so_only_with_the_right_password() {
    let fixture = with_anna().await;
    let authenticator = authenticator(&fixture, Config::default().login).await;
    log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await.unwrap();
    fixture.registry.block(&at("anna@pec.example"), "prova").await.unwrap();
    let blocked = log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await;
    assert!(matches!(blocked, Err(LoginError::Blocked)), "{blocked:?}");
    let guessed = log_in(&authenticator, "192.0.2.1", "anna@pec.example", "wrong").await;
    assert!(matches!(guessed, Err(LoginError::BadCredentials)), "{guessed:?}");
}

#[tokio::test]
async fn an_account_that_the_store_does_not_have_is_asked_to_wait() {
    let fixture = Fixture::new().await;
    fixture.add("anna@pec.example").await;
    set_password(&fixture, "anna@pec.example", PASSWORD).await;
    let authenticator = authenticator(&fixture, Config::default().login).await;
    let early = log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await;
    assert!(matches!(early, Err(LoginError::Unavailable(_))), "{early:?}");
    apply_pending(&fixture.registry, &RecordingSink::default()).await.unwrap();
    log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_guesser_is_stopped_even_when_he_guesses_right_and_the_holder_elsewhere_is_not() {
    let fixture = with_anna().await;
    let settings =
        LoginSettings { failures_per_account_and_address_max: 2, ..Config::default().login };
    let authenticator = authenticator(&fixture, settings).await;
    // The holder's success is remembered: it must not answer the guesser.
    log_in(&authenticator, "192.0.2.9", "anna@pec.example", PASSWORD).await.unwrap();
    for guess in ["wrong", "still wrong"] {
        let wrong = log_in(&authenticator, "192.0.2.1", "anna@pec.example", guess).await;
        assert!(matches!(wrong, Err(LoginError::BadCredentials)), "{wrong:?}");
    }
    let stopped = log_in(&authenticator, "192.0.2.1", "anna@pec.example", PASSWORD).await;
    assert!(matches!(stopped, Err(LoginError::TooManyFailures)), "{stopped:?}");
    log_in(&authenticator, "192.0.2.9", "anna@pec.example", PASSWORD).await.unwrap();
}

/// How many passwords were hashed on this thread since the recorder was made.
fn hashings(recorder: &PrometheusRecorder) -> u64 {
    let name = format!("{}_count ", metrics_names::LOGIN_HASHING);
    let text = recorder.handle().render();
    let count = text.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_success_is_remembered_for_its_time_and_a_failure_never() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let fixture = with_anna().await;
    let settings = LoginSettings { success_lifetime: Millis(3_600_000), ..Config::default().login };
    let long = authenticator(&fixture, settings).await;
    for host in 1..=21 {
        log_in(&long, &format!("192.0.2.{host}"), ANNA, PASSWORD).await.unwrap();
    }
    assert_eq!(hashings(&recorder), 1, "one hashing for twenty-one logins");
    let lifetime = Millis(1);
    let settings = LoginSettings { success_lifetime: lifetime, ..Config::default().login };
    let authenticator = authenticator(&fixture, settings).await;
    log_in(&authenticator, "192.0.2.1", ANNA, PASSWORD).await.unwrap();
    tokio::time::sleep(lifetime.duration() * 2).await;
    let before = hashings(&recorder);
    log_in(&authenticator, "192.0.2.1", ANNA, PASSWORD).await.unwrap();
    assert_eq!(hashings(&recorder), before + 1, "its time is over");
    for host in 1..=3 {
        let wrong = log_in(&authenticator, &format!("192.0.2.{host}"), ANNA, "wrong").await;
        assert!(matches!(wrong, Err(LoginError::BadCredentials)), "{wrong:?}");
    }
    assert_eq!(hashings(&recorder), before + 4);
}

#[tokio::test]
async fn no_more_successes_are_remembered_than_the_bound() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let fixture = with_anna().await;
    fixture.add("bruno@pec.example").await;
    set_password(&fixture, "bruno@pec.example", PASSWORD).await;
    apply_pending(&fixture.registry, &RecordingSink::default()).await.unwrap();
    let settings = LoginSettings { successes_remembered_max: 1, ..Config::default().login };
    let authenticator = authenticator(&fixture, settings).await;
    for (login, expected) in
        [(ANNA, 1), (ANNA, 1), ("bruno@pec.example", 2), ("bruno@pec.example", 2), (ANNA, 3)]
    {
        // Two accounts with one password share nothing: each has a salt of its own.
        log_in(&authenticator, "192.0.2.1", login, PASSWORD).await.unwrap();
        assert_eq!(hashings(&recorder), expected, "{login}");
    }
}

#[tokio::test]
async fn what_another_process_changes_counts_at_once() {
    let fixture = with_anna().await;
    let authenticator = authenticator(&fixture, Config::default().login).await;
    log_in(&authenticator, "192.0.2.1", ANNA, PASSWORD).await.unwrap();
    let other = reopen(&fixture.file(), Config::default().plans).await;
    let password = PreparedPassword::new("finestra monte barca").unwrap();
    let credential = Credential::make(&password, &SystemRandom).unwrap();
    other.set_credential(&at(ANNA), &credential).await.unwrap();
    let old = log_in(&authenticator, "192.0.2.1", ANNA, PASSWORD).await;
    assert!(matches!(old, Err(LoginError::BadCredentials)), "{old:?}");
    log_in(&authenticator, "192.0.2.2", ANNA, "finestra monte barca").await.unwrap();
    other.block(&at(ANNA), "prova").await.unwrap();
    let blocked = log_in(&authenticator, "192.0.2.2", ANNA, "finestra monte barca").await;
    assert!(matches!(blocked, Err(LoginError::Blocked)), "{blocked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_logins_at_a_time_are_told_to_come_back() {
    let fixture = with_anna().await;
    let settings =
        LoginSettings { hashings_max: 1, hashings_waiting_max: 2, ..Config::default().login };
    let authenticator = Arc::new(authenticator(&fixture, settings).await);
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..12 {
        let authenticator = Arc::clone(&authenticator);
        logins.spawn(async move {
            let from = format!("192.0.2.{number}");
            log_in(&authenticator, &from, "nobody@pec.example", &format!("guess {number}")).await
        });
    }
    let results = logins.join_all().await;
    let turned_away =
        results.iter().filter(|result| matches!(result, Err(LoginError::Unavailable(_)))).count();
    assert!((1..12).contains(&turned_away), "{turned_away} of 12");
}

const ANNA: &str = "anna@pec.example";

async fn scram_keys(authenticator: &RegistryAuthenticator, login: &str) -> ScramKeys {
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    authenticator.scram_keys(Protocol::Submission, peer, login).await.unwrap()
}

async fn settled(
    authenticator: &RegistryAuthenticator,
    login: &str,
    keys: &ScramKeys,
    proven: bool,
) -> Result<Identity, LoginError> {
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    authenticator.scram_settled(Protocol::Submission, peer, login, &keys.verifier, proven).await
}

#[tokio::test]
async fn an_unknown_login_is_challenged_like_any_other_and_always_with_the_same_salt() {
    let fixture = with_anna().await;
    let first = authenticator(&fixture, Config::default().login).await;
    let known = scram_keys(&first, ANNA).await;
    let (nobody, again) = (
        scram_keys(&first, "nobody@pec.example").await,
        scram_keys(&first, "Nobody@PEC.example ").await,
    );
    let (a, b) = (&known.verifier, &nobody.verifier);
    assert_eq!((a.salt.len(), a.iterations), (b.salt.len(), b.iterations));
    assert_eq!(nobody.verifier, again.verifier);
    assert_ne!(nobody.nonce, again.nonce);
    let another = scram_keys(&first, "another@pec.example").await;
    assert_ne!(another.verifier.salt, nobody.verifier.salt);
    // After a restart, and in another process of this provider, it is the same still.
    let restarted = authenticator(&fixture, Config::default().login).await;
    assert_eq!(scram_keys(&restarted, "nobody@pec.example").await.verifier, nobody.verifier);
    let refused = settled(&first, "nobody@pec.example", &nobody, true).await;
    assert!(matches!(refused, Err(LoginError::BadCredentials)), "{refused:?}");
}

#[tokio::test]
async fn a_proof_lets_in_while_the_password_is_the_same_and_a_wrong_one_counts_as_a_failure() {
    let fixture = with_anna().await;
    let settings =
        LoginSettings { failures_per_account_and_address_max: 2, ..Config::default().login };
    let authenticator = authenticator(&fixture, settings).await;
    let keys = scram_keys(&authenticator, ANNA).await;
    assert_eq!(settled(&authenticator, ANNA, &keys, true).await.unwrap().address, ANNA);
    set_password(&fixture, ANNA, "finestra monte barca").await;
    let late = settled(&authenticator, ANNA, &keys, true).await;
    assert!(matches!(late, Err(LoginError::BadCredentials)), "{late:?}");
    let keys = scram_keys(&authenticator, ANNA).await;
    let wrong = settled(&authenticator, ANNA, &keys, false).await;
    assert!(matches!(wrong, Err(LoginError::BadCredentials)), "{wrong:?}");
    let stopped = settled(&authenticator, ANNA, &keys, true).await;
    assert!(matches!(stopped, Err(LoginError::TooManyFailures)), "{stopped:?}");
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    let keys = authenticator.scram_keys(Protocol::Imap, peer, ANNA).await;
    assert!(matches!(keys, Err(LoginError::TooManyFailures)), "{keys:?}");
}

#[tokio::test]
async fn who_got_in_from_a_source_gets_in_again_while_the_world_guesses_and_after_a_restart() {
    let fixture = with_anna().await;
    let settings = LoginSettings { failures_per_account_max: 4, ..Config::default().login };
    let first = authenticator(&fixture, settings.clone()).await;
    log_in(&first, "2001:db8:1:2::7", ANNA, PASSWORD).await.unwrap();
    let guess = async |authenticator: &RegistryAuthenticator| {
        for host in 1..=4 {
            let from = format!("192.0.2.{host}");
            let wrong = log_in(authenticator, &from, ANNA, "wrong").await;
            assert!(matches!(wrong, Err(LoginError::BadCredentials)), "{wrong:?}");
        }
    };
    guess(&first).await;
    // A fresh source of a network that has had its turn: it could be the guess that fits.
    let turn = log_in(&first, "192.0.2.98", ANNA, "wrong").await;
    assert!(matches!(turn, Err(LoginError::BadCredentials)), "{turn:?}");
    let stranger = log_in(&first, "192.0.2.99", ANNA, PASSWORD).await;
    assert!(matches!(stranger, Err(LoginError::TooManyFailures)), "{stranger:?}");
    log_in(&first, "2001:db8:1:2::8", ANNA, PASSWORD).await.unwrap();

    let restarted = authenticator(&fixture, settings).await;
    guess(&restarted).await;
    let mut again = log_in(&restarted, "2001:db8:1:2::9", ANNA, PASSWORD).await;
    // The source is written beside the login.
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        again = log_in(&restarted, "2001:db8:1:2::9", ANNA, PASSWORD).await;
    }
    again.unwrap();
}

#[tokio::test]
async fn a_holder_on_a_new_network_gets_in_while_the_world_guesses() {
    let fixture = with_anna().await;
    let settings = LoginSettings { failures_per_account_max: 4, ..Config::default().login };
    let authenticator = authenticator(&fixture, settings).await;
    for network in 1..=20 {
        for (host, expected_bad) in [(1, true), (2, network <= 2)] {
            let from = format!("198.51.{network}.{host}");
            let answer = log_in(&authenticator, &from, ANNA, "wrong").await;
            let bad = matches!(answer, Err(LoginError::BadCredentials));
            assert_eq!(bad, expected_bad, "{from}: {answer:?}");
        }
    }
    log_in(&authenticator, "203.0.113.7", ANNA, PASSWORD).await.unwrap();
    // It was the turn of his network; he himself is known from now on.
    let neighbour = log_in(&authenticator, "203.0.113.8", ANNA, PASSWORD).await;
    assert!(matches!(neighbour, Err(LoginError::TooManyFailures)), "{neighbour:?}");
    log_in(&authenticator, "203.0.113.7", ANNA, PASSWORD).await.unwrap();
    // By SCRAM the turn is taken with the answer, not with the challenge; and a login that does not
    // exist has turns like any other.
    let peer: IpAddr = "192.0.2.1".parse().unwrap();
    for _ in 0..3 {
        authenticator.scram_keys(Protocol::Imap, peer, ANNA).await.unwrap();
    }
    let keys = scram_keys(&authenticator, ANNA).await;
    let refused = settled(&authenticator, ANNA, &keys, false).await;
    assert!(matches!(refused, Err(LoginError::BadCredentials)), "{refused:?}");
    let again = authenticator.scram_keys(Protocol::Imap, peer, ANNA).await;
    assert!(matches!(again, Err(LoginError::TooManyFailures)), "{again:?}");
    for network in 1..=6 {
        let from = format!("198.51.{network}.1");
        let answer = log_in(&authenticator, &from, "nobody@pec.example", "wrong").await;
        assert!(matches!(answer, Err(LoginError::BadCredentials)), "{from}: {answer:?}");
    }
    let again = log_in(&authenticator, "198.51.6.2", "nobody@pec.example", "wrong").await;
    assert!(matches!(again, Err(LoginError::TooManyFailures)), "{again:?}");
}

#[tokio::test]
async fn a_device_with_an_old_password_keeps_neither_its_holder_out_nor_his_neighbours() {
    let fixture = with_anna().await;
    let settings = LoginSettings {
        failures_per_account_and_address_max: 3,
        failures_per_address_max: 4,
        failures_per_account_max: 4,
        ..Config::default().login
    };
    let authenticator = authenticator(&fixture, settings).await;
    let old = async |login: &str| {
        let answer = log_in(&authenticator, "192.0.2.1", login, "l'altra parola d'ordine").await;
        assert!(matches!(answer, Err(LoginError::BadCredentials)), "{login}: {answer:?}");
    };
    for _ in 0..20 {
        old(ANNA).await;
        // Nor does it tell who has an account.
        old("nobody@pec.example").await;
    }
    log_in(&authenticator, "192.0.2.1", ANNA, PASSWORD).await.unwrap();
    log_in(&authenticator, "203.0.113.1", ANNA, PASSWORD).await.unwrap();
    // It is an answer for this password only: once it is the right one, it lets in.
    set_password(&fixture, ANNA, "l'altra parola d'ordine").await;
    log_in(&authenticator, "192.0.2.1", ANNA, "l'altra parola d'ordine").await.unwrap();
    // Other passwords are guesses.
    for guess in ["uno", "due"] {
        let wrong = log_in(&authenticator, "192.0.2.1", "nobody@pec.example", guess).await;
        assert!(matches!(wrong, Err(LoginError::BadCredentials)), "{wrong:?}");
    }
    let stopped = log_in(&authenticator, "192.0.2.1", "nobody@pec.example", "tre").await;
    assert!(matches!(stopped, Err(LoginError::TooManyFailures)), "{stopped:?}");
}

#[tokio::test]
async fn an_unknown_login_announces_as_many_rounds_as_accounts_do() {
    let fixture = with_anna().await;
    for name in ["bruno", "carla", "dario"] {
        let address = format!("{name}@pec.example");
        fixture.add(&address).await;
        let mut credential =
            Credential::make(&PreparedPassword::new(PASSWORD).unwrap(), &SystemRandom).unwrap();
        credential.scram.iterations = 100_000;
        fixture.registry.set_credential(&at(&address), &credential).await.unwrap();
    }
    let first = authenticator(&fixture, Config::default().login).await;
    let restarted = authenticator(&fixture, Config::default().login).await;
    let (mut old, mut new) = (0, 0);
    for number in 0..200 {
        let login = format!("nobody{number}@pec.example");
        let verifier = scram_keys(&first, &login).await.verifier;
        match verifier.iterations {
            100_000 => old += 1,
            65_536 => new += 1,
            other => panic!("no account announces {other} rounds"),
        }
        assert_eq!(verifier.salt.len(), 16);
        assert_eq!(scram_keys(&restarted, &login).await.verifier, verifier, "{login}");
    }
    // Three accounts of four, and so do the names without one.
    assert!((110..190).contains(&old) && new > 10, "{old} and {new}");
}
