//! Restores from snapshots, asked for on the command line and done by the server, beside mail clients and kills.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::support::{PASSWORD, Provider, json, metric, run, wait_until};

/// In steps of twenty messages, half a second each: what a command saw is still nearly so when the next
/// thing is done, on a busy machine too.
const SLOW: &str = "[snapshots]\nenabled = false\n[snapshots.restore]\n\
     messages_per_second_max = 40\nbatch_messages_max = 20\n";

/// What each mailbox has: Message-ID, SHA-256, flags and INTERNALDATE of its messages.
pub(crate) type Mailboxes = BTreeMap<String, Vec<Vec<String>>>;

/// A provider with `anna`, whose mailboxes a client fills and reads.
pub(crate) struct House {
    pub(crate) provider: Provider,
    pub(crate) anna: String,
}

impl House {
    pub(crate) fn new(more: &str) -> Self {
        let mut provider = Provider::alone_with(more);
        provider.start();
        let anna = provider.address("anna");
        Self { provider, anna }
    }

    /// What `mailboxes.py` prints.
    pub(crate) fn client(&self, words: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mailboxes.py");
        let mut command = Command::new("python3");
        let port = self.provider.ports.imaps.to_string();
        command.args([script, "localhost", &port]).arg(self.provider.own_authority());
        command.arg(&self.anna).args(words);
        let output = run(command, PASSWORD);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Every mailbox, each in an order of its own: a restore gives new UIDs.
    pub(crate) fn shown(&self) -> Mailboxes {
        let shown: Mailboxes = serde_json::from_str(&self.client(&["show"])).expect("JSON");
        let sorted = |mut rows: Vec<_>| {
            rows.sort();
            rows
        };
        shown.into_iter().map(|(name, rows)| (name, sorted(rows))).collect()
    }

    /// What a mail program shows that shows only what is subscribed to.
    fn subscribed(&self) -> Vec<String> {
        serde_json::from_str(&self.client(&["subscribed"])).expect("JSON")
    }

    pub(crate) fn snapshot(&self, words: &[&str]) -> Value {
        let (word, rest) = words.split_first().expect("a word");
        json(&self.provider, &[&["snapshot", word, &self.anna][..], rest].concat())
    }

    /// Asks for a restore from the latest snapshot; its number.
    fn restore(&self, words: &[&str]) -> String {
        let begun = self.snapshot(&[&["restore", "latest"][..], words].concat());
        assert_eq!(begun["state"], "running", "{begun}");
        begun["number"].to_string()
    }

    fn status(&self, number: &str) -> Value {
        self.snapshot(&["restore-status", number])[0].clone()
    }

    /// Waits until a restore does not run any more, and returns how it stands.
    fn ended(&self, number: &str) -> Value {
        let mut status = Value::Null;
        wait_until("the restore has ended", || {
            status = self.status(number);
            status["state"] != "running"
        });
        status
    }

    /// Stops the provider; its store is sound.
    pub(crate) fn end_soundly(mut self) {
        assert!(self.provider.stop(), "{}", self.provider.log());
        let report = json(&self.provider, &["store", "check"]);
        assert_eq!(report["clean"], true, "{report:#}");
    }
}

#[test]
fn restores_end_after_each_kill_and_each_message_is_there_once() {
    let mut house = House::new(SLOW);
    house.client(&["fill", "INBOX", "0", "100"]);
    house.client(&["fill", "Clienti", "100", "30"]);
    house.client(&["fill", "Clienti/Rossi", "130", "50"]);
    let name = house.snapshot(&["take"])["name"].as_str().expect("a name").to_owned();
    let before = house.shown();
    house.client(&["empty", "INBOX", "Clienti"]);
    house.client(&["remove", "Clienti/Rossi"]);
    // What came since stays, and what stands is left alone.
    house.client(&["fill", "INBOX", "5000", "3"]);
    let jobs = [house.restore(&[]), house.restore(&["--in-place"])];
    let done = |house: &House| -> u64 {
        jobs.iter().map(|job| house.status(job)["done"].as_u64().expect("a number")).sum()
    };
    for enough in [40, 120, 200, 260] {
        wait_until("a part is restored", || done(&house) >= enough);
        house.provider.kill();
        // Asked for without a server: nothing goes on meanwhile.
        let at_the_kill = done(&house);
        assert!((enough..360).contains(&at_the_kill), "not in the middle: {at_the_kill}");
        house.provider.start();
    }
    for job in &jobs {
        let status = house.ended(job);
        let state = (&status["state"], &status["restored"]);
        assert_eq!(state, (&"done".into(), &180.into()), "{status}");
    }
    let mut after = house.shown();
    let subscribed = house.subscribed();
    for mailbox in ["Clienti", "Clienti/Rossi"] {
        let beside = format!("Ripristino {name}/{mailbox}");
        for shown in [mailbox, &beside] {
            assert!(subscribed.iter().any(|one| one == shown), "{shown}: {subscribed:?}");
        }
    }
    for (mailbox, rows) in before.iter().filter(|(_, rows)| !rows.is_empty()) {
        let beside = after.remove(&format!("Ripristino {name}/{mailbox}"));
        assert_eq!(beside.as_ref(), Some(rows), "{mailbox}");
    }
    after.retain(|mailbox, _| !mailbox.starts_with("Ripristino"));
    let inbox = after.get_mut("INBOX").expect("INBOX");
    assert_eq!(inbox.len(), 103);
    inbox.retain(|row| !row[0].starts_with("<500"));
    assert_eq!(after, before);
    assert!(metric(&house.provider, "ceralacca_snapshot_restores_total{outcome=\"done\"}") > 0);
    let running = || metric(&house.provider, "ceralacca_snapshot_restores_open{state=\"running\"}");
    wait_until("the metrics say that none runs", || running() == 0);
    house.end_soundly();
}

#[test]
fn a_message_a_mailbox_and_an_account_come_back_where_they_were_or_beside() {
    let house = House::new(SLOW);
    house.client(&["fill", "INBOX", "0", "40"]);
    house.client(&["fill", "Clienti", "40", "30"]);
    house.client(&["fill", "Clienti/Rossi", "70", "10"]);
    let name = house.snapshot(&["take"])["name"].as_str().expect("a name").to_owned();
    let before = house.shown();
    // Copies elsewhere, as in a folder of one's own, and what lies in the trash hold up nothing.
    house.client(&["copy", "INBOX", "Cestino", "40"]);
    house.client(&["empty", "INBOX", "Clienti", "Clienti/Rossi"]);

    // One message, beside; and where it was.
    let one = house.restore(&["--mailbox", "INBOX", "--uid", "7"]);
    let into = house.ended(&one)["into"].as_str().expect("a mailbox").to_owned();
    assert_eq!(into, format!("Ripristino {name}"));
    let seventh = || before["INBOX"].iter().filter(|row| row[0] == "<6@client.example>");
    assert!(house.shown()[&format!("{into}/INBOX")].iter().eq(seventh()));
    // Names as mail programs may write them.
    let one = house.restore(&["--mailbox", "inbox", "--uid", "7", "--in-place"]);
    assert_eq!(house.ended(&one)["into"], Value::Null);
    assert!(house.shown()["INBOX"].iter().eq(seventh()));

    // One mailbox without those below it, and with them, a second time without anything new.
    let only = house.restore(&["--mailbox", "Clienti", "--only", "--in-place"]);
    assert_eq!(house.ended(&only)["restored"], 30);
    let shown = house.shown();
    assert_eq!((&shown["Clienti"], shown["Clienti/Rossi"].len()), (&before["Clienti"], 0));
    let below = house.restore(&["--mailbox", "Clienti/", "--in-place"]);
    let status = house.ended(&below);
    assert_eq!((&status["restored"], &status["present"]), (&10.into(), &30.into()), "{status}");

    // The account, beside everything that is there.
    let whole = house.restore(&[]);
    let status = house.ended(&whole);
    assert_eq!(status["into"], format!("Ripristino {name} (2)"), "{status}");
    let after = house.shown();
    for mailbox in ["INBOX", "Clienti", "Clienti/Rossi"] {
        assert_eq!(
            after[&format!("Ripristino {name} (2)/{mailbox}")],
            before[mailbox],
            "{mailbox}"
        );
    }
    assert_eq!(after["Clienti/Rossi"], before["Clienti/Rossi"]);

    // One is cancelled: what it brought back stays, and nothing resumes it.
    let cancelled = house.restore(&[]);
    wait_until("it has begun", || house.status(&cancelled)["done"].as_u64() >= Some(20));
    assert_eq!(house.snapshot(&["restore-cancel", &cancelled])["state"], "cancelled");
    let done = house.status(&cancelled)["done"].as_u64().expect("a number");
    assert_eq!(house.snapshot(&["restore-resume", &cancelled])["state"], "cancelled");
    let left = &house.shown()[&format!("Ripristino {name} (3)/INBOX")];
    assert_eq!(left.len() as u64, done.min(40), "{}", house.status(&cancelled));
    assert!(done < 80, "the cancellation must come into the middle");
    for word in ["restore-cancel", "restore-status"] {
        let unknown = ["snapshot", word, &house.anna, "99"];
        assert_eq!(house.provider.run(&unknown, "").status.code(), Some(3), "{word}");
    }
    house.end_soundly();
}

#[test]
fn over_quota_a_restore_stops_with_what_fits_and_goes_on_when_there_is_room() {
    let house = House::new("[snapshots]\nenabled = false\n");
    // 1 GB of plan base, filled by copies of one message of 4 MB.
    house.client(&["large", "Allegati", "4000000", "120"]);
    house.snapshot(&["take"]);
    house.client(&["copy", "Allegati", "Altro", "100"]);
    house.client(&["empty", "Allegati"]);
    house.client(&["copy", "Altro", "Altro", "90"]);
    let number = house.restore(&["--mailbox", "Allegati"]);
    let status = house.ended(&number);
    assert_eq!(status["state"], "stopped", "{status}");
    let room = (1_u64 << 30) / 4_000_000 - 190;
    assert_eq!(status["restored"].as_u64(), Some(room), "all that fits: {status}");
    let told = house.provider.run_with(
        &[("LANG", "it_IT.UTF-8")],
        &["snapshot", "restore-status", &house.anna, &number],
    );
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("fermo") && told.contains("spazio esaurito"), "{told}");
    // Without more room it stops where it was.
    assert_eq!(house.snapshot(&["restore-resume", &number])["state"], "running");
    assert_eq!(house.ended(&number)["restored"].as_u64(), Some(room));
    house.provider.administer(&["account", "quota", &house.anna, "--add-gb", "1"], "");
    house.snapshot(&["restore-resume", &number]);
    let status = house.ended(&number);
    assert_eq!((&status["state"], &status["restored"]), (&"done".into(), &120.into()), "{status}");
    house.end_soundly();
}
