//! Python's poplib, and IMAPClient, with all they can do.

use crate::{
    provider::{BRUNO, Provider, run},
    reading::python_script,
};

fn script(provider: &Provider, name: &str) {
    let done = run(python_script(provider, name));
    assert_eq!(done.status, 0, "{}", done.complaint);
}

#[test]
fn poplib_reads_lists_and_deletes_every_sample_and_deletes_nothing_without_quit() {
    let provider = Provider::start();
    let before = provider.put_samples(BRUNO, "INBOX", "\\Flagged");
    script(&provider, "pop.py");
    let after = provider.view(BRUNO, &[]);
    // The script took these; what stays is as it was, flags and UIDs too.
    let mut expected = before;
    let inbox = expected.get_mut("INBOX").unwrap();
    for name in ["rotto", "senza-fine"] {
        assert!(inbox.messages.remove(name).is_some());
    }
    assert_eq!(after, expected);
}

#[test]
fn imapclient_does_all_it_can_do() {
    let provider = Provider::start();
    provider.samples();
    script(&provider, "imap_client.py");
}
