//! NOTIFY (RFC 5465) over the store: every kind of change reaches a session that watches for it.

use std::{sync::Arc, time::Duration};

use ceralacca::{
    config::Config, mail_access::StoreMailAccess, registry::authenticator::RegistryAuthenticator,
};
use protocols::{
    imap::{Server, ServerSettings},
    net::stream::ChannelBindings,
};
use storage::catalog::engine::Batch;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use trust::random::SystemRandom;

use super::{
    logins::{PASSWORD, set_password},
    operators::{House, OPERATOR, SERVICE},
};

pub(super) struct Client(BufReader<DuplexStream>);

impl Client {
    pub(super) async fn new(server: &Server) -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        let server = server.clone();
        tokio::spawn(async move {
            let (peer, tls) = ([127, 0, 0, 1].into(), Some(ChannelBindings::default()));
            server.serve(theirs, peer, tls, CancellationToken::new()).await;
        });
        let mut client = Self(BufReader::new(ours));
        client.line().await;
        client.command(&format!("in LOGIN {OPERATOR} \"{PASSWORD}\"")).await;
        client
    }

    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await;
        assert!(read.expect("a line").unwrap() > 0, "the stream ended");
        line
    }

    pub(super) async fn send(&mut self, octets: &str) {
        self.0.write_all(octets.as_bytes()).await.unwrap();
    }

    /// Reads to the line that begins with `tag`.
    pub(super) async fn until(&mut self, tag: &str) -> String {
        let mut answer = String::new();
        while !answer.lines().any(|line| line.starts_with(&format!("{tag} "))) {
            answer.push_str(&self.line().await);
        }
        answer
    }

    pub(super) async fn answer(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n")).await;
        self.until(command.split(' ').next().unwrap()).await
    }

    pub(super) async fn command(&mut self, command: &str) -> String {
        let (answer, tag) = (self.answer(command).await, command.split(' ').next().unwrap());
        assert!(answer.contains(&format!("{tag} OK ")), "{command}: {answer}");
        answer
    }
}

async fn server(house: &House) -> Server {
    server_of(house, StoreMailAccess::new(Arc::clone(&house.store), 1 << 20)).await
}

pub(super) async fn server_of(house: &House, mail: StoreMailAccess) -> Server {
    set_password(&house.fixture, OPERATOR, PASSWORD).await;
    let registry = Arc::clone(&house.fixture.registry);
    let login = Config::default().login;
    let authenticator =
        RegistryAuthenticator::new(registry, login, Arc::new(SystemRandom)).await.unwrap();
    Server::new(ServerSettings::default(), Arc::new(authenticator), Arc::new(mail))
}

#[tokio::test]
async fn every_change_reaches_a_session_that_watches() {
    let house = House::new().await;
    let operator = house.store.account(house.id(OPERATOR).await).await.unwrap();
    let service = house.id(SERVICE).await;
    operator.grant(service, true, Batch::default()).await.unwrap();
    let server = server(&house).await;
    let (mut watching, mut other) = (Client::new(&server).await, Client::new(&server).await);
    let set = "w NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)) (SUBTREE \"Altri utenti\" (MessageNew MessageExpunge))";
    assert_eq!(watching.command(set).await, "w OK NOTIFY\r\n");
    let shared = format!("Altri utenti/{SERVICE}/INBOX");
    house.deliver(SERVICE).await;
    let told = format!("* STATUS \"{shared}\" (UIDNEXT 2 MESSAGES 1)\r\n");
    assert_eq!(watching.line().await, told);
    for (command, told) in [
        ("CREATE Nuova", &["LIST (\\HasNoChildren) \"/\" Nuova"][..]),
        ("SUBSCRIBE Nuova", &["LIST (\\Subscribed \\HasNoChildren) \"/\" Nuova"]),
        ("UNSUBSCRIBE Nuova", &["LIST (\\HasNoChildren) \"/\" Nuova"]),
        ("SETMETADATA Nuova (/private/comment \"x\")", &["METADATA Nuova /private/comment"]),
        ("SETMETADATA \"\" (/private/comment \"x\")", &["METADATA \"\" /private/comment"]),
        ("APPEND Nuova {5+}\r\na: b\n", &["STATUS Nuova (UIDNEXT 2 MESSAGES 1 UNSEEN 1)"]),
        ("SELECT Nuova", &[]),
        ("STORE 1 +FLAGS (\\Seen)", &["STATUS Nuova (UNSEEN 0)"]),
        ("COPY 1 INBOX", &["STATUS INBOX (UIDNEXT 2 MESSAGES 1)"]),
        ("STORE 1 +FLAGS (\\Deleted)", &[]),
        ("EXPUNGE", &["STATUS Nuova (UIDNEXT 2 MESSAGES 0)"]),
        ("UNSELECT", &[]),
        ("RENAME Nuova Altra", &["LIST (\\HasNoChildren) \"/\" Altra (\"OLDNAME\" (Nuova))"]),
        ("DELETE Altra", &["LIST (\\NonExistent) \"/\" Altra"]),
    ] {
        other.command(&format!("o {command}")).await;
        for line in told {
            let line = format!("* {line}\r\n");
            // A mailbox that has been made is described by its counters, too.
            let mut got = watching.line().await;
            if got.contains("UIDVALIDITY") {
                got = watching.line().await;
            }
            assert_eq!(got, line, "{command}");
        }
    }
    // What may not be read any more is not spoken of.
    assert!(operator.grant(service, false, Batch::default()).await.unwrap());
    house.deliver(SERVICE).await;
    assert_eq!(watching.command("n NOOP").await, "n OK NOOP\r\n");
    operator.grant(service, true, Batch::default()).await.unwrap();
    let again = format!("* STATUS \"{shared}\" (UIDVALIDITY ");
    loop {
        let told = watching.line().await;
        assert!(told.starts_with("* STATUS \"Altri utenti/"), "{told}");
        if told.starts_with(&again) {
            assert!(told.ends_with(" UIDNEXT 3 MESSAGES 2)\r\n"), "{told}");
            break;
        }
    }
}
