//! What hostile messages and silent servers can use up, and what they can write.

use std::time::{Duration, Instant};

use ceralacca::{
    config::{
        Config, DnsSettings, OrdinaryMailSettings,
        units::{Millis, Octets},
    },
    names::Names,
    ordinary_mail::{OrdinaryMailChecks, verdict::Verdict},
};

use crate::{
    ALLOWED, OTHER, World, assert_found, found,
    keys::Key,
    letter, methods,
    name_server::{Wrong, WrongServer},
    sender, signed,
};

const GIULIA: &str = "giulia@pass.test";

#[tokio::test]
async fn the_signatures_of_a_large_message_are_not_looked_at_and_it_is_not_refused() {
    let world = World::shared();
    let small = |settings: &mut OrdinaryMailSettings| settings.check_octets_max = Octets(100);
    let message = signed("pass.test", &letter(GIULIA));
    let examined = world.examine(OTHER, GIULIA, &message, small).await;
    let reason = "dkim=policy (message too large to be checked)";
    assert_found(&examined, &["spf=fail", reason, "dmarc=fail"]);
    assert_eq!(examined.verdict, Verdict::Take, "its signature might have spoken for it");
}

#[tokio::test]
async fn what_is_signed_over_too_many_fields_to_be_looked_at_waits() {
    let world = World::shared();
    let refused = Verdict::RefuseByDmarc { domain: "pass.test".to_owned() };
    let fields = |number| "X-Field: one\r\n".repeat(number).into_bytes();
    let own = letter(GIULIA);
    let names = |number| {
        let names = vec!["from"; number].join(":");
        let tags = "v=1; a=rsa-sha256; d=pass.test; s=sel; bh=AAAA; b=AAAA";
        format!("DKIM-Signature: {tags}; h={names}\r\n").into_bytes()
    };
    let reason = "dkim=policy (header too large to be checked)";
    for (message, dkim, verdict) in [
        ([fields(1_001), signed("pass.test", &own)].concat(), reason, Verdict::Later),
        ([fields(900), signed("pass.test", &own)].concat(), "dkim=pass", Verdict::Take),
        // Without a signature there is nothing that might speak for it.
        ([fields(1_001), own.clone()].concat(), "dkim=none", refused.clone()),
        ([names(257), own.clone()].concat(), reason, Verdict::Later),
        ([names(256), own.clone()].concat(), "dkim=neutral", refused),
    ] {
        let examined = world.examine(OTHER, GIULIA, &message, |_| {}).await;
        assert_found(&examined, &[dkim]);
        assert_eq!(examined.verdict, verdict, "{dkim}");
        let lenient = |settings: &mut OrdinaryMailSettings| settings.dmarc_reject = false;
        let examined = world.examine(OTHER, GIULIA, &message, lenient).await;
        assert_eq!(examined.verdict, Verdict::Take);
    }
}

#[tokio::test]
async fn no_more_signatures_are_looked_at_than_the_limit() {
    let world = World::shared();
    let signature = Key::signature("nothing.test", "sel", &letter(GIULIA));
    let broken = "DKIM-Signature: v=1; nonsense\r\n";
    let mut message = (signature.repeat(30) + &broken.repeat(30)).into_bytes();
    message.extend(letter(GIULIA));
    let three = |settings: &mut OrdinaryMailSettings| settings.signatures_max = 3;
    let examined = world.examine(ALLOWED, GIULIA, &message, three).await;
    let methods = methods(&examined);
    let dkim = methods.iter().filter(|method| method.starts_with("dkim=")).count();
    assert!((1..=7).contains(&dkim), "{methods:?}");
    assert_found(&examined, &["dkim=policy (further signatures not checked)"]);
    assert_eq!(examined.verdict, Verdict::Take, "SPF speaks for it");
    // What is left out speaks for nobody: the signature of the author's domain comes first, wherever
    // it stands.
    let refused = Verdict::RefuseByDmarc { domain: "pass.test".to_owned() };
    let examined = world.examine(OTHER, GIULIA, &message, three).await;
    assert_eq!(examined.verdict, refused);
    let own = signed("pass.test", &letter(GIULIA));
    let examined = world
        .examine(OTHER, GIULIA, &[signature.repeat(30).as_bytes(), &own].concat(), three)
        .await;
    assert_found(&examined, &["dkim=pass", "dmarc=pass"]);
    assert_eq!(examined.verdict, Verdict::Take);
}

#[tokio::test]
async fn no_name_of_a_peer_breaks_out_of_the_field() {
    let world = World::shared();
    let long = "x".repeat(5_000);
    let domains = [
        "è.test",
        "a\rb.test",
        "a;b=c.test",
        "\"q\"@x.test",
        "(c).test",
        "",
        &format!("{long}.test"),
        "xn--.test",
        "..",
        "[192.0.2.1]",
    ];
    for domain in domains {
        let from = format!("io@{domain}");
        let mut message = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d={domain}; s={domain}; i=@{domain}; h=from; bh=AAAA; b=AAAA\r\n"
        )
        .into_bytes();
        message.extend(letter(&from));
        let mut sender = sender(OTHER, &from);
        sender.helo = format!("{domain}\r\nX-Evil: yes");
        let mut settings = Config::default().ordinary_mail;
        // Else such authors are refused, and nothing is written about them.
        settings.dmarc_reject = false;
        let checks = OrdinaryMailChecks::new(&settings, &world.names, "mail.gestore.example");
        let examined = checks.examine(message.into(), sender).await;
        for line in examined.results.split("\r\n") {
            let plain = |octet: u8| matches!(octet, b'\t' | b' '..=b'~');
            assert!(line.len() <= 900 && line.bytes().all(plain), "{domain}: {line:?}");
        }
        let folded = examined.results.split("\r\n").skip(1).all(|line| line.starts_with('\t'));
        assert!(folded, "{domain}: {}", examined.results);
    }
}

#[tokio::test]
async fn a_message_without_a_header_is_examined_like_any_other() {
    let world = World::shared();
    for message in
        [&b""[..], b"\r\n", b"\r\nbody\r\n", b"no header at all", b"From: \r\n\r\n", b":\r\n"]
    {
        let examined = world.examine(OTHER, GIULIA, message, |_| {}).await;
        assert_found(&examined, &["spf=fail", "dmarc=none"]);
        assert_eq!(examined.verdict, Verdict::Take);
    }
}

#[tokio::test]
async fn checks_end_in_time_whatever_dns_does() {
    let silent = WrongServer::start(Wrong::Silent);
    let names = Names::open(&DnsSettings {
        servers: vec![silent.address],
        timeout: Millis::minutes(1),
        ..Config::default().dns
    });
    let mut settings = Config::default().ordinary_mail;
    settings.check_time_max = Millis(200);
    let checks = OrdinaryMailChecks::new(&settings, &names.expect("names"), "mail.gestore.example");
    let begin = Instant::now();
    let examined = checks.examine(letter(GIULIA).into(), sender(OTHER, GIULIA)).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "the bound is 200 ms");
    assert_found(&examined, &["spf=temperror", "dkim=none", "dmarc=temperror"]);
    assert_eq!(examined.verdict, Verdict::Later, "its domain may disown it");
    assert!(!found(&examined, "spf=fail"));
}
