//! Snapshots by IMAP over the store: read as they were, copied out of, changed by nobody.

use std::{sync::Arc, time::Duration};

use ceralacca::{
    config::{Config, SnapshotSettings},
    mail_access::StoreMailAccess,
};
use protocols::imap::Server;
use snapshots::{
    keep::{SnapshotLimits, Snapshots, keys, snapshot::SnapshotKind, take::Taken},
    run::Runs,
};
use storage::{
    catalog::engine::{Batch, Entries, Scan},
    ids::AccountId,
};
use trust::{clock::Clock as _, random::SeededRandom};

use super::{
    changing::{PIPELINED, REFUSED},
    operators::{House, OPERATOR, SERVICE},
    watching::{Client, server_of},
};

/// An account with snapshots, and a server that shows them.
struct Past {
    house: House,
    snapshots: Arc<Snapshots>,
    server: Server,
    account: AccountId,
}

impl Past {
    /// INBOX of the account has two messages, of which the second is flagged; none is kept open for long.
    async fn new() -> (Self, Client) {
        let house = House::new().await;
        let random = Arc::new(SeededRandom::new(5));
        let snapshots = Snapshots::new(Arc::clone(&house.store), random, SnapshotLimits::default());
        let mail = StoreMailAccess::new(Arc::clone(&house.store), 1 << 20)
            .with_snapshots(Arc::clone(&snapshots), 1)
            .with_requests(
                Runs::new(Arc::clone(&house.store), Arc::clone(&snapshots)),
                twice_a_day(),
                house.fixture.clock.clone(),
            );
        let server = server_of(&house, mail).await;
        let account = house.id(OPERATOR).await;
        let mut client = Client::new(&server).await;
        put(&mut client, "INBOX", "uno", "").await;
        put(&mut client, "INBOX", "due", "(\\Flagged $Importante) ").await;
        (Self { house, snapshots, server, account }, client)
    }

    /// Takes a snapshot a minute later; the name of INBOX in it.
    async fn take(&self, account: AccountId) -> String {
        self.house.fixture.clock.advance(60_000);
        let now = self.house.fixture.clock.now();
        match self.snapshots.take(account, SnapshotKind::OnDemand, now).await.unwrap() {
            Taken::New(snapshot) => format!("Snapshot/{}/INBOX", snapshot.name()),
            Taken::Unchanged(_) => panic!("something changed"),
        }
    }

    /// All that is stored of snapshots, octet by octet.
    async fn stored(&self) -> Vec<Entries> {
        let mut all = Vec::new();
        for family in keys::FAMILIES {
            let scan = Scan::prefix(family, &[], 100_000);
            all.push(self.house.store.engine().scan(&scan).await.unwrap());
        }
        all
    }
}

fn twice_a_day() -> SnapshotSettings {
    let variable = ("CERALACCA_SNAPSHOTS_ON_DEMAND_PER_DAY".to_owned(), "2".to_owned());
    Config::load(None, [variable]).unwrap().snapshots
}

async fn put(client: &mut Client, mailbox: &str, subject: &str, attributes: &str) {
    let octets = format!("Subject: {subject}\r\n\r\nTesto di {subject}.\r\n");
    let command = format!("a APPEND {mailbox} {attributes}{{{}+}}\r\n{octets}", octets.len());
    client.command(&command).await;
}

async fn expunge(client: &mut Client, uid: u32) {
    client.command("a SELECT INBOX").await;
    client.command(&format!("a UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await;
    client.command(&format!("a UID EXPUNGE {uid}")).await;
    client.command("a UNSELECT").await;
}

/// What is told of `items` of every message of the selected mailbox, one line each.
async fn fetched(client: &mut Client, items: &str) -> Vec<String> {
    let answer = client.command(&format!("a FETCH 1:* ({items})")).await;
    answer.lines().filter(|line| line.starts_with("* ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_snapshot_is_read_by_imap_and_what_is_copied_out_of_it_comes_back() {
    let (past, mut client) = Past::new().await;
    let old = past.take(past.account).await;
    expunge(&mut client, 1).await;
    put(&mut client, "INBOX", "tre", "").await;
    let new = past.take(past.account).await;
    let listed = client.command("a LIST \"\" *").await;
    assert!(!listed.contains("Snapshot"), "{listed}");
    let listed = client.command("a LIST \"\" Snapshot/%").await;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let listed =
        client.command("a LIST () \"\" Snapshot/%/% RETURN (STATUS (MESSAGES UNSEEN))").await;
    assert!(listed.contains(&format!("* STATUS {old} (MESSAGES 2 UNSEEN 2)\r\n")), "{listed}");
    assert!(!listed.contains("\\Sent"), "{listed}");

    let live = client.command("a EXAMINE INBOX").await;
    let live_dates = fetched(&mut client, "UID INTERNALDATE EMAILID").await;
    let opened = client.command(&format!("a SELECT {old}")).await;
    assert!(opened.contains("* 2 EXISTS") && opened.contains("a OK [READ-ONLY]"), "{opened}");
    assert!(opened.contains("* OK [PERMANENTFLAGS ()]"), "{opened}");
    let said = |answer: &str, code: &str| {
        answer.lines().find(|line| line.contains(code)).map(str::to_owned).expect("a code")
    };
    assert_eq!(said(&opened, "[UIDVALIDITY"), said(&live, "[UIDVALIDITY"));
    assert_ne!(said(&opened, "[MAILBOXID"), said(&live, "[MAILBOXID"));
    let read = client.command("a FETCH 1 BODY[]").await;
    assert!(read.contains("Testo di uno.") && !read.contains("\\Seen"), "{read}");
    let flags = fetched(&mut client, "UID FLAGS").await;
    assert_eq!(
        flags,
        ["* 1 FETCH (UID 1 FLAGS ())", "* 2 FETCH (UID 2 FLAGS (\\Flagged $Importante))"]
    );
    assert!(client.command("a UID SEARCH SUBJECT due").await.contains("* SEARCH 2\r\n"));
    let dates = fetched(&mut client, "UID INTERNALDATE EMAILID").await;
    assert_eq!(dates[1].replace("* 2 ", "* 1 "), live_dates[0], "the same message");

    // The first one departed, the second stands still.
    let before = past.house.store.account(past.account).await.unwrap().quota().await.unwrap();
    let copied = client.command("a UID COPY 1:2 INBOX").await;
    assert!(copied.contains(" 1:2 4:5] COPY"), "{copied}");
    let after = past.house.store.account(past.account).await.unwrap().quota().await.unwrap();
    assert_eq!(after.used_messages, before.used_messages + 2);
    client.command("a SELECT INBOX").await;
    let now = fetched(&mut client, "UID INTERNALDATE EMAILID").await;
    assert_eq!(
        now[2].replace("* 3 ", "* 1 ").split(" EMAILID").next(),
        dates[0].split(" EMAILID").next().map(|was| was.replace("UID 1", "UID 4")).as_deref()
    );
    assert!(now[3].ends_with("EMAILID (M2))") && !now[2].ends_with("EMAILID (M1))"), "{now:?}");
    assert!(client.command("a UID FETCH 4 BODY.PEEK[TEXT]").await.contains("Testo di uno."));
    let flags = client.command("a UID FETCH 5 FLAGS").await;
    assert!(flags.contains("\\Flagged") && flags.contains("$Importante"), "{flags}");

    // Its own mailbox is not a mailbox of the snapshot that comes after it.
    assert!(client.command(&format!("a EXAMINE {new}")).await.contains("* 2 EXISTS"));
    let shown = fetched(&mut client, "UID").await;
    assert_eq!(shown, ["* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)"]);
}

#[tokio::test]
async fn a_snapshot_that_has_gone_is_read_no_more() {
    let (past, mut client) = Past::new().await;
    let old = past.take(past.account).await;
    expunge(&mut client, 1).await;
    past.take(past.account).await;
    client.command(&format!("a SELECT {old}")).await;
    assert!(client.command("a FETCH 1 BODY[]").await.contains("Testo di uno."));
    past.snapshots.forget(past.account, 1).await.unwrap();
    client.send("a FETCH 1 BODY[]\r\n").await;
    assert_eq!(client.line().await, "* 1 FETCH (BODY[] NIL)\r\n");
    let read = client.line().await;
    assert!(read.starts_with("* BYE ") || read.starts_with("a NO [NONEXISTENT]"), "{read}");
    let mut client = Client::new(&past.server).await;
    for command in
        ["SELECT X", "STATUS X (MESSAGES)", "MYRIGHTS X", "GETMETADATA X /private/comment"]
    {
        let answer = client.answer(&format!("a {}", command.replace('X', &old))).await;
        assert!(answer.starts_with("a NO [NONEXISTENT] Istantanea inesistente"), "{answer}");
    }
    let listed = client.command("a LIST \"\" Snapshot/%").await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(client.command(&format!("a SUBSCRIBE {old}")).await.contains("OK"));
    assert!(client.command("a LSUB \"\" Snapshot*").await.contains(&old));
}

#[tokio::test]
async fn snapshots_of_an_account_are_shown_to_its_holder_alone() {
    let (past, mut client) = Past::new().await;
    let service = past.house.id(SERVICE).await;
    past.house.deliver(SERVICE).await;
    let operator = past.house.store.account(past.account).await.unwrap();
    operator.grant(service, true, Batch::default()).await.unwrap();
    let of_service = past.take(service).await;
    let mut client_too = Client::new(&past.server).await;
    let listed = client_too.command("a LIST \"\" (\"*\" \"Snapshot/*\")").await;
    assert!(listed.contains(SERVICE) && !listed.contains("Snapshot"), "{listed}");
    assert!(client.command("a NAMESPACE").await.contains(" NIL\r\n"), "none of its own yet");
    for name in [of_service.clone(), format!("\"Altri utenti/{SERVICE}/{of_service}\"")] {
        let answer = client_too.answer(&format!("a EXAMINE {name}")).await;
        assert!(answer.starts_with("a NO [NONEXISTENT]"), "{answer}");
    }
}

#[tokio::test]
async fn a_holder_asks_for_a_snapshot_by_a_name_as_often_in_a_day_as_his_plan_allows() {
    let (past, mut client) = Past::new().await;
    let clock = &past.house.fixture.clock;
    let instant = |answer: &str| {
        let at = answer.find("1970-").expect("an instant");
        answer[at..at + 20].to_owned()
    };
    let taken = client.command("a CREATE Snapshot/Adesso").await;
    assert!(taken.starts_with("a OK Presa l'istantanea 1970-"), "{taken}");
    let inbox = client.command(&format!("a EXAMINE Snapshot/{}/INBOX", instant(&taken))).await;
    assert!(inbox.contains("* 2 EXISTS"), "{inbox}");
    let same = client.command("a CREATE Snapshot/now").await;
    assert!(same.starts_with("a OK La casella non e' cambiata"), "{same}");
    assert_eq!(instant(&same), instant(&taken));
    let name = client.answer("a EXAMINE Snapshot/Adesso").await;
    assert!(name.contains("a NO [NONEXISTENT]"), "it stands under its own name: {name}");

    put(&mut client, "INBOX", "tre", "").await;
    let soon = client.answer("a CREATE Snapshot/Adesso").await;
    assert!(soon.starts_with("a NO [INUSE] La casella sta cambiando"), "{soon}");
    client.command("a ENABLE IMAP4rev2").await;
    // A second later it is taken, and who asks need not ask again.
    let (second, ()) = tokio::join!(client.command("a CREATE \"Snapshot/ADESSO\""), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        clock.advance(1_000);
    });
    let listed = format!(
        "* LIST (\\Noselect \\HasChildren) \"/\" Snapshot/{} (\"OLDNAME\" (Snapshot/ADESSO))\r\n",
        instant(&second)
    );
    assert!(second.starts_with(&listed), "{second}");
    assert_ne!(instant(&second), instant(&taken));

    put(&mut client, "INBOX", "quattro", "").await;
    clock.advance(1_000);
    let before = past.stored().await;
    let over = client.answer("a CREATE Snapshot/Adesso").await;
    assert!(
        over.starts_with(
            "a NO [LIMIT] Nel giorno UTC di oggi la casella ha gia' avuto 2 istantanee"
        ),
        "{over}"
    );
    assert!(past.stored().await == before, "nothing was taken");
    clock.advance(86_400_000);
    let tomorrow = client.command("a CREATE Snapshot/Adesso").await;
    assert!(tomorrow.contains("a OK Presa l'istantanea"), "{tomorrow}");
}

#[tokio::test]
async fn a_read_only_name_space_survives_a_client_that_tries_every_changing_command() {
    let (past, mut client) = Past::new().await;
    let name = past.take(past.account).await;
    expunge(&mut client, 1).await;
    let other = past.take(past.account).await;
    let before = past.stored().await;
    let told = async |client: &mut Client| {
        client.command(&format!("a EXAMINE {name}")).await;
        client.command("a FETCH 1:* (UID FLAGS INTERNALDATE EMAILID RFC822.SIZE BODY.PEEK[])").await
    };
    let shown = told(&mut client).await;
    for open in ["SELECT", "EXAMINE"] {
        client.command(&format!("a {open} {name}")).await;
        let fill = |command: &str| {
            let of_other = command.replace("Snapshot/2026-11-21T06:00:17Z/INBOX", &other);
            of_other.replace(" X", &format!(" {name}"))
        };
        for command in REFUSED {
            let answer = client.answer(&format!("a {}", fill(command))).await;
            assert!(answer.contains("a NO [CANNOT] "), "{command}: {answer}");
            assert!(answer.contains("copiare"), "{command}: {answer}");
        }
        for (tag, command) in (0..).zip(PIPELINED) {
            client.send(&format!("p{tag} {}\r\n", fill(command))).await;
        }
        for (tag, command) in (0..).zip(PIPELINED) {
            let answer = client.until(&format!("p{tag}")).await;
            assert!(answer.contains(" NO [CANNOT] "), "{command}: {answer}");
        }
        for command in ["CHECK", "FETCH 1:* (BODY[])", "CLOSE"] {
            client.command(&format!("a {command}")).await;
        }
    }
    assert_eq!(told(&mut client).await, shown);
    assert!(past.stored().await == before, "something of a snapshot was changed");
    let live = client.command("a STATUS INBOX (MESSAGES UIDNEXT)").await;
    assert!(live.contains("(MESSAGES 1 UIDNEXT 3)"), "{live}");
}
