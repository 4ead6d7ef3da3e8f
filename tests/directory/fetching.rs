//! What is fetched, and what becomes of it.

use std::{collections::BTreeSet, net::Ipv4Addr, path::PathBuf, sync::Arc};

use ceralacca::{
    config::{Config, units::Millis},
    directory::{
        keeper::{DirectoryKeeper, KeeperParts},
        status::Outcome,
    },
    keys::ring::SigningRing,
    names::Names,
};
use trust::{
    authority::Issued,
    certificate::chain::{RevocationPolicy, TrustedAuthorities},
    clock::{Clock as _, ManualClock, SystemClock},
    smime::verify::Verifier,
};

use crate::central::{AGENCY, Central, World, ldif};

const TEN: [&str; 10] =
    ["Beta", "Gamma", "Delta", "Epsilon", "Zeta", "Eta", "Theta", "Iota", "Kappa", "Lambda"];

/// Alfa, whose directory is looked at.
pub(crate) struct Alfa {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) clock: Arc<ManualClock>,
    signing: Issued,
}

impl Alfa {
    pub(crate) fn new(world: &World, url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        folder.path().clone_into(&mut config.data.folder);
        "Alfa".clone_into(&mut config.provider.name);
        config.provider.mail_domain = "alfa.example".parse().expect("a domain");
        "posta-certificata@alfa.example".clone_into(&mut config.provider.service_address);
        let fetch = &mut config.directory.fetch;
        fetch.url = Some(url.parse().expect("an address"));
        fetch.tls_authority_file = Some(world.path("authority.pem"));
        fetch.signer_subject = Some(AGENCY.to_owned());
        fetch.timeout = Millis::seconds(10);
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        Self { folder, config, clock, signing: world.issue("Alfa") }
    }

    pub(crate) async fn open(&self, world: &World) -> anyhow::Result<Arc<DirectoryKeeper>> {
        let Issued { certificate, key } = self.signing.clone();
        let ring = SigningRing::open(
            &self.config.data.signing_folder(),
            (certificate, vec![world.authority.certificate().clone()], key),
            self.clock.clone(),
        )
        .expect("a ring");
        let authorities = TrustedAuthorities::new(vec![world.authority.certificate().clone()]);
        let mut dns = Config::default().dns;
        dns.servers = vec![(Ipv4Addr::LOCALHOST, 9).into()];
        let parts = KeeperParts {
            config: Arc::new(self.config.clone()),
            ring: Arc::new(ring),
            authority: None,
            verifier: Arc::new(Verifier::new(authorities, RevocationPolicy::WhenKnown)),
            lookups: Arc::new(Names::open(&dns).expect("names")),
            clock: self.clock.clone(),
        };
        DirectoryKeeper::open(parts, BTreeSet::from(["pec.alfa.example".to_owned()])).await
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("directory/current.p7m")
    }
}

async fn names(keeper: &DirectoryKeeper) -> Vec<String> {
    keeper.in_use().await.records().iter().map(|record| record.name.clone()).collect()
}

async fn failure(keeper: &DirectoryKeeper) -> String {
    let error = keeper.fetch().await.expect_err("refused");
    let text = format!("{error:#}");
    assert_eq!(keeper.status().await.failure.as_ref(), Some(&text));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_fetched_with_a_certificate_verified_and_not_sent_again_while_it_is_the_newest() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta", "Alfa"]), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    // What the copy says of this provider does not count.
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
    let own = keeper.in_use().await.records()[0].clone();
    assert_eq!(own.service_mailbox.as_str(), "posta-certificata@alfa.example");
    assert_eq!(keeper.fetch().await.expect("answered"), Outcome::Unchanged);
    let seen = central.seen(2);
    assert_eq!((&seen[0]["status"], &seen[1]["status"]), (&200.into(), &304.into()), "{seen:?}");
    assert_eq!(seen[0]["client"], "Alfa");

    central.give(&world.sign(&ldif(&["Beta", "Gamma", "Alfa"]), "agency"));
    let Outcome::Changed(changes) = keeper.fetch().await.expect("fetched") else { panic!("held") };
    assert_eq!((changes.gained, changes.lost), (vec!["Gamma".to_owned()], Vec::<String>::new()));
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Gamma"]);
    // A restart asks whether there is a newer one, and needs no answer to go on.
    drop(keeper);
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Gamma"]);
    assert_eq!(keeper.fetch().await.expect("answered"), Outcome::Unchanged);
    assert_eq!(central.seen(4)[3]["status"], 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_directory_of_its_signer_is_refused_and_the_last_good_copy_stays() {
    let world = World::new();
    let good = world.sign(&ldif(&["Beta"]), "agency");
    let central = Central::start(&world, &good);
    let mut alfa = Alfa::new(&world, &central.url());
    alfa.config.directory.fetch.octets_max.0 = 64 << 10;
    alfa.config.directory.fetch.timeout = Millis::seconds(2);
    let keeper = alfa.open(&world).await.expect("opened");

    world.write("stranger", &world.issue("Gamma"));
    let newer = ldif(&["Beta", "Gamma"]);
    let mut altered = world.sign(&newer, "agency");
    let at = altered.windows(12).position(|octets| octets == b"pec.beta.exa").expect("a domain");
    altered[at + 4] = b'z';
    let other = World::new();
    let signed = world.sign(&newer, "agency");
    let mut twice = ldif(&["Beta"]);
    let again = String::from_utf8(ldif(&["Beta"])).expect("UTF-8");
    twice.extend(again.replace("version: 1", "").replace("Beta", "Zeta").into_bytes());
    for (name, octets, says) in [
        ("altered", altered, "does not match the signed octets"),
        ("wrong signer", world.sign(&newer, "stranger"), "who is not the one"),
        ("unknown authority", other.sign(&newer, "agency"), "not trusted"),
        ("not signed", newer.clone(), "not a CMS SignedData"),
        ("half", signed[..signed.len() / 2].to_vec(), "not a CMS SignedData"),
        ("nothing", Vec::new(), "not a CMS SignedData"),
        ("no LDIF", world.sign(b"hello", "agency"), "line 1"),
        ("of nobody", world.sign(b"version: 1\n", "agency"), "no provider"),
        ("a change", world.sign(b"dn: a\nchangetype: delete\n", "agency"), "line 2"),
        ("contested", world.sign(&twice, "agency"), "claimed by both"),
        (
            "oversized",
            world.sign(&[newer.clone(), vec![b'#'; 70 << 10]].concat(), "agency"),
            "65536",
        ),
    ] {
        central.give(&octets);
        let text = failure(&keeper).await;
        assert!(text.contains(says), "{name}: {text}");
        assert_eq!(names(&keeper).await, ["Alfa", "Beta"], "{name}");
        assert_eq!(std::fs::read(alfa.copy()).expect("there"), good, "{name}");
    }
    central.give(&signed);
    for (mode, says) in [
        ("truncated", "did not come whole"),
        ("slow", "longer than"),
        ("error", "503"),
        ("redirect", "302"),
    ] {
        central.mode(mode);
        let text = failure(&keeper).await.replace("broke off", "did not come whole");
        assert!(text.contains(says), "{mode}: {text}");
        assert_eq!(names(&keeper).await, ["Alfa", "Beta"], "{mode}");
    }
    central.mode("good");
    assert!(matches!(keeper.fetch().await.expect("fetched"), Outcome::Changed(_)));
    assert_eq!((names(&keeper).await.len(), keeper.status().await.failure), (3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_has_expired_is_refused_and_what_it_signed_in_time_stays_good() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta"]), "agency"));
    for pinned in [false, true] {
        let mut alfa = Alfa::new(&world, &central.url());
        if pinned {
            let fetch = &mut alfa.config.directory.fetch;
            fetch.signer_subject = None;
            fetch.signer_certificate_file = Some(world.path("agency.pem"));
        }
        let keeper = alfa.open(&world).await.expect("opened");
        alfa.clock.advance(4 * 365 * 86_400_000);
        central.give(&world.sign(&ldif(&["Beta", "Gamma"]), "agency"));
        let text = failure(&keeper).await;
        assert!(text.contains("outside its validity"), "{text}");
        // It was valid when the copy was fetched: that copy counts, however old.
        let keeper = alfa.open(&world).await.expect("opened");
        assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
        central.give(&world.sign(&ldif(&["Beta"]), "agency"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_many_providers_waits_for_an_operator_also_over_a_restart() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&TEN), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!(keeper.accept("").await.expect("asked"), None);

    central.give(&world.sign(&ldif(&TEN[..5]), "agency"));
    let Outcome::Held { why, changes } = keeper.fetch().await.expect("fetched") else {
        panic!("taken into use")
    };
    let missing = "5 of 10 providers are missing; 5 of 10 domains are missing";
    assert_eq!((why.as_str(), changes.lost.len()), (missing, 5));
    assert_eq!(names(&keeper).await.len(), 11);
    // It is not fetched again, and waits on.
    assert_eq!(keeper.fetch().await.expect("answered"), Outcome::Unchanged);
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!(names(&keeper).await.len(), 11);
    let held = keeper.status().await.held.expect("a copy that waits");
    assert_eq!(held.why, missing);

    let other = "0".repeat(64);
    assert_eq!(keeper.accept(&other).await.expect("asked"), None, "nobody has looked at that one");
    assert_eq!(keeper.accept(&held.digest[..7]).await.expect("asked"), None);
    assert_eq!(keeper.accept(&held.digest).await.expect("taken").expect("one").lost.len(), 5);
    assert_eq!((names(&keeper).await.len(), keeper.status().await.held), (6, None));
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!(names(&keeper).await.len(), 6);

    // A better copy that comes by itself ends the waiting too.
    central.give(&world.sign(&ldif(&["Beta"]), "agency"));
    assert!(matches!(keeper.fetch().await.expect("fetched"), Outcome::Held { .. }));
    central.give(&world.sign(&ldif(&TEN[..6]), "agency"));
    assert!(matches!(keeper.fetch().await.expect("fetched"), Outcome::Changed(_)));
    assert_eq!(keeper.status().await.held, None);
}

/// Each copy alone loses no more than the bound.
#[tokio::test(flavor = "multi_thread")]
async fn providers_that_go_one_after_the_other_are_added_up_over_a_week() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&TEN), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let mut keeper = alfa.open(&world).await.expect("opened");
    let fetch = async |keeper: &DirectoryKeeper, left: &[&str]| {
        alfa.clock.advance(86_400_000);
        central.give(&world.sign(&ldif(left), "agency"));
        keeper.fetch().await.expect("fetched")
    };
    for count in [9, 8] {
        assert!(matches!(fetch(&keeper, &TEN[..count]).await, Outcome::Changed(_)), "{count}");
        keeper = alfa.open(&world).await.expect("opened");
    }
    let Outcome::Held { why, changes } = fetch(&keeper, &TEN[..7]).await else {
        panic!("taken into use")
    };
    let missing = "together with the copies of the last 3 days: 3 of 10 providers are missing; 3 of 10 domains are missing";
    assert_eq!((why.as_str(), changes.lost.len()), (missing, 3));
    assert_eq!(names(&keeper).await.len(), 9);
    let keeper = alfa.open(&world).await.expect("opened");
    let held = keeper.status().await.held.expect("a copy that waits");
    assert_eq!(held.why, missing, "over a restart too");
    // What an operator has seen is not held against the next copy.
    keeper.accept(&held.digest).await.expect("taken").expect("one");
    assert!(matches!(fetch(&keeper, &TEN[..6]).await, Outcome::Changed(_)));
    assert!(matches!(fetch(&keeper, &TEN[..5]).await, Outcome::Held { .. }));
    // After a week the count begins anew. The octets are not those of the copy that waits.
    alfa.clock.advance(7 * 86_400_000);
    assert!(matches!(fetch(&keeper, &TEN[1..6]).await, Outcome::Changed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_given_out_again_waits() {
    let world = World::new();
    let old = world.sign(&ldif(&["Beta"]), "agency");
    // signingTime counts whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let central = Central::start(&world, &world.sign(&ldif(&["Beta", "Gamma"]), "agency"));
    let mut alfa = Alfa::new(&world, &central.url());
    alfa.config.directory.fetch.lost_providers_percent_max = 100;
    let keeper = alfa.open(&world).await.expect("opened");
    central.give(&old);
    let outcome = keeper.fetch().await.expect("fetched");
    assert!(
        matches!(&outcome, Outcome::Held { why, .. } if why.contains("signed before")),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_server_down_the_last_good_copy_is_used_unless_it_was_altered_on_disk() {
    let world = World::new();
    let signed = world.sign(&ldif(&["Beta"]), "agency");
    let central = Central::start(&world, &signed);
    let alfa = Alfa::new(&world, &central.url());
    drop(alfa.open(&world).await.expect("opened"));
    drop(central);
    alfa.clock.advance(90 * 86_400_000);
    let keeper = alfa.open(&world).await.expect("opened with the server down");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
    assert!(failure(&keeper).await.contains("does not answer"));

    let mut altered = std::fs::read(alfa.copy()).expect("there");
    let at = altered.windows(12).position(|octets| octets == b"pec.beta.exa").expect("a domain");
    altered[at + 4] = b'z';
    std::fs::write(alfa.copy(), altered).expect("altered");
    let refused = alfa.open(&world).await.expect_err("no copy is left");
    assert!(format!("{refused:#}").contains("no copy of the directory yet"), "{refused:#}");
    // A file to begin with is no way around it.
    let mut alfa = alfa;
    let file = alfa.folder.path().join("gestori.ldif");
    std::fs::write(&file, ldif(&["Gamma"])).expect("written");
    alfa.config.directory.ldif_file = Some(file);
    assert!(alfa.open(&world).await.is_err());

    // With its server back nothing is believed of what stands beside the altered copy.
    let central = Central::start(&world, &signed);
    let mut again = Alfa::new(&world, &central.url());
    again.folder = alfa.folder;
    again.folder.path().clone_into(&mut again.config.data.folder);
    let keeper = again.open(&world).await.expect("fetched anew");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
    assert_eq!(central.seen(1)[0]["etag"], serde_json::Value::Null);
    assert_eq!(std::fs::read(again.copy()).expect("there"), signed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_domains_and_entry_are_never_anothers() {
    let world = World::new();
    let mut taking = crate::central::record(
        "Beta",
        &["pec.alfa.example".to_owned(), "pec.beta.example".to_owned()],
    );
    taking.certificates.push(b"more".to_vec());
    let signed = |record: &ceralacca::pec::directory::ProviderRecord| {
        let directory = ceralacca::pec::directory::Directory::new(vec![record.clone()]);
        world.sign(&directory.expect("a directory").to_ldif(), "agency")
    };
    let central = Central::start(&world, &signed(&taking));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    let directory = keeper.in_use().await;
    let whose = |domain: &str| {
        directory.provider_of_domain(&domain.parse().expect("a domain")).map(|one| one.name.clone())
    };
    assert_eq!(whose("pec.alfa.example").as_deref(), Some("Alfa"));
    assert_eq!(whose("pec.beta.example").as_deref(), Some("Beta"));
    // A domain that is registered later is taken back from whoever has it in the copy.
    keeper
        .set_domains(BTreeSet::from(["pec.alfa.example".to_owned(), "pec.beta.example".to_owned()]))
        .await
        .expect("set");
    let directory = keeper.in_use().await;
    let beta = "pec.beta.example".parse().expect("a domain");
    assert_eq!(directory.provider_of_domain(&beta).map(|one| one.name.as_str()), Some("Alfa"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_be_kept_is_fetched_again_and_not_taken_for_the_one_in_use() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta"]), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    // No file takes the place of a folder that has something in it.
    let kept = alfa.folder.path().join("kept.p7m");
    std::fs::rename(alfa.copy(), &kept).expect("moved");
    std::fs::create_dir_all(alfa.copy().join("in-the-way")).expect("a folder");
    central.give(&world.sign(&ldif(&["Beta", "Gamma"]), "agency"));
    assert!(failure(&keeper).await.contains("keeping the new copy"));
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
    std::fs::remove_dir_all(alfa.copy()).expect("removed");
    std::fs::rename(&kept, alfa.copy()).expect("moved");
    assert!(matches!(keeper.fetch().await.expect("fetched"), Outcome::Changed(_)));
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Gamma"]);
}

/// The past of a copy that is not in use would hide what goes between.
#[tokio::test(flavor = "multi_thread")]
async fn what_later_copies_are_compared_with_stays_when_an_accepted_copy_cannot_be_kept() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&TEN), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    let past = || {
        let folder = alfa.copy().with_file_name("past");
        let entries = std::fs::read_dir(folder).expect("the past");
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.expect("an entry").path();
            (path.clone(), std::fs::read(path).expect("a day"))
        };
        entries.map(read).collect::<Vec<_>>()
    };
    let before = past();
    assert_eq!(before.len(), 1);
    central.give(&world.sign(&ldif(&TEN[..5]), "agency"));
    assert!(matches!(keeper.fetch().await.expect("fetched"), Outcome::Held { .. }));
    let held = keeper.status().await.held.expect("a copy that waits");
    // No file takes the place of a folder that has something in it.
    std::fs::remove_file(alfa.copy()).expect("removed");
    std::fs::create_dir_all(alfa.copy().join("in-the-way")).expect("a folder");
    keeper.accept(&held.digest).await.expect_err("it is not kept");
    assert!(past() == before, "nothing was accepted");
    std::fs::remove_dir_all(alfa.copy()).expect("removed");
    keeper.accept(&held.digest).await.expect("taken").expect("one");
    assert!(past() != before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_put_back_on_disk_is_refused_and_what_replaces_it_is_still_weighed() {
    let world = World::new();
    let old = world.sign(&ldif(&TEN), "agency");
    // signingTime counts whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let newer = world.sign(&ldif(&TEN), "agency");
    let central = Central::start(&world, &newer);
    let alfa = Alfa::new(&world, &central.url());
    drop(alfa.open(&world).await.expect("opened"));
    std::fs::write(alfa.copy(), &old).expect("put back");
    central.give(&old);
    let refused = alfa.open(&world).await.expect_err("the same old one");
    assert!(format!("{refused:#}").contains("signed before"), "{refused:#}");
    central.give(&world.sign(&ldif(&TEN[..5]), "agency"));
    let refused = alfa.open(&world).await.expect_err("half of them");
    assert!(format!("{refused:#}").contains("5 of 10 providers are missing"), "{refused:#}");
    assert!(central.seen(3).iter().all(|seen| seen["etag"].is_null()));
    central.give(&newer);
    let keeper = alfa.open(&world).await.expect("fetched anew");
    assert_eq!(names(&keeper).await.len(), 11);
    assert_eq!(std::fs::read(alfa.copy()).expect("there"), newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_waits_without_a_note_is_nobodys_and_goes() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&TEN), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    drop(alfa.open(&world).await.expect("opened"));
    let held = alfa.copy().with_file_name("held.p7m");
    std::fs::write(&held, world.sign(&ldif(&TEN[..1]), "agency")).expect("put there");
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!((keeper.status().await.held, held.exists()), (None, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_adds_nothing_to_a_copy_that_was_signed() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta", "Gamma"]), "agency"));
    let mut alfa = Alfa::new(&world, &central.url());
    alfa.config.directory.fetch.lost_providers_percent_max = 100;
    let file = alfa.folder.path().join("gestori.ldif");
    std::fs::write(&file, ldif(&["Beta", "Gamma", "Delta"])).expect("written");
    alfa.config.directory.ldif_file = Some(file);
    central.mode("error");
    let keeper = alfa.open(&world).await.expect("opened by the file");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Gamma", "Delta"]);
    central.mode("good");
    keeper.fetch().await.expect("fetched");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Gamma"]);
    central.give(&world.sign(&ldif(&["Beta"]), "agency"));
    keeper.fetch().await.expect("fetched");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_of_ours_that_the_copy_gives_to_several_does_not_spoil_the_copy() {
    let world = World::new();
    let ours = "pec.alfa.example";
    let one = |name: &str, service: &str| {
        let domains = format!("managedDomains: {ours}\nmanagedDomains: pec.{service}.example\n");
        format!(
            "\ndn: providerName={name},o=postacert\nobjectClass: provider\nproviderName: {name}\n\
             mailReceipt: ricevute@{service}.example\n{domains}\
             providerCertificateHash: a9993e364706816aba3e25717850c26c9cd0d89d\n\
             providerCertificate;binary:: YWJj\n"
        )
    };
    let whole = [one("Alfa", "alfa"), one("Beta", "beta"), one("Gamma", "gamma")].concat();
    let central = Central::start(&world, &world.sign(whole.as_bytes(), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("taken");
    let directory = keeper.in_use().await;
    let owner_of = |domain: &str| {
        directory.provider_of_domain(&domain.parse().expect("a domain")).map(|one| one.name.clone())
    };
    assert_eq!(owner_of(ours).as_deref(), Some("Alfa"));
    assert_eq!(owner_of("pec.gamma.example").as_deref(), Some("Gamma"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signer_in_the_configuration_leaves_the_copy_that_was_taken_in_use() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta"]), "agency"));
    let mut alfa = Alfa::new(&world, &central.url());
    let fetch = &mut alfa.config.directory.fetch;
    fetch.signer_subject = None;
    fetch.signer_certificate_file = Some(world.path("agency.pem"));
    drop(alfa.open(&world).await.expect("opened"));
    world.write("successor", &world.issue("Gamma"));
    alfa.config.directory.fetch.signer_certificate_file = Some(world.path("successor.pem"));
    central.mode("error");
    let keeper = alfa.open(&world).await.expect("opened with the server down");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta"]);
    central.mode("good");
    assert!(failure(&keeper).await.contains("who is not the one"));
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    central.give(&world.sign(&ldif(&["Beta", "Delta"]), "successor"));
    let keeper = alfa.open(&world).await.expect("opened");
    assert_eq!(names(&keeper).await, ["Alfa", "Beta", "Delta"]);
    // Nobody's copy is not the one that was taken, whatever its signer.
    std::fs::write(alfa.copy(), world.sign(&ldif(&["Beta"]), "agency")).expect("put there");
    central.mode("error");
    assert!(alfa.open(&world).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_says_when_it_was_signed_is_not_followed_by_one_that_does_not() {
    let world = World::new();
    let central = Central::start(&world, &world.sign(&ldif(&["Beta"]), "agency"));
    let alfa = Alfa::new(&world, &central.url());
    let keeper = alfa.open(&world).await.expect("opened");
    central.give(&world.sign_undated(&ldif(&["Beta", "Gamma"]), "agency"));
    let outcome = keeper.fetch().await.expect("fetched");
    assert!(
        matches!(&outcome, Outcome::Held { why, .. } if why.contains("when it was signed")),
        "{outcome:?}"
    );
}
