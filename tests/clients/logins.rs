//! Logging in by SCRAM: clients of others, with and without binding to the TLS connection.

use std::process::Command;

use crate::{
    provider::{ANNA, BRUNO, PASSWORD, Printed, Provider, run},
    reading::python_script,
    submission::{LETTER, msmtp},
};

fn gsasl(provider: &Provider, mechanism: &str, password: &str) -> Printed {
    let mut command = Command::new("gsasl");
    let port = provider.ports.submission;
    command.args(["--smtp", "--connect", &format!("localhost:{port}"), "--mechanism", mechanism]);
    command.args(["--authentication-id", ANNA, "--authorization-id", "", "--password", password]);
    command.arg("--x509-ca-file").arg(provider.own_authority());
    run(command)
}

/// GnuTLS speaks TLS 1.3 here, so that this is `tls-exporter` (RFC 9266).
#[test]
fn gsasl_binds_its_login_to_the_connection_under_tls_1_3() {
    let provider = Provider::start();
    let entered = gsasl(&provider, "SCRAM-SHA-256-PLUS", PASSWORD);
    assert_eq!(entered.status, 0, "{}{}", entered.text, entered.complaint);
    assert!(entered.text.contains("235 2.7.0 "), "{}", entered.text);
    let refused = gsasl(&provider, "SCRAM-SHA-256-PLUS", "wrong password");
    assert!(!refused.text.contains("235 "), "{}", refused.text);
}

/// Python's library knows `tls-unique` only.
#[test]
fn a_login_is_bound_to_its_connection_under_tls_1_2_on_every_port() {
    let provider = Provider::start();
    let done = run(python_script(&provider, "scram.py"));
    assert_eq!(done.status, 0, "{}", done.complaint);
}

#[test]
fn msmtp_proves_its_password_and_submits() {
    let provider = Provider::start();
    let sent = msmtp(&provider, "scram-sha-256", PASSWORD, LETTER);
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
    let refused = msmtp(&provider, "scram-sha-256", "wrong password", LETTER);
    // EX_NOPERM
    assert_eq!(refused.status, 77, "{}", refused.complaint);
}
