//! Proof files, held against this program's verifier and the one in Python, with the store gone.

use std::{collections::HashMap, fs, path::Path, process::Command, sync::Arc};

use ::snapshots::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    proof::{Asked, Attested, Fact, Proof, Source},
    record::SnapshotRecord,
    run::record::RunRecord,
    state::{MailboxEntry, State},
    tree::{
        PageStore, TreeRoot,
        page::PageRef,
        row::{AccountRow, ContentRow},
        update::update,
    },
};
use bytes::Bytes;
use storage::ids::{AccountId, EmailNumber, MailboxId, Uid, UidValidity};
use trust::{
    authority::DevelopmentAuthority,
    certificate::Certificate,
    clock::{Clock, SystemClock, UnixMillis},
    digest::Sha256Digest,
    random::{RandomSource, SeededRandom, SystemRandom},
    smime::sign::{FileSigner, MessageSigner as _},
    timestamp::{TimestampSource as _, authority::TimestampAuthority},
};

use super::{
    check::{Checked, check},
    *,
};

#[derive(Default)]
struct Pages(HashMap<PageRef, Bytes>);

#[async_trait::async_trait]
impl PageStore for Pages {
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
        self.0.get(&page).cloned().ok_or(SnapshotError::PageMissing(page.id))
    }
}

fn message(uid: u32) -> Vec<u8> {
    format!("Subject: numero {uid}\r\n\r\nTesto.\r\n").into_bytes()
}

fn uid(number: u32) -> Asked {
    Asked::Uid(Uid::new(number).expect("not zero"))
}

/// A provider with one account of interest, whose last run is signed and stamped.
struct Provider {
    folder: tempfile::TempDir,
    pages: Pages,
    state: State,
    secret: SnapshotSecret,
    record: SnapshotRecord,
    accounts: TreeRoot,
    parts: Parts,
}

impl Provider {
    /// Its INBOX has messages with odd UIDs.
    async fn new(messages: u32, stamped: bool) -> Self {
        let (secret, mut pages) = (SnapshotSecret([3; 32]), Pages::default());
        let salts = Salts::new(secret.clone(), MailboxId(1));
        let rows = (0..messages).map(|at| {
            let uid = 2 * at + 1;
            let row = ContentRow {
                uid: Uid::new(uid).expect("not zero"),
                digest: Sha256Digest::of(&message(uid)),
                email_number: EmailNumber(uid.into()),
                internal_date: UnixMillis(1),
                save_date: UnixMillis(2),
                size: 40,
                charged_octets: 40,
            };
            (u64::from(uid), Some(row))
        });
        let empty = TreeRoot::empty();
        let made = update(&pages, 1, empty, &salts, rows.collect()).await.expect("a tree");
        pages.0.extend(made.new_pages);
        let entry = |name: &str, content| MailboxEntry {
            uid_validity: UidValidity(9.try_into().expect("not zero")),
            uid_next: Uid::new(2 * messages + 1),
            name: name.to_owned(),
            subscribed: true,
            special_use: String::new(),
            octets: 40,
            content,
            flags: empty,
        };
        let inbox = (MailboxId(1), entry("INBOX", made.root));
        let state = State { mailboxes: [inbox, (MailboxId(4), entry("Città", empty))].into() };
        let now = SystemClock.now();
        let record = SnapshotRecord::following(None, AccountId(7), now, &state, &secret);
        let record = record.expect("hashed").expect("a record");
        let accounts = (1..=200).map(|account| {
            let own = account == 7;
            let record = if own { record.hash() } else { Sha256Digest([1; 32]) };
            let address =
                if own { "maria.rossi@pec.alfa.example" } else { "altra@pec.alfa.example" };
            let account_id = AccountId(account);
            (account, Some(AccountRow { account: account_id, record, address: address.to_owned() }))
        });
        let made = update(&pages, 1, empty, &salts, accounts.collect()).await.expect("a tree");
        pages.0.extend(made.new_pages);
        let run = RunRecord {
            number: 12,
            begun: now,
            closed: now,
            root: made.root.page.id,
            accounts: made.root.rows,
            previous: Some(Sha256Digest([5; 32])),
        };
        let (folder, parts) = sealed(&run, stamped).await;
        Self { folder, pages, state, secret, record, accounts: made.root, parts }
    }

    async fn prove(&self, mailbox: &str, asked: Asked) -> Vec<u8> {
        let records = vec![self.record.clone()];
        let attested =
            Attested::make(&self.pages, self.accounts, records).await.expect("in the run");
        let source = Source { pages: &self.pages, state: &self.state, secret: &self.secret };
        let proof = Proof::make(source, mailbox, asked, attested).await.expect("a proof");
        let parts = Parts { proof: proof.encode().expect("octets"), ..self.parts.clone() };
        parts.write().expect("a file")
    }

    fn authorities(&self) -> Vec<Certificate> {
        Certificate::all_from_pem(&self.parts.certificates).expect("certificates")
    }

    /// What the verifier in Python ends with and says.
    fn in_python(&self, proof: &[u8], more: &[&Path]) -> (bool, String) {
        let file = self.folder.path().join("proof.tar");
        fs::write(&file, proof).expect("written");
        let ca = self.folder.path().join("ca.pem");
        fs::write(&ca, &self.parts.certificates).expect("written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_proof.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(&file).arg("--ca").arg(ca);
        if let [message, ..] = more {
            command.arg("--message").arg(message);
        }
        let output = command.output().expect("python3 runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("UTF-8"))
    }
}

/// The run signed by a provider and stamped, both of one development authority.
async fn sealed(run: &RunRecord, stamped: bool) -> (tempfile::TempDir, Parts) {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, random): (Arc<dyn Clock>, Arc<dyn RandomSource>) =
        (Arc::new(SystemClock), Arc::new(SystemRandom));
    let authority = DevelopmentAuthority::open(folder.path(), clock.clone(), random.clone());
    let authority = authority.expect("an authority");
    let own = authority.certificate().clone();
    let issued = authority.issue_provider("Alfa PEC", "posta-certificata@pec.alfa.example");
    let issued = issued.expect("a certificate");
    let signer = FileSigner::new(issued.certificate, vec![own.clone()], issued.key, clock.clone());
    let digest = Sha256Digest::of(&run.encode());
    let signature = signer.expect("a signer").sign_digest(digest).expect("signed");
    let stamp = if stamped {
        let issued = authority.issue_time_stamping("Marche").expect("a certificate");
        let source = TimestampAuthority::new(issued, vec![own.clone()], clock, random);
        let token = source.stamp(Sha256Digest::of(&signature)).await.expect("stamped");
        Some(token.as_der().to_vec())
    } else {
        None
    };
    let certificates = own.to_pem().expect("in PEM");
    let run = run.encode().to_vec();
    (folder, Parts { proof: Vec::new(), run, signature, stamp, certificates })
}

#[tokio::test]
async fn presence_and_absence_are_verified_without_the_store_here_and_in_python() {
    let provider = Provider::new(90, true).await;
    let there = provider.folder.path().join("message.eml");
    fs::write(&there, message(31)).expect("written");
    let digest = |uid| Asked::Digest(Sha256Digest::of(&message(uid)));
    let cases = [
        ("INBOX", digest(31), "presence"),
        ("INBOX", uid(31), "presence"),
        ("INBOX", digest(32), "absence"),
        ("INBOX", uid(32), "absence"),
        ("Città", digest(31), "absence"),
        ("Posta «vecchia»", uid(31), "no-mailbox"),
    ];
    for (mailbox, asked, kind) in cases {
        let file = provider.prove(mailbox, asked.clone()).await;
        let checked: Checked = check(&file, Some(provider.authorities())).expect("it holds");
        assert!(checked.trusted && checked.stamped.is_some());
        assert_eq!(checked.shown.proven.address, "maria.rossi@pec.alfa.example");
        let found = match &checked.shown.proven.fact {
            Fact::Present { .. } => "presence",
            Fact::Absent { .. } => "absence",
            Fact::NoMailbox { .. } => "no-mailbox",
        };
        assert_eq!(found, kind, "{mailbox} {asked:?}");
        let (holds, said) = provider.in_python(&file, &[]);
        assert!(holds, "{said}");
        let sentence = checked.words().remove(0);
        assert!(said.contains(sentence.get(crate::texts::Language::Italian)), "{said}");
        assert!(said.contains(sentence.get(crate::texts::Language::English)), "{said}");
    }
    let file = provider.prove("INBOX", uid(31)).await;
    assert!(provider.in_python(&file, &[&there]).0);
    fs::write(&there, message(33)).expect("written");
    assert!(!provider.in_python(&file, &[&there]).0, "another message");
}

#[tokio::test]
async fn a_run_without_a_stamp_says_so_and_strangers_are_not_believed() {
    let provider = Provider::new(3, false).await;
    let file = provider.prove("INBOX", uid(1)).await;
    let checked = check(&file, Some(provider.authorities())).expect("it holds");
    assert_eq!(checked.stamped, None);
    assert!(!checked.shown.stamped);
    let (holds, said) = provider.in_python(&file, &[]);
    assert!(holds && said.contains("Time stamp: none"), "{said}");
    assert!(!check(&file, None).expect("it holds").trusted);
    let stranger = Provider::new(1, true).await;
    let refused = check(&file, Some(stranger.authorities())).expect_err("another authority");
    assert!(refused.to_string().contains("signature"), "{refused}");
}

#[tokio::test]
async fn a_file_with_any_changed_octet_is_refused() {
    let provider = Provider::new(90, true).await;
    let random = SeededRandom::new(5);
    let draw = |below: usize| {
        let mut octets = [0; 8];
        random.fill(&mut octets);
        usize::try_from(u64::from_be_bytes(octets) % below as u64).expect("fits")
    };
    for (mailbox, asked) in [("INBOX", uid(31)), ("INBOX", uid(32)), ("Altra", uid(31))] {
        let file = provider.prove(mailbox, asked).await;
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1 << draw(8);
            let checked = check(&changed, Some(provider.authorities()));
            assert!(checked.is_err(), "{mailbox}: octet {at} of {}", file.len());
        }
        assert!(check(&file[..file.len() - 512], None).is_err());
        assert!(check(&[&file[..], &[0; 512]].concat(), None).is_err());
        for _ in 0..25 {
            let (mut changed, at) = (file.clone(), draw(file.len()));
            changed[at] ^= 1 << draw(8);
            let (holds, said) = provider.in_python(&changed, &[]);
            assert!(!holds, "{mailbox}: octet {at}: {said}");
            assert!(said.starts_with("refused: "), "{mailbox}: octet {at}: {said}");
        }
    }
}

/// Every octet of the small parts, in one process of Python; it takes some minutes of processes of openssl
/// only for octets that nothing before the signature covers.
#[tokio::test]
async fn the_verifier_in_python_refuses_every_changed_octet() {
    let provider = Provider::new(40, true).await;
    let script = r"
import sys
sys.path.insert(0, sys.argv[1])
from verify_proof import Refused, verify
octets = open(sys.argv[2], 'rb').read()
verify(octets, sys.argv[3])
for at in range(len(octets)):
    changed = bytearray(octets)
    changed[at] ^= 1 << (at % 8)
    try:
        verify(bytes(changed), sys.argv[3])
    except Refused:
        continue
    sys.exit('octet %d of %d' % (at, len(octets)))
";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (mailbox, asked) in [("INBOX", uid(31)), ("INBOX", uid(32)), ("Altra", uid(31))] {
        let file = provider.folder.path().join("proof.tar");
        fs::write(&file, provider.prove(mailbox, asked).await).expect("written");
        let ca = provider.folder.path().join("ca.pem");
        fs::write(&ca, &provider.parts.certificates).expect("written");
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]);
        let output = command.arg(&docs).arg(&file).arg(&ca).output().expect("python3 runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mailbox}: {said}");
    }
}
