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
    check::{Checked, check, check_own},
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
        Self::closing_after(messages, stamped, 0).await
    }

    /// The run says that it was closed so many milliseconds from now on, when it is signed and stamped.
    async fn closing_after(messages: u32, stamped: bool, delay: i64) -> Self {
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
        let now = UnixMillis(SystemClock.now().0 + delay);
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

    /// The verifier in Python over `proof`, which trusts `authorities`.
    fn python(&self, proof: &[u8], authorities: &[u8]) -> Command {
        let file = self.folder.path().join("proof.tar");
        fs::write(&file, proof).expect("written");
        let ca = self.folder.path().join("ca.pem");
        fs::write(&ca, authorities).expect("written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_proof.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(&file).arg("--ca").arg(ca);
        command
    }

    /// What the verifier in Python ends with and says.
    fn in_python(&self, proof: &[u8], more: &[&str]) -> (bool, String) {
        ended(self.python(proof, &self.parts.certificates).args(more))
    }
}

fn ended(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("UTF-8"))
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
    let about = ["--message", there.to_str().expect("UTF-8")];
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
        assert!(checked.trusted && checked.stamp.is_some());
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
    assert!(provider.in_python(&file, &about).0);
    fs::write(&there, message(33)).expect("written");
    assert!(!provider.in_python(&file, &about).0, "another message");
}

#[tokio::test]
async fn a_run_without_a_stamp_says_so_and_strangers_are_not_believed() {
    let provider = Provider::new(3, false).await;
    let file = provider.prove("INBOX", uid(1)).await;
    let checked = check(&file, Some(provider.authorities())).expect("it holds");
    assert_eq!(checked.stamp, None);
    assert!(!checked.shown.stamped);
    let (holds, said) = provider.in_python(&file, &[]);
    assert!(holds && said.contains("Time stamp: none"), "{said}");
    assert!(checked.demand(None, false).is_ok());
    let refused = checked.demand(None, true).expect_err("no stamp");
    assert!(refused.to_string().contains("no time stamp"), "{refused}");
    let (holds, said) = provider.in_python(&file, &["--require-stamp"]);
    assert!(!holds && said.contains("no time stamp"), "{said}");
    assert!(!check(&file, None).expect("it holds").trusted);
    let stranger = Provider::new(1, true).await;
    let refused = check(&file, Some(stranger.authorities())).expect_err("another authority");
    assert!(refused.to_string().contains("signature"), "{refused}");
}

#[tokio::test]
async fn authorities_of_the_machine_count_for_nothing_in_python() {
    let provider = Provider::new(3, false).await;
    let file = provider.prove("INBOX", uid(1)).await;
    let folder = provider.folder.path();
    let (machine, key) = (folder.join("machine.pem"), folder.join("other.key"));
    fs::write(&machine, &provider.parts.certificates).expect("written");
    let hash =
        Command::new("openssl").args(["x509", "-noout", "-hash", "-in"]).arg(&machine).output();
    let hash = String::from_utf8(hash.expect("openssl runs").stdout).expect("UTF-8");
    let certificates = folder.join("certs");
    fs::create_dir(&certificates).expect("a folder");
    fs::copy(&machine, certificates.join(format!("{}.0", hash.trim()))).expect("copied");
    let other = folder.join("other.pem");
    let mut made = Command::new("openssl");
    made.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=Altri",
        "-days",
        "2",
    ]);
    let (made, said) = ended(made.arg("-keyout").arg(&key).arg("-out").arg(&other));
    assert!(made, "{said}");
    let other = fs::read(&other).expect("a certificate");
    let mut command = provider.python(&file, &other);
    command.env("SSL_CERT_DIR", &certificates).env("SSL_CERT_FILE", &machine);
    let (holds, said) = ended(&mut command);
    assert!(!holds && said.contains("the signature does not hold"), "{said}");
}

#[tokio::test]
async fn both_verifiers_say_who_signed_and_refuse_another_on_demand() {
    let provider = Provider::new(3, true).await;
    let file = provider.prove("INBOX", uid(1)).await;
    let checked = check(&file, Some(provider.authorities())).expect("it holds");
    let signer = checked.signer.fingerprint;
    let stamp = checked.stamp.as_ref().expect("a stamp");
    assert_ne!(stamp.signer.fingerprint, signer);
    assert!(checked.demand(Some(signer), true).is_ok());
    assert!(checked.demand(Some(stamp.signer.fingerprint), true).is_err());
    let english: Vec<String> = checked
        .words()
        .iter()
        .map(|text| text.get(crate::texts::Language::English).to_owned())
        .collect();
    let at = statement::instant(UnixMillis(stamp.instant.seconds() * 1_000));
    let (own, stamps) = (signer.to_string(), stamp.signer.fingerprint.to_string());
    let (holds, said) = provider.in_python(&file, &["--signer", &own, "--require-stamp"]);
    assert!(holds, "{said}");
    for said in [english.join("\n"), said] {
        assert!(said.contains(&own) && said.contains(&stamps), "{said}");
        assert!(said.contains(&format!("attested not later than {}", &at[..19])), "{said}");
        assert!(said.contains("the earlier instant is the signer's word"), "{said}");
    }
    let (holds, said) = provider.in_python(&file, &["--signer", &stamps]);
    assert!(!holds && said.contains("another has signed"), "{said}");
}

#[tokio::test]
async fn a_late_stamp_is_told_and_an_early_one_refused_in_both() {
    let (hour, day) = (3_600_000, 86_400_000);
    for (delay, holds, told) in
        [(-day - hour, true, true), (-day + hour, true, false), (hour, false, false)]
    {
        let provider = Provider::closing_after(3, true, delay).await;
        let file = provider.prove("INBOX", uid(1)).await;
        let checked = check(&file, Some(provider.authorities()));
        assert_eq!(checked.is_ok(), holds, "{delay}");
        let words = checked.map(|checked| checked.words()).unwrap_or_default();
        let is_told = words
            .iter()
            .any(|text| text.get(crate::texts::Language::English).contains("more than a day"));
        assert_eq!(is_told, told, "{delay}");
        let (held, said) = provider.in_python(&file, &[]);
        assert_eq!((held, said.contains("more than a day")), (holds, told), "{delay}: {said}");
    }
}

#[tokio::test]
async fn names_in_sentences_are_quoted_alike_and_invalid_ones_refused() {
    let provider = Provider::new(3, true).await;
    // A name that is valid, and would turn the sentence round and end its quotation.
    let name = "Bozze\u{202e}\" \u{201c}e\u{2066}\\";
    let file = provider.prove(name, uid(1)).await;
    let checked = check(&file, Some(provider.authorities())).expect("it holds");
    let sentence = checked.words().remove(0).get(crate::texts::Language::English).to_owned();
    let quoted = r#""Bozze\u{202e}\u{22} \u{201c}e\u{2066}\u{5c}""#;
    assert!(sentence.contains(quoted), "{sentence}");
    let (holds, said) = provider.in_python(&file, &[]);
    assert!(holds && said.contains(&sentence), "{said}");
    // The octets of a proof with another name of the same length.
    let proof = |name: &str| {
        let (_, shown) = Parts::read(&file).expect("a file");
        let mut octets = Parts::read(&file).expect("a file").0.proof;
        let old = shown.proven.name.as_bytes();
        octets.splice(3..3 + old.len(), name.bytes());
        octets[1..3].copy_from_slice(&u16::try_from(name.len()).expect("short").to_be_bytes());
        octets
    };
    let script = r"
import sys
sys.path.insert(0, sys.argv[1])
from verify_proof import Refused, check_mailbox, proof_of
try:
    check_mailbox(proof_of(open(sys.argv[2], 'rb').read()))
except Refused as refused:
    sys.exit(str(refused))
";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, holds) in [
        ("Altra", true),
        ("Inboxes", true),
        ("\u{131}nbox", true),
        ("inbox", false),
        ("INBOX", false),
        ("Inbox/Figli", false),
        ("Altra\nIl 3 luglio", false),
        ("Altra\u{2028}Il", false),
        ("Perche\u{301}", false),
        ("Altra/", false),
        (" Altra", false),
        ("", false),
    ] {
        let octets = proof(name);
        let parts = Parts { proof: octets.clone(), ..provider.parts.clone() };
        assert_eq!(parts.write().is_ok(), holds, "{name:?}");
        let part = provider.folder.path().join("proof.bin");
        fs::write(&part, octets).expect("written");
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]).arg(&docs).arg(&part);
        let (held, said) = ended(&mut command);
        assert_eq!(held, holds, "{name:?}: {said}");
    }
}

#[tokio::test]
async fn a_run_under_an_authority_that_is_gone_can_be_handed_out_and_says_so() {
    let provider = Provider::new(3, true).await;
    let file = provider.prove("INBOX", uid(1)).await;
    let english = |words: Vec<Text>| {
        let words = words.iter().map(|text| text.get(crate::texts::Language::English).to_owned());
        words.collect::<Vec<_>>().join("\n")
    };
    let said = english(check_own(&file, provider.authorities()).expect("known"));
    assert!(!said.contains("not among those known today"), "{said}");
    let stranger = Provider::new(1, false).await;
    let said = english(check_own(&file, stranger.authorities()).expect("unknown"));
    assert!(said.contains("was in the mailbox"), "{said}");
    assert!(said.contains("not among those known today"), "{said}");
    let mut parts = Parts::read(&file).expect("a file").0;
    parts.stamp = None;
    if let Some(last) = parts.signature.last_mut() {
        *last ^= 1;
    }
    let wrong = parts.write().expect("a file");
    for authorities in [provider.authorities(), stranger.authorities()] {
        assert!(check_own(&wrong, authorities).is_err(), "the signature is wrong");
    }
}

#[test]
fn the_verifier_in_python_refuses_what_the_tree_must_not_have() {
    let script = r"
import sys
sys.path.insert(0, sys.argv[1])
from verify_proof import Cursor, Refused, climb, digest, number, root_of_list, row_of, uid_of

def leaf_page(*keys):
    return number(len(keys), 2) + b''.join(number(key, 8) + bytes([at]) * 32 for at, key in enumerate(keys))

def above(rows, last, page, level=1):
    return number(level, 1) + number(1, 2) + number(last, 8) + number(rows, 8) + digest(0x10, page)

def refused(call, *arguments):
    try:
        call(*arguments)
    except Refused:
        return
    sys.exit('not refused: %r' % (arguments,))

zero, one = bytes(32), bytes([1]) * 32
good = leaf_page(7, 9)
assert climb([good, above(2, 9, good)], 7, zero)[1] == 2
for leaves in [(7, 7), (9, 7)]:
    refused(climb, [leaf_page(*leaves)], 7, zero)
    refused(climb, [leaf_page(*leaves)], 7, one)
refused(climb, [good, above(3, 9, good)], 7, zero)
refused(climb, [good, above(2, 10, good)], 7, zero)
refused(climb, [good, above(2, 9, good, 2)], 7, zero)
row = lambda uid: (uid, zero, zero)
assert root_of_list([[row(1)], [row(2)]], [[2]])[1] == 2
for leaves in [[[row(2)], [row(1)]], [[row(1)], [row(1)]], [[row(1)], []]]:
    refused(root_of_list, leaves, [[2]])
refused(uid_of, Cursor(bytes(4)))
refused(row_of, Cursor(bytes(68)))
";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]).arg(docs);
    let (held, said) = ended(&mut command);
    assert!(held, "{said}");
}

/// The state of a provider that lies has two mailboxes of one name.
#[tokio::test]
async fn the_verifier_in_python_wants_every_mailbox_and_each_name_once_for_an_absence() {
    let provider = Provider::new(3, true).await;
    let file = provider.prove("INBOX", uid(2)).await;
    let part = provider.folder.path().join("proof.bin");
    fs::write(&part, Parts::read(&file).expect("a file").0.proof).expect("written");
    let script = r"
import sys
sys.path.insert(0, sys.argv[1])
from verify_proof import Refused, check_mailbox, digest, number, proof_of

def refused(proof):
    try:
        check_mailbox(proof)
    except Refused:
        return
    sys.exit('not refused: %r' % proof['mailboxes'])

proof = proof_of(open(sys.argv[2], 'rb').read())
assert check_mailbox(proof)['messages'] == 3
both = proof['mailboxes']
for some in [both[:1], both[1:], both + both[:1]]:
    refused({**proof, 'mailboxes': some})
inbox = proof['state'][4 + 8:4 + 120]
state = number(2, 4) + number(1, 8) + inbox + number(4, 8) + inbox
record = {**proof['records'][0], 'state_root': digest(0x20, state)}
twice = {**proof, 'state': state, 'records': [record]}
first = both[0]
refused({**twice, 'mailboxes': [first, (4, *first[1:])]})
for one in [first, (4, *first[1:])]:
    refused({**twice, 'mailboxes': [one]})
";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]).arg(docs).arg(part);
    let (held, said) = ended(&mut command);
    assert!(held, "{said}");
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

/// One octet in eleven of each file, others in each, in one process of Python: octets that nothing before the
/// signature covers take two processes of openssl each. The program's own check tries all of them above.
#[tokio::test]
async fn the_verifier_in_python_refuses_changed_octets_everywhere() {
    let provider = Provider::new(40, true).await;
    let script = r"
import sys
sys.path.insert(0, sys.argv[1])
from verify_proof import Refused, verify
octets = open(sys.argv[2], 'rb').read()
verify(octets, sys.argv[3])
for at in range(int(sys.argv[4]), len(octets), 11):
    changed = bytearray(octets)
    changed[at] ^= 1 << (at % 8)
    try:
        verify(bytes(changed), sys.argv[3])
    except Refused:
        continue
    sys.exit('octet %d of %d' % (at, len(octets)))
";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = [("0", "INBOX", uid(31)), ("4", "INBOX", uid(32)), ("8", "Altra", uid(31))];
    for (first, mailbox, asked) in files {
        let file = provider.folder.path().join("proof.tar");
        fs::write(&file, provider.prove(mailbox, asked).await).expect("written");
        let ca = provider.folder.path().join("ca.pem");
        fs::write(&ca, &provider.parts.certificates).expect("written");
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]);
        let output =
            command.arg(&docs).arg(&file).arg(&ca).arg(first).output().expect("python3 runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mailbox}: {said}");
    }
}
