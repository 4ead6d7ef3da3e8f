//! What the domain of a sender asks for, and what speaks for a message.

use ceralacca::{config::OrdinaryMailSettings, ordinary_mail::verdict::Verdict};
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, MessageAuthenticator, arc::ArcSealer,
    common::headers::HeaderWriter as _,
};

use crate::{
    ALLOWED, OTHER, World, assert_found, changed, found,
    keys::{RFC_8463_MESSAGE, SIGNER},
    letter, methods, signed,
};

const GIULIA: &str = "giulia@pass.test";

fn by_dmarc(domain: &str) -> Verdict {
    Verdict::RefuseByDmarc { domain: domain.to_owned() }
}

#[tokio::test]
async fn a_server_that_spf_allows_speaks_for_its_domain() {
    let world = World::shared();
    let examined = world.examine(ALLOWED, GIULIA, &letter(GIULIA), |_| {}).await;
    assert_found(&examined, &["spf=pass", "dkim=none", "dmarc=pass header.from=pass.test"]);
    assert_eq!(examined.verdict, Verdict::Take);
    // RFC 7208 §2.4: without a reverse path it is the server's own name.
    let examined = world.examine(ALLOWED, "", &letter("mailer-daemon@mx.pass.test"), |_| {}).await;
    assert_found(&examined, &["spf=pass", "dmarc=pass header.from=mx.pass.test"]);
    assert!(examined.results.contains("smtp.helo=mx.pass.test"), "{}", examined.results);
}

#[tokio::test]
async fn what_nothing_speaks_for_is_refused_where_the_domain_asks_for_it() {
    let world = World::shared();
    let examined = world.examine(OTHER, GIULIA, &letter(GIULIA), |_| {}).await;
    assert_found(&examined, &["spf=fail", "dmarc=fail"]);
    assert_eq!(examined.verdict, by_dmarc("pass.test"));
    // The domain of another reverse path speaks for itself only.
    let forged = world.examine(ALLOWED, "io@other.test", &letter(GIULIA), |_| {}).await;
    assert_found(&forged, &["spf=pass", "dmarc=fail"]);
    assert_eq!(forged.verdict, by_dmarc("pass.test"));
    let lenient = |settings: &mut OrdinaryMailSettings| settings.dmarc_reject = false;
    let examined = world.examine(OTHER, GIULIA, &letter(GIULIA), lenient).await;
    assert_found(&examined, &["dmarc=fail"]);
    assert_eq!(examined.verdict, Verdict::Take, "the configuration does not obey");
}

/// RFC 7489 §6.6.1.
#[tokio::test]
async fn of_several_authors_each_domain_is_asked_and_the_strictest_counts() {
    let world = World::shared();
    let own = "io@other.test";
    for from in [format!("<{own}>, Giulia <{GIULIA}>"), format!("Giulia <{GIULIA}>, {own}")] {
        let text = String::from_utf8(letter(own)).expect("UTF-8");
        let message = text.replace(&format!("Giulia Bianchi <{own}>"), &from);
        let examined = world.examine(ALLOWED, own, message.as_bytes(), |_| {}).await;
        assert_found(&examined, &["dmarc=pass header.from=other.test", "dmarc=fail"]);
        assert_eq!(examined.verdict, by_dmarc("pass.test"), "{from}");
        let message = signed("pass.test", message.as_bytes());
        let examined = world.examine(ALLOWED, own, &message, |_| {}).await;
        assert_eq!(examined.verdict, Verdict::Take, "something speaks for each");
    }
}

#[tokio::test]
async fn a_second_from_field_and_a_crowd_of_domains_are_refused() {
    let world = World::shared();
    let own = "io@other.test";
    let second = ["from: <x@y.test>\r\n".as_bytes(), &letter(own)].concat();
    let addresses: Vec<String> = (0..5).map(|number| format!("a@d{number}.other.test")).collect();
    let crowd = letter(&addresses.join(">, <"));
    for message in [second, crowd] {
        let examined = world.examine(ALLOWED, own, &message, |_| {}).await;
        assert_eq!(examined.verdict, Verdict::RefuseAuthors);
        let lenient = |settings: &mut OrdinaryMailSettings| settings.dmarc_reject = false;
        let examined = world.examine(ALLOWED, own, &message, lenient).await;
        assert_eq!(examined.verdict, Verdict::Take);
    }
}

#[tokio::test]
async fn a_domain_of_from_that_cannot_be_asked_for_is_refused_and_a_long_local_part_hides_none() {
    let world = World::shared();
    let own = "io@other.test";
    let label = "x".repeat(64);
    for domain in [
        format!("{label}.pass.test"),
        // A name of its own, but not behind `_dmarc.`.
        format!("{}pass.test", "abc.".repeat(60)),
        format!("{}pass.test", "x.".repeat(400)),
        "a..pass.test".to_owned(),
    ] {
        let message = letter(&format!("giulia@{domain}"));
        let examined = world.examine(ALLOWED, own, &message, |_| {}).await;
        assert_eq!(examined.verdict, Verdict::RefuseAuthors, "{domain}");
        let lenient = |settings: &mut OrdinaryMailSettings| settings.dmarc_reject = false;
        let examined = world.examine(ALLOWED, own, &message, lenient).await;
        assert_eq!(examined.verdict, Verdict::Take, "{domain}");
    }
    let message = letter(&format!("{}@pass.test", "giulia".repeat(100)));
    let examined = world.examine(ALLOWED, own, &message, |_| {}).await;
    assert_eq!(examined.verdict, by_dmarc("pass.test"));
}

#[tokio::test]
async fn a_signature_speaks_for_its_domain_until_an_octet_changes() {
    let world = World::shared();
    let message = signed("pass.test", &letter(GIULIA));
    let examined = world.examine(OTHER, GIULIA, &message, |_| {}).await;
    assert_found(&examined, &["spf=fail", "dkim=pass", "dmarc=pass"]);
    assert_eq!(examined.verdict, Verdict::Take);
    let examined = world.examine(OTHER, GIULIA, &changed(&message), |_| {}).await;
    assert!(!found(&examined, "dkim=pass"), "{}", examined.results);
    assert_eq!(examined.verdict, by_dmarc("pass.test"));
    let examined =
        world.examine(OTHER, GIULIA, &signed("other.test", &letter(GIULIA)), |_| {}).await;
    assert_found(&examined, &["dkim=pass", "dmarc=fail"]);
    assert_eq!(examined.verdict, by_dmarc("pass.test"), "another's signature is not aligned");
}

#[tokio::test]
async fn both_signatures_of_rfc_8463_pass() {
    let world = World::shared();
    let (from, message) = ("joe@football.example.com", RFC_8463_MESSAGE.as_bytes());
    let examined = world.examine(OTHER, from, message, |_| {}).await;
    let passed = |selector: &str| {
        let methods = methods(&examined);
        let of = |method: &&String| {
            method.starts_with("dkim=pass") && method.contains(&format!("header.s={selector}"))
        };
        methods.iter().any(|method| of(&method))
    };
    assert!(passed("brisbane") && passed("test"), "{}", examined.results);
    assert_eq!(examined.verdict, Verdict::Take);
}

#[tokio::test]
async fn softer_policies_are_told_and_not_enforced() {
    let world = World::shared();
    let from = "giulia@soft.test";
    let examined = world.examine(OTHER, from, &letter(from), |_| {}).await;
    assert_found(&examined, &["spf=softfail", "dmarc=fail"]);
    assert!(examined.results.contains("policy.dmarc=quarantine"), "{}", examined.results);
    assert_eq!(examined.verdict, Verdict::Take);
    let from = "giulia@nothing.test";
    let examined = world.examine(OTHER, from, &letter(from), |_| {}).await;
    assert_found(&examined, &["spf=none", "dkim=none", "dmarc=none"]);
    assert_eq!(examined.verdict, Verdict::Take);
}

#[tokio::test]
async fn a_provider_may_refuse_what_spf_excludes() {
    let world = World::shared();
    let strict = |settings: &mut OrdinaryMailSettings| settings.spf_reject = true;
    let message = signed("pass.test", &letter(GIULIA));
    let examined = world.examine(OTHER, GIULIA, &message, strict).await;
    assert_eq!(examined.verdict, Verdict::RefuseBySpf { domain: "pass.test".to_owned() });
    let examined = world.examine(ALLOWED, GIULIA, &message, strict).await;
    assert_eq!(examined.verdict, Verdict::Take);
}

#[tokio::test]
async fn while_dns_does_not_answer_mail_is_taken_or_waits() {
    let world = World::shared();
    // The zone that is included is on no server: SERVFAIL.
    let from = "giulia@broken.test";
    let examined = world.examine(OTHER, from, &letter(from), |_| {}).await;
    assert_found(&examined, &["spf=temperror", "dmarc=temperror"]);
    assert_eq!(examined.verdict, Verdict::Later, "its domain may disown it");
    let lenient = |settings: &mut OrdinaryMailSettings| settings.dmarc_reject = false;
    let examined = world.examine(OTHER, from, &letter(from), lenient).await;
    assert_eq!(examined.verdict, Verdict::Take, "nothing would follow");
    let from = "giulia@vague.test";
    let examined = world.examine(OTHER, from, &letter(from), |_| {}).await;
    assert_found(&examined, &["spf=temperror", "dmarc=temperror"]);
    assert_eq!(examined.verdict, Verdict::Take, "its domain disowns nothing");
    let patient = |settings: &mut OrdinaryMailSettings| settings.defer_on_dns_failure = true;
    let examined = world.examine(OTHER, from, &letter(from), patient).await;
    assert_eq!(examined.verdict, Verdict::Later);
    let examined = world.examine(ALLOWED, GIULIA, &letter(GIULIA), patient).await;
    assert_eq!(examined.verdict, Verdict::Take, "what is known does not wait");
}

/// `message` as the list `list.test` hands it on: changed, and sealed with what it says that it found.
async fn through_the_list(world: &World, message: &[u8], said: &str) -> Vec<u8> {
    sealed_by_the_list(world, &changed(message), said).await
}

async fn sealed_by_the_list(world: &World, message: &[u8], said: &str) -> Vec<u8> {
    let authenticator = MessageAuthenticator(world.names.resolver());
    let parsed = AuthenticatedMessage::parse(message).expect("a message");
    let arc = authenticator.verify_arc(&parsed).await;
    let host = format!("list.test; {said}");
    let results = AuthenticationResults::new(&host);
    let sealer = ArcSealer::from_key(SIGNER.private()).domain("list.test").selector("arc");
    let sealer = sealer.headers(["From", "To", "Subject", "Date", "DKIM-Signature"]);
    let set = sealer.seal(&parsed, &results, &arc).expect("a seal");
    [set.to_header().as_bytes(), message].concat()
}

#[tokio::test]
async fn a_trusted_seal_speaks_only_with_a_result_of_its_own() {
    let world = World::shared();
    let message = letter(GIULIA);
    let trusting = |settings: &mut OrdinaryMailSettings| {
        settings.arc_trusted = vec!["list.test".parse().expect("a domain")];
    };
    for (said, verdict) in [
        ("dmarc=pass", Verdict::Take),
        ("dmarc=fail reason=\"dmarc=pass\"", by_dmarc("pass.test")),
        ("dmarc=fail (not dmarc=pass)", by_dmarc("pass.test")),
    ] {
        let sealed = through_the_list(&world, &message, said).await;
        let examined = world.examine(OTHER, "list-bounces@list.test", &sealed, trusting).await;
        assert_found(&examined, &["dmarc=fail", "arc=pass"]);
        assert_eq!(examined.verdict, verdict, "{said}");
    }
}

#[tokio::test]
async fn the_seal_of_a_trusted_list_speaks_for_what_it_changed() {
    let world = World::shared();
    let message = signed("pass.test", &letter(GIULIA));
    let sealed = through_the_list(&world, &message, "dmarc=pass").await;
    let from = "list-bounces@list.test";
    let examined = world.examine(OTHER, from, &sealed, |_| {}).await;
    assert_found(&examined, &["dmarc=fail", "arc=pass"]);
    assert_eq!(examined.verdict, by_dmarc("pass.test"), "anybody can seal");
    let trusting = |settings: &mut OrdinaryMailSettings| {
        settings.arc_trusted = vec!["list.test".parse().expect("a domain")];
    };
    let examined = world.examine(OTHER, from, &sealed, trusting).await;
    assert_eq!(examined.verdict, Verdict::Take);
    let text = String::from_utf8(sealed).expect("UTF-8").replace("Due righe.", "Tre righe.");
    let examined = world.examine(OTHER, from, text.as_bytes(), trusting).await;
    assert!(!found(&examined, "arc=pass"), "{}", examined.results);
    assert_eq!(examined.verdict, by_dmarc("pass.test"), "the seal is broken");
}

#[tokio::test]
async fn a_trusted_chain_that_is_too_long_to_be_looked_at_makes_the_message_wait() {
    let world = World::shared();
    let sealed = through_the_list(&world, &letter(GIULIA), "dmarc=pass").await;
    let sealed = sealed_by_the_list(&world, &sealed, "dmarc=pass").await;
    let from = "list-bounces@list.test";
    for (sets_max, trusted, verdict, arc) in [
        (2, true, Verdict::Take, "arc=pass"),
        (1, true, Verdict::Later, "arc=policy (chain not checked)"),
        (1, false, by_dmarc("pass.test"), "arc=policy (chain not checked)"),
    ] {
        let settings = |settings: &mut OrdinaryMailSettings| {
            settings.signatures_max = sets_max;
            if trusted {
                settings.arc_trusted = vec!["list.test".parse().expect("a domain")];
            }
        };
        let examined = world.examine(OTHER, from, &sealed, settings).await;
        assert_found(&examined, &["dkim=none", "dmarc=fail", arc]);
        assert_eq!(examined.verdict, verdict, "{sets_max} {trusted}");
    }
}
