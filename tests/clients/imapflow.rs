//! imapflow, the client of applications on Node.js: it enables IMAP4rev2, UTF-8 and QRESYNC by itself.

use std::{path::Path, process::Command};

use crate::provider::{ANNA, Provider, run};

/// A script of `npm`, with ports and accounts in its environment and the packages that the bootstrap put into the cache.
pub(crate) fn node_script(provider: &Provider, script: &str) -> Command {
    let modules = std::env::var("CERALACCA_NODE_MODULES").unwrap_or_else(|_| {
        let cache = std::env::var("XDG_CACHE_HOME")
            .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
        format!("{cache}/ceralacca/npm/node_modules")
    });
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/npm").join(script));
    provider.tell(&mut command);
    command.env("NODE_MODULES", modules);
    command
}

#[test]
fn imapflow_keeps_up_with_an_account_and_learns_what_it_missed() {
    let provider = Provider::start();
    let samples = provider.samples();
    let mut command = node_script(&provider, "mailboxes.js");
    command.env("RECIPIENT", ANNA);
    let done = run(command);
    assert_eq!(done.status, 0, "{}", done.complaint);
    // Another eye sees what is left.
    let view = provider.view(ANNA, &[]);
    let gone = ["annidato", "senza-corpo", "senza-fine"];
    let mut left = samples;
    left.retain(|name, _| !gone.contains(&&**name));
    assert_eq!(view["Pratiche/Città & altre"].octets(), left);
    assert!(view["Archivio"].messages.keys().eq(["annidato", "otto-bit"]));
}
