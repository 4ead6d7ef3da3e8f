//! OAUTHBEARER by curl on submission, IMAP and POP3, with an issuer whose keys are fetched over HTTPS.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use trust::clock::{Clock as _, SystemClock};

use crate::{
    issuer::{AUDIENCE, ISSUER, IssuerPair, claims, jwk_set},
    provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run},
    submission::LETTER,
    support::{ports, wait_until},
};

/// `openssl s_server`, which answers `GET /name` with the file of that name.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn https(folder: &Path, port: u16, authority: &Path) -> Server {
    let own = |name| authority.with_file_name(name);
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(["s_server", "-quiet", "-WWW", "-accept"]);
    command.arg(format!("127.0.0.1:{port}"));
    command.arg("-cert").arg(own("tls.pem")).arg("-key").arg(own("tls.key"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Server(command.spawn().expect("openssl runs: run `scripts/bootstrap test`"))
}

fn now() -> i64 {
    SystemClock.now().seconds()
}

fn curl(provider: &Provider, login: &str, token: &str, arguments: &[&str]) -> Printed {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]);
    command.arg(provider.own_authority());
    command.args(["--user", &format!("{login}:"), "--oauth2-bearer", token]);
    command.args(["--login-options", "AUTH=OAUTHBEARER"]).args(arguments);
    run(command)
}

#[test]
fn curl_logs_in_by_a_token_on_every_protocol() {
    let [port] = ports::free();
    // Two sections after the lines of [listen].
    let settings = format!(
        "[oauth]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         keys_url = \"https://127.0.0.1:{port}/keys.json\"\n\
         tls_authority_file = \"data/authority/authority.pem\"\nkeys_retry = \"200 ms\"\n"
    );
    let pair = IssuerPair::rsa("first", "RS256", 2_048);
    let mut provider = Provider::start_with(&settings);
    provider.file("keys.json", &jwk_set(&[&pair]));
    let ports = provider.ports;
    let (anna, bruno) =
        (pair.token(&claims(ANNA, now() + 600)), pair.token(&claims(BRUNO, now() + 600)));
    let inbox = format!("imaps://localhost:{}/INBOX", ports.imaps);
    let examine = ["--url", &inbox, "--request", "EXAMINE INBOX"];
    // Nobody has the keys yet: this is no wrong token.
    assert_eq!(curl(&provider, ANNA, &anna, &examine).status, 67);
    let server = https(&provider.folder, port, &provider.own_authority());
    wait_until("the keys are fetched", || curl(&provider, ANNA, &anna, &examine).status == 0);

    let letter = provider.file("letter", LETTER);
    let submission = format!("smtps://localhost:{}", ports.submissions);
    let letter = letter.display().to_string();
    let sending =
        ["--url", &submission, "--mail-from", ANNA, "--mail-rcpt", BRUNO, "--upload-file", &letter];
    let sent = curl(&provider, ANNA, &anna, &sending);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
    let url = format!("imap://localhost:{}/INBOX/;UID=1", ports.imap);
    let by_imap = curl(&provider, BRUNO, &bruno, &["--url", &url, "--ssl-reqd"]);
    assert_eq!(by_imap.status, 0, "{}", by_imap.complaint);
    let url = format!("pop3s://localhost:{}/1", ports.pop3s);
    let by_pop3 = curl(&provider, BRUNO, &bruno, &["--url", &url]);
    assert_eq!(by_pop3.status, 0, "{}", by_pop3.complaint);
    assert_eq!(by_imap.text, by_pop3.text);
    let by_password = provider.curl(BRUNO, PASSWORD, &["--url", &url]);
    assert_eq!(by_password.text, by_pop3.text);

    // Somebody else's token, one that has expired, and one that nobody signed.
    let forger = IssuerPair::rsa("first", "RS256", 2_048);
    let expired = pair.token(&claims(BRUNO, now() - 600));
    for token in [&anna, &expired, &forger.token(&claims(BRUNO, now() + 600))] {
        for url in [&url, &submission, &inbox] {
            let refused = curl(&provider, BRUNO, token, &["--url", url]);
            assert_eq!(refused.status, 67, "{url}: {}", refused.complaint);
        }
    }
    // The last good copy counts after a restart without the issuer.
    drop(server);
    assert!(provider.stop());
    provider.start_again();
    let again = curl(&provider, ANNA, &anna, &examine);
    assert_eq!(again.status, 0, "{}", again.complaint);
}
