//! A message erased beside the running server, and space added to an account: what clients then see.

use serde_json::Value;

use crate::{
    provider::{ANNA, BRUNO, PASSWORD, Printed},
    reading::{python, with_an_envelope},
};

fn json(printed: &Printed) -> Value {
    assert_eq!(printed.status, 0, "{}", printed.complaint);
    serde_json::from_str(&printed.text).unwrap()
}

/// How many places of `outcome` have that fate.
fn places(outcome: &Value, fate: &str) -> usize {
    let places = outcome["places"].as_array().unwrap();
    places.iter().filter(|place| place["fate"] == fate).count()
}

#[test]
fn clients_list_a_mailbox_with_an_erased_message_and_read_the_others() {
    let provider = with_an_envelope();
    let other = provider.file("intatto.eml", "Subject: intatto\r\n\r\nTesto.\r\n");
    let url = format!("imaps://localhost:{}/INBOX", provider.ports.imaps);
    let upload = ["--url", &url, "--upload-file", other.to_str().unwrap()];
    assert_eq!(provider.curl(BRUNO, PASSWORD, &upload).status, 0);

    let why = ["--reason", "ordinanza 12", "--category", "authority", "--by", "Bianchi"];
    let erase = |more: &[&str]| {
        provider.command(&[&["message", "erase", BRUNO, "1"][..], &why, more].concat())
    };
    let alone = json(&erase(&["--dry-run"]));
    assert_eq!((places(&alone, "erased"), places(&alone, "same")), (1, 1), "{alone}");
    assert_eq!(erase(&["--everywhere"]).status, 2, "nothing without --yes");
    let erased = json(&erase(&["--everywhere", "--yes"]));
    // His envelope and the engine's own copy go; the sender's original stays, and the receipt, which the
    // provider holds as well.
    assert_eq!((places(&erased, "erased"), places(&erased, "related")), (2, 3), "{erased}");
    assert_eq!(erase(&["--yes"]).status, 4, "it was erased before");

    let url = format!("imaps://localhost:{}/INBOX/;UID=1", provider.ports.imaps);
    let read = provider.curl(BRUNO, PASSWORD, &["--url", &url]);
    assert_ne!(read.status, 0);
    let seen = python(&provider, "erased");
    assert_eq!(seen.status, 0, "{}", seen.complaint);
    assert_eq!(provider.wait_for_messages(ANNA, 2), 2);
    let check = json(&provider.command(&["store", "check"]));
    assert_eq!(check["clean"], true, "{check}");
}

#[test]
fn space_is_added_to_a_running_server_within_what_the_plan_allows() {
    let provider = with_an_envelope();
    let quota =
        |more: &[&str]| provider.command(&[&["account", "quota", BRUNO][..], more].concat());
    let before = json(&quota(&[]));
    assert_eq!(
        (&before["limit_octets"], &before["used_messages"]),
        (&(1_u64 << 30).into(), &1.into())
    );
    assert!(before["used_octets"].as_u64().unwrap() > 20_000, "{before}");
    let after = json(&quota(&["--add-gb", "2"]));
    assert_eq!(after["limit_octets"], 3_u64 << 30);
    assert_eq!(after["increments_gb"], 2);
    let refused = quota(&["--add-gb", "4"]);
    assert_eq!(refused.status, 2);
    assert!(refused.complaint.contains('5'), "{}", refused.complaint);
    assert_eq!(json(&quota(&[]))["limit_octets"], 3_u64 << 30);
}
