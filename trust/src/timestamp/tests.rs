//! Stamps made here, judged here and by OpenSSL's command; the client against a small server.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    TimestampError, TimestampSource as _, TimestampToken,
    authority::TimestampAuthority,
    client::{HttpTimestampConfig, HttpTimestampSource},
    token_of_response,
    verify::verify,
};
use crate::{
    authority::DevelopmentAuthority,
    certificate::chain::TrustedAuthorities,
    clock::{Clock as _, ManualClock, SystemClock},
    digest::Sha256Digest,
    random::SystemRandom,
};

const DATA: &[u8] = b"what was known";

struct World {
    folder: tempfile::TempDir,
    authority: DevelopmentAuthority,
    clock: Arc<ManualClock>,
    stamping: Arc<TimestampAuthority>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let random = Arc::new(SystemRandom);
        let path = folder.path().join("authority");
        let authority =
            DevelopmentAuthority::open(&path, clock.clone(), random.clone()).expect("an authority");
        let issued = authority.issue_time_stamping("Marche di prova").expect("a certificate");
        let chain = vec![authority.certificate().clone()];
        let stamping = Arc::new(TimestampAuthority::new(issued, chain, clock.clone(), random));
        let pem = authority.certificate().to_pem().expect("PEM");
        std::fs::write(folder.path().join("ca.pem"), pem).expect("written");
        std::fs::write(folder.path().join("data"), DATA).expect("written");
        Self { folder, authority, clock, stamping }
    }

    fn trusted(&self) -> TrustedAuthorities {
        TrustedAuthorities::new(vec![self.authority.certificate().clone()])
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(text)
}

#[test]
fn openssl_asks_and_verifies_the_answer() {
    let world = World::new();
    for certificates in [&["-cert"][..], &[]] {
        let query = [&["ts", "-query", "-data", "data", "-sha256", "-out", "q"][..], certificates];
        openssl(world.path(), &query.concat()).expect("a request");
        let request = std::fs::read(world.path().join("q")).expect("the request");
        let answer = world.stamping.respond(&request).expect("an answer");
        std::fs::write(world.path().join("r"), &answer).expect("written");
        let signer = world.stamping.certificate().to_pem().expect("PEM");
        std::fs::write(world.path().join("signer.pem"), signer).expect("written");
        let verify = ["ts", "-verify", "-queryfile", "q", "-in", "r", "-CAfile", "ca.pem"];
        let untrusted = ["-untrusted", "signer.pem"];
        openssl(world.path(), &[&verify[..], &untrusted].concat()).expect("verified");
        if !certificates.is_empty() {
            openssl(world.path(), &verify).expect("verified by what stands inside");
            let token = token_of_response(&answer).expect("a response").expect("granted");
            verify_now(&world, &token);
        }
    }
}

fn verify_now(world: &World, token: &TimestampToken) {
    let good = verify(token, Sha256Digest::of(DATA), &world.trusted()).expect("good");
    assert_eq!(good.instant.seconds(), world.clock.now().seconds());
    assert_eq!(good.serial_hex.len(), 32);
}

#[tokio::test]
async fn a_stamp_is_good_for_its_digest_and_its_authority_only() {
    let world = World::new();
    let digest = Sha256Digest::of(DATA);
    let token = world.stamping.stamp(digest).await.expect("a stamp");
    verify_now(&world, &token);
    let again = world.stamping.stamp(digest).await.expect("a stamp");
    assert_ne!(token, again, "every stamp has its own serial number");
    let other = verify(&token, Sha256Digest::of(b"other"), &world.trusted());
    assert!(matches!(other, Err(TimestampError::WrongDigest(_))));
    let stranger = verify(&token, digest, &World::new().trusted());
    assert!(matches!(stranger, Err(TimestampError::Untrusted(_))));
    std::fs::write(world.path().join("token"), token.as_der()).expect("written");
    let arguments =
        ["ts", "-verify", "-data", "data", "-token_in", "-in", "token", "-CAfile", "ca.pem"];
    openssl(world.path(), &arguments).expect("verified");
}

#[tokio::test]
async fn a_stamp_is_judged_at_its_own_instant() {
    let world = World::new();
    let digest = Sha256Digest::of(DATA);
    world.clock.advance(6 * 365 * 86_400_000);
    let expired = world.stamping.stamp(digest).await.expect("a stamp");
    let judged = verify(&expired, digest, &world.trusted());
    assert!(matches!(judged, Err(TimestampError::Untrusted(_))), "{judged:?}");
}

#[tokio::test]
async fn only_a_time_stamping_certificate_makes_stamps() {
    let world = World::new();
    let wrong = world.authority.issue_provider("Gestore Uno", "pec@uno.example").expect("issued");
    let stamping =
        TimestampAuthority::new(wrong, Vec::new(), world.clock.clone(), Arc::new(SystemRandom));
    let digest = Sha256Digest::of(DATA);
    let token = stamping.stamp(digest).await.expect("a stamp");
    let judged = verify(&token, digest, &world.trusted());
    assert!(matches!(judged, Err(TimestampError::Untrusted(_))), "{judged:?}");
}

#[tokio::test]
async fn no_changed_octet_of_a_token_moves_its_instant() {
    let world = World::new();
    let digest = Sha256Digest::of(DATA);
    let token = world.stamping.stamp(digest).await.expect("a stamp");
    let good = verify(&token, digest, &world.trusted()).expect("good");
    let mut refused = 0;
    for at in 0..token.as_der().len() {
        let mut tampered = token.as_der().to_vec();
        tampered[at] ^= 1;
        let tampered = TimestampToken::from_der(&tampered).expect("small");
        match verify(&tampered, digest, &world.trusted()) {
            Err(_) => refused += 1,
            Ok(found) => {
                assert_eq!(found.instant, good.instant, "octet {at}");
                assert_eq!(found.serial_hex, good.serial_hex, "octet {at}");
            }
        }
    }
    // The authority's own certificate, sent along, is not needed.
    let chain = world.authority.certificate().to_der().len();
    assert!(refused + chain + 40 > token.as_der().len(), "{refused}");
}

#[test]
fn requests_that_cannot_be_met_are_rejected_as_openssl_reads_it() {
    let world = World::new();
    for options in [&["-sha512"][..], &["-sha256", "-tspolicy", "1.2.3"]] {
        let query = [&["ts", "-query", "-data", "data", "-out", "q"][..], options].concat();
        openssl(world.path(), &query).expect("a request");
        let request = std::fs::read(world.path().join("q")).expect("the request");
        let answer = world.stamping.respond(&request).expect("an answer");
        assert!(token_of_response(&answer).expect("a response").is_err());
        std::fs::write(world.path().join("r"), answer).expect("written");
        openssl(world.path(), &["ts", "-reply", "-in", "r", "-text"]).expect("readable");
    }
    let answer = world.stamping.respond(b"garbage").expect("an answer");
    assert!(token_of_response(&answer).expect("a response").is_err());
}

/// Answers one HTTP request after the other with `answer(body)`; returns the URL.
async fn serve(answer: impl Fn(&[u8]) -> (u16, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let body = loop {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break Vec::new();
                }
                let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
                let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
                    continue;
                };
                let length =
                    text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
                if request.len() >= end + 4 + length {
                    assert!(text.contains("content-type: application/timestamp-query"));
                    break request[end + 4..].to_vec();
                }
            };
            let (status, answer) = answer(&body);
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/timestamp-reply\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &answer].concat()).await;
        }
    });
    url
}

fn client(url: &str, trusted: TrustedAuthorities) -> HttpTimestampSource {
    let timeout = Duration::from_millis(1500);
    let config = HttpTimestampConfig { url: url.to_owned(), timeout, trusted };
    HttpTimestampSource::new(config, Arc::new(SystemRandom)).expect("a client")
}

#[tokio::test]
async fn the_client_gets_a_verified_stamp_over_http() {
    let world = World::new();
    let stamping = world.stamping.clone();
    let url = serve(move |body| (200, stamping.respond(body).expect("an answer"))).await;
    let token = client(&url, world.trusted()).stamp(Sha256Digest::of(DATA)).await.expect("a stamp");
    verify_now(&world, &token);
    let stranger = World::new();
    let untrusted = client(&url, stranger.trusted()).stamp(Sha256Digest::of(DATA)).await;
    assert!(matches!(untrusted, Err(TimestampError::Untrusted(_))), "{untrusted:?}");
}

#[tokio::test]
async fn the_client_refuses_what_is_no_answer_to_its_question() {
    let world = World::new();
    let digest = Sha256Digest::of(DATA);
    let failing = serve(|_| (503, Vec::new())).await;
    let endless = serve(|_| (200, vec![0; 1 << 20])).await;
    let garbage = serve(|_| (200, b"garbage".to_vec())).await;
    let stamping = world.stamping.clone();
    let rejecting = serve(move |_| (200, stamping.respond(b"").expect("an answer"))).await;
    // A recorded answer to an earlier question for the same digest.
    let query = ["ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "q"];
    openssl(world.path(), &query).expect("a request");
    let old = std::fs::read(world.path().join("q")).expect("the request");
    let old = world.stamping.respond(&old).expect("an answer");
    let replaying = serve(move |_| (200, old.clone())).await;
    let outcome =
        async |url: &str| client(url, world.trusted()).stamp(digest).await.expect_err("refused");
    assert!(matches!(outcome(&failing).await, TimestampError::Refused { .. }));
    assert!(matches!(outcome(&endless).await, TimestampError::Refused { .. }));
    assert!(matches!(outcome(&garbage).await, TimestampError::Malformed(_)));
    assert!(matches!(outcome(&rejecting).await, TimestampError::Refused { .. }));
    assert!(matches!(outcome(&replaying).await, TimestampError::WrongNonce));
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let silent = format!("http://{}/", silent.local_addr().expect("an address"));
    let unreachable = outcome(&silent).await;
    assert!(
        matches!(unreachable, TimestampError::Unreachable { .. }) && unreachable.is_temporary()
    );
}

proptest! {
    #[test]
    fn hostile_octets_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let token = TimestampToken::from_der(&octets).expect("small");
        prop_assert!(verify(&token, Sha256Digest::of(DATA), &TrustedAuthorities::default()).is_err());
        prop_assert!(token_of_response(&octets).is_err() || octets.first() == Some(&0x30));
    }
}
