//! Submission: what is accepted comes back as receipts, what is wrong gets the standard's answer.

use std::process::Command;

use crate::{
    imapflow::node_script,
    provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run, run_with_input},
};

/// A message of Anna's to Bruno.
pub(crate) const LETTER: &str = "Message-ID: <1@client.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n\
    From: anna@pec.alfa.example\r\nTo: bruno@pec.alfa.example\r\nSubject: Prova\r\n\r\nBuongiorno.\r\n";

fn curl_submit(provider: &Provider, letter: &str, user: &str, password: &str, to: &str) -> Printed {
    let file = provider.file("letter.eml", letter);
    let url = format!("smtps://localhost:{}", provider.ports.submissions);
    let file = file.to_string_lossy();
    let arguments = ["--url", &url, "--mail-from", ANNA, "--mail-rcpt", to, "--upload-file", &file];
    provider.curl(user, password, &arguments)
}

/// Runs swaks on the submission port with STARTTLS.
fn swaks(provider: &Provider, extra: &[&str]) -> Printed {
    let mut command = Command::new("swaks");
    let port = provider.ports.submission.to_string();
    command.args(["--server", "localhost", "--port", &port, "--timeout", "20", "--tls"]);
    command.args(["--tls-verify", "--tls-ca-path"]).arg(provider.own_authority());
    command.args(["--ehlo", "client.example", "--from", ANNA]).args(extra);
    run(command)
}

#[test]
fn curl_submits_over_implicit_tls_and_both_parties_get_what_the_rules_say() {
    let provider = Provider::start();
    let sent = curl_submit(&provider, LETTER, ANNA, PASSWORD, BRUNO);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1, "the transport envelope");
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2, "acceptance and delivery receipt");
    assert_eq!(provider.with_header(BRUNO, "X-Trasporto", "posta-certificata"), 1);
    assert_eq!(provider.with_header(ANNA, "X-Ricevuta", "accettazione"), 1);
    assert_eq!(provider.with_header(ANNA, "X-Ricevuta", "avvenuta-consegna"), 1);
}

#[test]
fn a_wrong_password_is_refused_before_any_message() {
    let provider = Provider::start();
    let sent = curl_submit(&provider, LETTER, ANNA, "wrong password", BRUNO);
    // curl: 67 = the server denied the login.
    assert_eq!(sent.status, 67, "{}", sent.complaint);
    // What is sent afterwards is all that arrives.
    assert_eq!(curl_submit(&provider, LETTER, ANNA, PASSWORD, BRUNO).status, 0);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
}

#[test]
fn swaks_submits_after_starttls() {
    let provider = Provider::start();
    let header = "Subject: Prova con swaks";
    let login = ["--auth", "PLAIN", "--auth-user", ANNA, "--auth-password", PASSWORD];
    let sent = swaks(&provider, &[&["--to", BRUNO, "--header", header], &login[..]].concat());
    assert_eq!(sent.status, 0, "{}{}", sent.text, sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
}

#[test]
fn swaks_without_login_is_refused() {
    let provider = Provider::start();
    let sent = swaks(&provider, &["--to", BRUNO]);
    assert_ne!(sent.status, 0);
    assert!(sent.text.contains(" 530 5.7.0 "), "{}", sent.text);
}

#[test]
fn a_blind_recipient_gets_nothing_and_the_sender_a_notice() {
    let provider = Provider::start();
    let letter = LETTER.replace("Subject:", "Bcc: bruno@pec.alfa.example\r\nSubject:");
    let sent = curl_submit(&provider, &letter, ANNA, PASSWORD, BRUNO);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(ANNA, 1), 1, "the notice of non-acceptance");
    assert_eq!(provider.with_header(ANNA, "X-Ricevuta", "non-accettazione"), 1);
    // The notice ends the transmission: nothing is on its way to the recipient.
    assert_eq!(provider.wait_for_messages(BRUNO, 0), 0);
}

#[test]
fn a_recipient_who_does_not_exist_becomes_a_notice_of_non_delivery() {
    let provider = Provider::start();
    let nobody = "nobody@pec.alfa.example";
    let letter = LETTER.replace(BRUNO, nobody);
    let sent = curl_submit(&provider, &letter, ANNA, PASSWORD, nobody);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2, "acceptance, then non-delivery");
    assert_eq!(provider.with_header(ANNA, "X-Ricevuta", "accettazione"), 1);
    assert_eq!(provider.with_header(ANNA, "X-Ricevuta", "errore-consegna"), 1);
}

/// Runs msmtp on the submission port with STARTTLS; the letter comes on its standard input.
pub(crate) fn msmtp(provider: &Provider, mechanism: &str, password: &str, letter: &str) -> Printed {
    let file = provider.file("letter.eml", &letter.replace("\r\n", "\n"));
    let mut command = Command::new("msmtp");
    let port = provider.ports.submission.to_string();
    command.args(["--file=/dev/null", "--host=localhost", "--port", &port, "--tls=on"]);
    command.arg("--tls-starttls=on").arg("--tls-trust-file").arg(provider.own_authority());
    command.arg(format!("--auth={mechanism}")).args(["--user", ANNA, "--from", ANNA]);
    command
        .arg(format!("--passwordeval=echo '{password}'"))
        .args(["--domain=client.example", BRUNO]);
    run_with_input(command, &file)
}

#[test]
fn msmtp_submits_after_starttls() {
    let provider = Provider::start();
    let sent = msmtp(&provider, "plain", PASSWORD, LETTER);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2);
}

#[test]
fn nodemailer_submits_over_a_pool_and_reads_refusals() {
    let provider = Provider::start();
    let sent = run(node_script(&provider, "submit.js"));
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 3), 3);
}

/// The plan's 50 messages a minute (of the account's type, "base"), by Python's smtplib.
#[test]
fn the_message_above_the_plans_minute_is_put_off_in_both_languages() {
    let provider = Provider::start();
    let sent = crate::reading::python(&provider, "flood");
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 50), 50);
}
