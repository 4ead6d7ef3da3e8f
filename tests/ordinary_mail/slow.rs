//! What DNS that takes its time can do for a sender who forges another's domain: nothing.

use std::{sync::Arc, time::Duration};

use ceralacca::{
    config::{Config, DnsSettings, OrdinaryMailSettings, units::Millis},
    names::Names,
    ordinary_mail::{Examined, OrdinaryMailChecks, verdict::Verdict},
};

use crate::{
    OTHER, World, assert_found, found, keys::Key, letter, name_server::WrongServer, sender,
};

const GIULIA: &str = "giulia@pass.test";

/// Checks that ask a server silent about every name with `slow` in it, and wait for a part of a second.
fn checks(
    world: &World,
    change: impl FnOnce(&mut OrdinaryMailSettings),
) -> (Arc<OrdinaryMailChecks>, WrongServer) {
    let server = WrongServer::start_before(&world.server, "slow");
    let names = Names::open(&DnsSettings {
        servers: vec![server.address],
        timeout: Millis::minutes(1),
        ..Config::default().dns
    });
    let mut settings = Config::default().ordinary_mail;
    settings.check_time_max = Millis::seconds(1);
    change(&mut settings);
    let names = names.expect("names");
    (OrdinaryMailChecks::new(&settings, &names, "mail.gestore.example"), server)
}

/// Gives `message` of `from` to `checks`.
async fn examined(checks: &Arc<OrdinaryMailChecks>, from: &str, message: &[u8]) -> Examined {
    checks.examine(message.to_vec().into(), sender(OTHER, from)).await
}

/// A letter from `from` with ten signatures of another, whose keys are not to be had.
fn forged(from: &str) -> Vec<u8> {
    let letter = letter(from);
    let signatures: String = (0..10)
        .map(|number| Key::signature(&format!("slow{number}.test"), "sel", &letter))
        .collect();
    [signatures.as_bytes(), &letter].concat()
}

fn by_dmarc() -> Verdict {
    Verdict::RefuseByDmarc { domain: "pass.test".to_owned() }
}

#[tokio::test]
async fn signatures_of_others_take_no_time_from_the_policy_nor_from_the_authors_own() {
    let world = World::shared();
    let (checks, _server) = checks(&world, |_| {});
    // The reverse path is slow, too.
    let found = examined(&checks, "io@slow.test", &forged(GIULIA)).await;
    assert_found(&found, &["spf=temperror", "dkim=temperror", "dmarc=fail"]);
    assert_eq!(found.verdict, by_dmarc());
    let mut own = Key::signature("pass.test", "sel", &letter(GIULIA)).into_bytes();
    own.splice(0..0, forged(GIULIA).drain(..forged(GIULIA).len() - letter(GIULIA).len()));
    own.extend(letter(GIULIA));
    let found = examined(&checks, "io@slow.test", &own).await;
    assert_found(&found, &["dkim=pass", "dmarc=pass"]);
    assert_eq!(found.verdict, Verdict::Take);
}

#[tokio::test]
async fn while_a_domain_may_disown_a_message_it_waits() {
    let world = World::shared();
    let (strict, _server) = checks(&world, |_| {});
    let (lenient, _server) = checks(&world, |settings| settings.dmarc_reject = false);
    // The key of the author's own signature is not to be had.
    for (from, verdict) in [(GIULIA, Verdict::Later), ("giulia@other.test", Verdict::Take)] {
        let domain = from.trim_start_matches("giulia@");
        let signature = Key::signature(domain, "slow", &letter(from));
        let message = [signature.as_bytes(), &letter(from)].concat();
        let found = examined(&strict, from, &message).await;
        assert_found(&found, &["spf=fail", "dkim=temperror", "dmarc=temperror"]);
        assert_eq!(found.verdict, verdict, "{from}");
        assert_eq!(examined(&lenient, from, &message).await.verdict, Verdict::Take);
    }
    // Nor is the policy.
    let from = "giulia@slow.test";
    let found = examined(&strict, from, &letter(from)).await;
    assert_found(&found, &["dmarc=temperror"]);
    assert_eq!(found.verdict, Verdict::Later);
    assert_eq!(examined(&lenient, from, &letter(from)).await.verdict, Verdict::Take);
}

#[tokio::test]
async fn the_wait_for_a_turn_takes_no_time_from_the_checks_and_has_an_end() {
    let world = World::shared();
    let one_at_a_time = |settings: &mut OrdinaryMailSettings| settings.checks_max = 1;
    let (patient, _server) = checks(&world, one_at_a_time);
    let message = forged(GIULIA);
    let three = [(); 3].map(|()| examined(&patient, "io@slow.test", &message));
    for found in futures::future::join_all(three).await {
        assert_eq!(found.verdict, by_dmarc(), "{}", found.results);
    }
    let (impatient, server) = checks(&world, |settings| {
        one_at_a_time(settings);
        settings.check_time_max = Millis::minutes(1);
        settings.waiting_time_max = Millis(100);
    });
    let busy = tokio::spawn({
        let (checks, message) = (Arc::clone(&impatient), message.clone());
        async move { examined(&checks, "io@slow.test", &message).await }
    });
    while server.questions() == 0 {
        tokio::task::yield_now().await;
    }
    let late = examined(&impatient, "io@slow.test", &message).await;
    assert_found(&late, &["spf=temperror", "dkim=temperror", "dmarc=temperror"]);
    assert_eq!(late.verdict, Verdict::Later);
    assert!(!found(&late, "spf=fail"));
    busy.abort();
}

#[tokio::test]
async fn a_network_that_keeps_checks_busy_keeps_no_other_waiting() {
    let world = World::shared();
    let (checks, server) = checks(&world, |settings| {
        settings.checks_max = 2;
        settings.check_time_max = Millis::minutes(1);
        settings.waiting_time_max = Millis::minutes(1);
    });
    let flood: Vec<_> = (1..10)
        .map(|host| {
            let (checks, message) = (Arc::clone(&checks), forged(GIULIA));
            let from = sender(&format!("203.0.113.{host}"), "io@slow.test");
            tokio::spawn(async move { checks.examine(message.into(), from).await })
        })
        .collect();
    while server.questions() == 0 {
        tokio::task::yield_now().await;
    }
    let other = sender("198.51.100.1", "giulia@soft.test");
    let message = letter("giulia@soft.test");
    let examined = checks.examine(message.into(), other);
    let found = tokio::time::timeout(Duration::from_secs(20), examined).await;
    assert_eq!(found.expect("its turn").verdict, Verdict::Take);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}
