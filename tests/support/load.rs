//! Submissions from Mario to Anna in the background, and what mailboxes then hold of them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use trust::clock::{Clock as _, SystemClock};

use super::{PASSWORD, Pair, mail_client};

/// A client that submits numbered messages over one connection; each acknowledged number with the
/// instant at which the client knew. It ends when its server does.
pub(crate) struct Load {
    acknowledged: Arc<Mutex<BTreeMap<u64, i64>>>,
    client: std::thread::JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(pair: &Pair, first: u64, count: u64) -> Self {
        let authority = pair.authority.to_string_lossy().into_owned();
        let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
        let port = pair.alfa.ports.submissions.to_string();
        let (first, count) = (first.to_string(), count.to_string());
        let mut client =
            mail_client(&["submit", "localhost", &port, &authority, &mario, &first, &count, &anna])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // The provider is killed under it.
                .stderr(Stdio::null())
                .spawn()
                .expect("the client starts");
        writeln!(client.stdin.take().expect("piped"), "{PASSWORD}").expect("read by the client");
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let noted = Arc::clone(&acknowledged);
        let client = std::thread::spawn(move || {
            let lines = BufReader::new(client.stdout.take().expect("piped")).lines();
            for line in lines.map_while(Result::ok) {
                let number = line.trim().parse().expect("a number");
                noted.lock().expect("unpoisoned").insert(number, SystemClock.now().0);
            }
            client.wait().expect("the client ends");
        });
        Self { acknowledged, client }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("unpoisoned").len()
    }

    pub(crate) fn end(self) -> BTreeMap<u64, i64> {
        self.client.join().expect("the client ends");
        self.acknowledged.lock().expect("unpoisoned").clone()
    }
}

/// How often each submitted message is in a mailbox, by kind of its certification data.
pub(crate) fn counts(messages: &[Value], kind: &str) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for message in messages.iter().filter(|message| message["daticert"]["tipo"] == kind) {
        let name = message["daticert"]["msgid"].as_str().expect("a Message-ID");
        let number = name.trim_start_matches("<prova.").split('@').next().expect("a number");
        *counts.entry(number.parse().expect("a number")).or_default() += 1;
    }
    counts
}
