//! The own entry at its HTTPS address, read by curl and judged by openssl.

use std::{path::Path, process::Command};

use ceralacca::pec::directory::Directory;

use crate::{
    central::{Central, World, ldif},
    support::{Pair, Provider, json, metric, ports, wait_until},
};

/// Puts settings into the section `[directory]` of a provider's configuration.
pub(crate) fn configure(provider: &Provider, settings: &str) {
    let file = provider.folder.join("ceralacca.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let text = text.replace("[directory]\n", &format!("[directory]\n{settings}"));
    std::fs::write(&file, text).expect("written");
}

/// Publishes the entry of `provider` at a port, which is returned.
pub(crate) fn publish(provider: &Provider, more: &str) -> u16 {
    let [port] = ports::free();
    let settings = format!(
        "publish_listen = \"127.0.0.1:{port}\"\npublish_url = \"https://localhost:{port}/voce.ldif.p7m\"\n{more}"
    );
    configure(provider, &settings);
    port
}

/// curl on the entry; status, headers and body.
pub(crate) fn curl(port: u16, authority: &Path, arguments: &[&str]) -> (u16, String, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (headers, body) = (folder.path().join("headers"), folder.path().join("body"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(authority);
    command.arg("--dump-header").arg(&headers).arg("--output").arg(&body).args(arguments);
    command.args([
        "--write-out",
        "%{http_code}",
        &format!("https://localhost:{port}/voce.ldif.p7m"),
    ]);
    let output = command.output().expect("curl runs");
    let status = String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0);
    let headers = std::fs::read_to_string(headers).unwrap_or_default();
    (status, headers, std::fs::read(body).unwrap_or_default())
}

fn header<'a>(headers: &'a str, name: &str) -> &'a str {
    let found = headers.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    });
    found.unwrap_or_else(|| panic!("no {name}: {headers}"))
}

/// The entry as the signature vouches for it.
pub(crate) fn entry(world: &World, port: u16, authority: &Path) -> Directory {
    let (status, _, octets) = curl(port, authority, &[]);
    assert_eq!(status, 200);
    Directory::from_ldif(&world.verify(&octets, authority)).expect("a directory")
}

#[test]
fn the_entry_is_published_signed_follows_the_domains_and_is_not_sent_twice() {
    let mut pair = Pair::new("");
    let world = World::new();
    let (alfa, authority) = (&mut pair.alfa, &pair.authority);
    let secondary = "dn: providerUnit=Prova,providerName=Gestore alfa.example,o=postacert\n\
        objectClass: provider\nproviderName: Gestore alfa.example\nproviderUnit: Prova\n\
        mailReceipt: ricevute@prova.alfa.example\nmanagedDomains: prova.alfa.example\n\
        providerCertificateHash: a9993e364706816aba3e25717850c26c9cd0d89d\n\
        providerCertificate;binary:: YWJj\n";
    std::fs::write(alfa.folder.join("ambienti.ldif"), secondary).expect("written");
    let port = publish(alfa, "secondary_ldif_file = \"ambienti.ldif\"\n");
    alfa.start();

    let (status, headers, octets) = curl(port, authority, &[]);
    assert_eq!(status, 200, "{headers}");
    let kind = header(&headers, "content-type");
    assert!(kind.starts_with("application/pkcs7-mime; smime-type=signed-data"), "{kind}");
    let published = Directory::from_ldif(&world.verify(&octets, authority)).expect("a directory");
    let [main, unit] = published.records() else { panic!("{published:?}") };
    let url = format!("https://localhost:{port}/voce.ldif.p7m");
    assert_eq!((main.ldif_location.as_ref(), main.certificates.len()), (Some(&url), 1));
    assert_eq!((unit.unit.as_deref(), unit.ldif_location.as_deref()), (Some("Prova"), None));

    // Conditions, HEAD, what is not there.
    let etag = format!("If-None-Match: {}", header(&headers, "etag"));
    let since = format!("If-Modified-Since: {}", header(&headers, "last-modified"));
    for (arguments, expected) in [
        (&["--header", &etag][..], 304),
        (&["--header", &since], 304),
        (&["--header", "If-None-Match: \"other\"", "--header", &since], 200),
        (&["--head"], 200),
        (&["--data", "x"], 405),
        (&["--request-target", "/healthz"], 404),
    ] {
        let (status, headers, body) = curl(port, authority, arguments);
        assert_eq!(status, expected, "{arguments:?}: {headers}");
        assert!(expected != 304 || body.is_empty(), "{arguments:?}");
    }
    let asked = "ceralacca_directory_requests_total{status=\"304\"}";
    assert_eq!(metric(alfa, asked), 2);

    // A new domain is in it within a second or two.
    let domains = |directory: &Directory| directory.records()[0].managed_domains.len();
    alfa.administer(&["domain", "add", "nuovo.alfa.example"], "");
    let before = domains(&published);
    wait_until("the new domain is published", || {
        domains(&entry(&world, port, authority)) == before + 1
    });
    let (status, _, _) = curl(port, authority, &["--header", &etag]);
    assert_eq!(status, 200, "it is another file now");
    assert!(alfa.stop(), "{}", alfa.log());
}

#[test]
fn with_an_authority_of_clients_nobody_else_reads_the_entry() {
    let mut pair = Pair::new("");
    let (alfa, beta, authority) = (&mut pair.alfa, &mut pair.beta, &pair.authority);
    let settings = format!("publish_client_authority_file = {authority:?}\n");
    let port = publish(alfa, &settings);
    alfa.start();
    let (status, _, octets) = curl(port, authority, &[]);
    assert_eq!((status, octets.len()), (0, 0));
    let stranger = World::new();
    let pair_of = |folder: &Path, name: &str| {
        ["pem", "key"]
            .map(|end| folder.join(format!("{name}.{end}")).to_string_lossy().into_owned())
    };
    for (who, expected) in [
        (pair_of(&stranger.path("."), "agency"), 0),
        // A certificate for signing messages, and for nothing else, is what providers have.
        (pair_of(&beta.folder, "signing"), 200),
    ] {
        let [certificate, key] = &who;
        let (status, _, _) = curl(port, authority, &["--cert", certificate, "--key", key]);
        assert_eq!(status, expected, "{certificate}");
    }
    // Between two programs the signing certificate is all that is needed.
    let settings = format!(
        "url = \"https://127.0.0.1:{port}/voce.ldif.p7m\"\ntls_authority_file = {authority:?}\n\
         signer_certificate_file = {:?}\n",
        alfa.folder.join("signing.pem"),
    );
    configure(beta, &settings);
    beta.start();
    let shown = json(beta, &["directory", "show"]);
    assert!(shown["signer"].as_str().is_some_and(|signer| signer.contains("alfa")), "{shown}");
    assert_eq!(shown["failure"], serde_json::Value::Null);
}

#[test]
fn commands_show_list_fetch_accept_and_verify() {
    let mut pair = Pair::new("");
    let world = World::new();
    let alfa = &mut pair.alfa;
    let names = ["Uno", "Due", "Tre", "Quattro"];
    let central = Central::start(&world, &world.sign(&ldif(&names), "agency"));
    let settings = format!(
        "url = \"{}\"\ntls_authority_file = {authority:?}\nsigner_certificate_file = {signer:?}\n\
         client_certificate_file = {signer:?}\nclient_key_file = {key:?}\n",
        central.url(),
        authority = world.path("authority.pem"),
        signer = world.path("agency.pem"),
        key = world.path("agency.key"),
    );
    configure(alfa, &settings);
    let stopped = alfa.run(&["directory", "show"], "");
    assert_ne!(stopped.status.code(), Some(0), "no server runs");
    alfa.start();
    let shown = json(alfa, &["directory", "show"]);
    // Four of the copy and this one: Beta of the file is not in what was signed.
    assert_eq!((&shown["providers"], &shown["held"]), (&5.into(), &serde_json::Value::Null));
    assert_eq!(metric(alfa, "ceralacca_directory_providers"), 5);
    assert!(metric(alfa, "ceralacca_directory_instant_seconds") > 1_700_000_000);
    let found = json(alfa, &["directory", "list", "--domain", "PEC.due.example"]);
    assert_eq!((found[0]["name"].as_str(), found.as_array().map(Vec::len)), (Some("Due"), Some(1)));
    let hash = found[0]["certificates"][0]["sha1"].as_str().expect("a hash").to_uppercase();
    let found = json(alfa, &["directory", "list", "--hash", &hash]);
    assert_eq!(found[0]["service_mailbox"], "ricevute@due.example");
    let nobody = alfa.run(&["directory", "list", "--domain", "nessuno.example"], "");
    assert_eq!(nobody.status.code(), Some(3));
    assert_eq!(json(alfa, &["directory", "fetch"]), "unchanged");

    central.give(&world.sign(&ldif(&names[..1]), "agency"));
    let held = alfa.run(&["directory", "fetch"], "");
    let said = String::from_utf8_lossy(&held.stderr).into_owned();
    assert_eq!(held.status.code(), Some(4), "{said}");
    assert_eq!(metric(alfa, "ceralacca_directory_held"), 1);
    let waits = json(alfa, &["directory", "show"])["held"].clone();
    assert_eq!(waits["changes"]["lost"][0], "Due");
    let digest = waits["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(
        json(alfa, &["directory", "accept", &digest])["lost"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(json(alfa, &["directory", "show"])["providers"], 2);
    assert_eq!(
        alfa.run(&["directory", "accept", &digest], "").status.code(),
        Some(3),
        "none waits"
    );

    let file = alfa.folder.join("prova.p7m");
    std::fs::write(&file, world.sign(&ldif(&names), "agency")).expect("written");
    let path = file.to_string_lossy().into_owned();
    assert_eq!(json(alfa, &["directory", "verify", &path])["domains"], 4);
    std::fs::write(&file, world.sign(&ldif(&names), "tls")).expect("written");
    let wrong = alfa.run(&["directory", "verify", &path], "");
    assert_eq!(wrong.status.code(), Some(1), "{}", String::from_utf8_lossy(&wrong.stderr));
}

#[test]
fn keys_are_listed_added_rolled_and_removed() {
    let mut alfa = Provider::alone();
    alfa.start();
    let first = json(&alfa, &["keys", "list"]);
    assert_eq!((&first[0]["state"], &first[0]["configured"]), (&"signs".into(), &true.into()));
    assert_eq!(first[0]["deviations"].as_array().map(Vec::len), Some(0));
    let end = first[0]["not_after_millis"].as_u64().expect("an instant") / 1_000;
    assert_eq!(metric(&alfa, "ceralacca_certificate_end_seconds{use=\"signing\"}"), end);
    // The development authority makes the next one.
    let added = json(&alfa, &["keys", "add"]);
    assert_eq!(added[1]["state"], "waiting", "{added}");
    let sha1 = added[1]["sha1"].as_str().expect("a name").to_owned();
    let rolled = json(&alfa, &["keys", "roll", &sha1]);
    assert_eq!(rolled[1]["state"], "next", "{rolled}");
    let moment = |name: &str| rolled[1][name].as_i64().expect("an instant");
    assert_eq!(moment("signs_from_millis") - moment("listed_from_millis"), 48 * 3_600_000);
    assert_eq!(json(&alfa, &["directory", "show"])["providers"], 1);
    let own = json(&alfa, &["directory", "list"]);
    assert_eq!(own[0]["certificates"].as_array().map(Vec::len), Some(2));
    assert_eq!(json(&alfa, &["keys", "remove", &sha1]).as_array().map(Vec::len), Some(1));
    let own = json(&alfa, &["directory", "list"]);
    assert_eq!(own[0]["certificates"].as_array().map(Vec::len), Some(1));
    let unknown = alfa.run(&["keys", "roll", &sha1], "");
    assert_eq!(unknown.status.code(), Some(3), "{}", String::from_utf8_lossy(&unknown.stderr));
}
