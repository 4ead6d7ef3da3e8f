//! The space of an account, as mail programs show it (RFC 9208).

use crate::{
    provider::{BRUNO, PASSWORD, Provider},
    reading::python,
};

/// Used and most units of STORAGE.
fn curl_asks(provider: &Provider) -> (u64, u64) {
    let url = format!("imaps://localhost:{}/", provider.ports.imaps);
    let asked = provider.curl(BRUNO, PASSWORD, &["--url", &url, "--request", "GETQUOTAROOT INBOX"]);
    assert_eq!(asked.status, 0, "{}", asked.complaint);
    let lines: Vec<&str> = asked.text.lines().collect();
    assert_eq!(lines[0], "* QUOTAROOT INBOX Casella");
    let figures = lines[1].strip_prefix("* QUOTA Casella (STORAGE ").expect("STORAGE comes first");
    let mut figures = figures.split(&[' ', ')'][..]).map_while(|word| word.parse().ok());
    (figures.next().expect("used"), figures.next().expect("a limit"))
}

#[test]
fn curl_sees_the_space_that_a_message_takes() {
    let provider = Provider::start();
    assert_eq!(curl_asks(&provider), (0, 1 << 20), "1 GB of plan base");
    let text = "x".repeat(5_000);
    let file = provider.file("peso.eml", &format!("Subject: peso\r\n\r\n{text}\r\n"));
    let url = format!("imaps://localhost:{}/INBOX", provider.ports.imaps);
    let upload = ["--url", &url, "--upload-file", file.to_str().unwrap()];
    for units in [5, 10, 15] {
        assert_eq!(provider.curl(BRUNO, PASSWORD, &upload).status, 0);
        // 5,019 octets each.
        assert_eq!(curl_asks(&provider).0, units);
    }
}

#[test]
fn pythons_imaplib_follows_the_figures_up_to_the_limit_and_is_told_overquota_there() {
    let provider = Provider::start();
    let filled = python(&provider, "quota");
    assert_eq!(filled.status, 0, "{}", filled.complaint);
}
