//! The whole program with its packs in a bucket: SMTP and IMAP in, a restart and a crash in between,
//! IMAP out; and a server that it must refuse.

#[path = "../../storage/tests/support/seaweedfs.rs"]
mod seaweedfs;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use base64::Engine as _;
use seaweedfs::{ACCESS_KEY, BUCKET, Cluster, SECRET_KEY};
use support::{PASSWORD, Pair, Provider, json, list, mail_client, metric, run, wait_until};
use trust::random::{RandomSource as _, SeededRandom};

/// Puts the packs of `provider` into the bucket behind `port`.
fn use_bucket(provider: &Provider, port: u16) {
    std::fs::write(provider.folder.join("s3-secret"), format!("{SECRET_KEY}\n")).expect("written");
    let section = format!(
        "\n[objects]\nkind = \"s3\"\nendpoint = \"http://127.0.0.1:{port}\"\nallow_http = true\n\
         bucket = \"{BUCKET}\"\nprefix = \"gestore/posta\"\naccess_key = \"{ACCESS_KEY}\"\n\
         secret_key_file = \"s3-secret\"\ntries_max = 3\nconnect_timeout = \"500 ms\"\n\
         parts_above = \"5 MB\"\npart_octets = \"5 MB\"\n"
    );
    let file = std::fs::File::options().append(true).open(provider.folder.join("ceralacca.toml"));
    file.expect("the configuration").write_all(section.as_bytes()).expect("written");
}

/// A message with an attachment of `octets` that does not compress.
fn message(number: u64, octets: usize) -> Vec<u8> {
    let mut attachment = vec![0; octets];
    SeededRandom::new(number).fill(&mut attachment);
    let encoded = base64::engine::general_purpose::STANDARD.encode(attachment);
    let mut text = format!(
        "From: anna@pec.beta.example\r\nSubject: allegato {number}\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    for line in encoded.as_bytes().chunks(76) {
        let _ = write!(text, "{}\r\n", String::from_utf8_lossy(line));
    }
    text.into_bytes()
}

fn curl(provider: &Provider, authority: &Path, target: &str, more: &[&str]) -> Vec<u8> {
    let url = format!("imaps://localhost:{}/{target}", provider.ports.imaps);
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(authority);
    command.args(["--user", &format!("anna@pec.beta.example:{PASSWORD}"), &url]).args(more);
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What was read came from the bucket, and `store stats` says so as `/metrics` does.
fn assert_caches(provider: &Provider) {
    wait_until("chunks on their way to the disk are there, and both say the same", || {
        let caches = json(provider, &["store", "stats"])["store"]["caches"].clone();
        ["memory", "disk"].iter().all(|cache| {
            let figure = |name: &str| caches[cache][name].as_u64().expect("a figure");
            assert!(figure("misses") > 0, "{caches:#}");
            assert!(figure("octets") <= figure("octets_max"), "{caches:#}");
            let metric = |name: &str| {
                metric(provider, &format!("ceralacca_chunk_cache_{name}{{cache=\"{cache}\"}}"))
            };
            let told = ["hits_total", "misses_total", "octets", "entries"].map(metric);
            figure("entries") > 0 && told == ["hits", "misses", "octets", "entries"].map(figure)
        })
    });
}

#[test]
fn a_provider_keeps_its_mail_in_a_bucket_across_a_stop_and_a_crash() {
    let cluster = Cluster::start(2);
    let mut pair = Pair::new("");
    let authority = pair.authority.clone();
    let beta = &mut pair.beta;
    use_bucket(beta, cluster.port());
    beta.start();
    let mails: Vec<Vec<u8>> = [(1, 3 << 20), (2, 9 << 20), (3, 300_000)]
        .map(|(number, octets)| message(number, octets))
        .into();
    for (number, mail) in mails.iter().enumerate() {
        let file = beta.folder.join(format!("{number}.eml"));
        std::fs::write(&file, mail).expect("written");
        curl(beta, &authority, "INBOX", &["--upload-file", &file.to_string_lossy()]);
    }
    assert!(
        metric(beta, "ceralacca_object_requests_total{operation=\"put\",outcome=\"done\"}") > 0
    );
    let port = beta.ports.submissions.to_string();
    let ca = authority.to_string_lossy().into_owned();
    let (anna, bruno) = (beta.address("anna"), beta.address("bruno"));
    let submitted =
        run(mail_client(&["submit", "localhost", &port, &ca, &anna, "1", "2", &bruno]), PASSWORD);
    assert!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));
    wait_until("the envelopes are there", || list(beta, &authority, &bruno, "INBOX").len() == 2);
    for round in 0..2 {
        if round == 0 {
            assert!(beta.stop());
        } else {
            beta.kill();
        }
        // What is read now comes from the bucket.
        std::fs::remove_dir_all(beta.folder.join("data/object_cache")).expect("removed");
        beta.start();
        for (number, mail) in mails.iter().enumerate() {
            let read = curl(beta, &authority, &format!("INBOX;UID={}", number + 1), &[]);
            assert!(read == *mail, "message {number} after restart {round}");
        }
        assert_caches(beta);
        assert_eq!(list(beta, &authority, &bruno, "INBOX").len(), 2);
    }
    assert!(beta.stop());
    beta.administer(&["store", "check"], "");
}

#[test]
fn a_provider_whose_object_store_is_away_does_not_start_and_says_what_to_do() {
    let free = {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        held.local_addr().expect("bound").port()
    };
    let pair = Pair::new("");
    use_bucket(&pair.beta, free);
    let refused = pair.beta.run(&["serve"], "");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("[objects] endpoint"), "{text}");
}
