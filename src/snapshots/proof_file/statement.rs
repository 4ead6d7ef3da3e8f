//! The statement: what a proof file shows, in words and in fields.
//!
//! It is JSON, indented by two spaces, in the order below, with an LF at the end; characters beyond
//! ASCII stand as they are. Everything in it follows from the other parts.
//!
//! Names and addresses come from whoever made the proof. In sentences they stand [`quoted`], so that
//! none can add a sentence, or turn one round.

use serde::Serialize;
use snapshots::proof::{Asked, Fact, FactMailbox};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::Shown;
use crate::texts::{Language, Text};

const FORMAT: &str = "ceralacca-snapshot-proof-1";

#[derive(Serialize)]
struct Statement {
    format: &'static str,
    kind: &'static str,
    italiano: String,
    english: String,
    account: Account,
    instant: String,
    mailbox: Mailbox,
    message: Message,
    run: Run,
    files: Vec<File>,
}

#[derive(Serialize)]
struct Account {
    number: u64,
    address: String,
}

#[derive(Serialize)]
struct Mailbox {
    name: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    there: Option<There>,
}

#[derive(Serialize)]
struct There {
    number: u64,
    uid_validity: u32,
    messages: u64,
}

#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Serialize)]
struct Run {
    number: u64,
    begun: String,
    closed: String,
    accounts: u64,
    stamped: bool,
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    sha256: String,
}

/// The statement of `shown`, which names the digests of `files`.
pub(super) fn text(shown: &Shown, files: &[(&'static str, &[u8])]) -> Vec<u8> {
    let (proven, run) = (&shown.proven, &shown.run);
    let (kind, mailbox, message) = match &proven.fact {
        Fact::Present { mailbox, uid, digest } => {
            let message = Message { uid: Some(*uid), sha256: Some(digest.to_string()) };
            ("presence", Some(mailbox), message)
        }
        Fact::Absent { mailbox, asked } => ("absence", Some(mailbox), Message::of(asked)),
        Fact::NoMailbox { asked, .. } => ("no-mailbox", None, Message::of(asked)),
    };
    let there = mailbox.map(|FactMailbox { id, uid_validity, messages }| There {
        number: id.0,
        uid_validity: *uid_validity,
        messages: *messages,
    });
    let words = words(shown);
    let files = files
        .iter()
        .map(|(name, octets)| File { name, sha256: Sha256Digest::of(octets).to_string() });
    let statement = Statement {
        format: FORMAT,
        kind,
        italiano: words.get(Language::Italian).to_owned(),
        english: words.get(Language::English).to_owned(),
        account: Account { number: proven.account.0, address: proven.address.clone() },
        instant: instant(proven.instant),
        mailbox: Mailbox { name: proven.name.clone(), there },
        message,
        run: Run {
            number: run.number,
            begun: instant(run.begun),
            closed: instant(run.closed),
            accounts: run.accounts,
            stamped: shown.stamped,
        },
        files: files.collect(),
    };
    // A plain struct: serialising it cannot fail.
    let mut text = serde_json::to_vec_pretty(&statement).unwrap_or_default();
    text.push(b'\n');
    text
}

impl Message {
    fn of(asked: &Asked) -> Self {
        match asked {
            Asked::Uid(uid) => Self { uid: Some(uid.get()), sha256: None },
            Asked::Digest(digest) => Self { uid: None, sha256: Some(digest.to_string()) },
        }
    }
}

/// `text` between quotation marks. What is a quotation mark, a control character, invisible, or turns the
/// direction of writing, and the backslash, stand as `\u{…}` with their number in hexadecimal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        if is_misleading(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out.push('"');
    out
}

/// `docs/formats.md` has the same list.
fn is_misleading(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '"' | '\\' | '\u{7f}'..='\u{9f}' | '\u{ab}' | '\u{ad}' | '\u{bb}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{201c}'..='\u{201f}' | '\u{2028}'..='\u{202f}' | '\u{2033}' | '\u{2036}'
            | '\u{2060}'..='\u{206f}' | '\u{301d}'..='\u{301f}' | '\u{feff}' | '\u{ff02}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// What is shown, and how far its instant can be believed.
pub(super) fn words(shown: &Shown) -> Text {
    let (fact, instant) = (fact(shown), of_the_instant(shown.stamped));
    let both = |language| format!("{} {}", fact.get(language), instant.get(language));
    Text::filled(both(Language::Italian), both(Language::English))
}

fn of_the_instant(stamped: bool) -> Text {
    if stamped {
        return Text::fixed(
            "L'istante è parola di chi ha firmato; la marca temporale dice entro quando, al più tardi.",
            "The instant is the signer's word; the time stamp says by when at the latest.",
        );
    }
    Text::fixed(
        "L'istante è parola di chi ha firmato: non c'è marca temporale.",
        "The instant is the signer's word: there is no time stamp.",
    )
}

/// What is shown, in one sentence of each language.
fn fact(shown: &Shown) -> Text {
    let proven = &shown.proven;
    let (name, address) = (quoted(&proven.name), quoted(&proven.address));
    let at = instant(proven.instant);
    let which = |asked: &Asked| match asked {
        Asked::Uid(uid) => format!("UID {}", uid.get()),
        Asked::Digest(digest) => format!("SHA-256 {digest}"),
    };
    match &proven.fact {
        Fact::Present { uid, digest, .. } => Text::filled(
            format!(
                "Il {at} il messaggio con SHA-256 {digest} era nella cartella {name} della casella {address}, con UID {uid}."
            ),
            format!(
                "On {at} the message with SHA-256 {digest} was in the mailbox {name} of the account {address}, with UID {uid}."
            ),
        ),
        Fact::Absent { asked, .. } => {
            let which = which(asked);
            Text::filled(
                format!(
                    "Il {at} nella cartella {name} della casella {address} non c'era alcun messaggio con {which}."
                ),
                format!(
                    "On {at} there was no message with {which} in the mailbox {name} of the account {address}."
                ),
            )
        }
        Fact::NoMailbox { asked, .. } => {
            let which = which(asked);
            Text::filled(
                format!(
                    "Il {at} la casella {address} non aveva alcuna cartella {name}, e dunque nessun messaggio con {which} in essa."
                ),
                format!(
                    "On {at} the account {address} had no mailbox {name}, and so no message with {which} in it."
                ),
            )
        }
    }
}

/// An instant in UTC with milliseconds: `2026-11-21T06:00:17.250Z`.
pub(super) fn instant(at: UnixMillis) -> String {
    let millis = at.0.rem_euclid(1_000);
    jiff::Timestamp::from_second(at.seconds()).map_or_else(
        |_| at.0.to_string(),
        |seconds| format!("{}.{millis:03}Z", seconds.to_string().trim_end_matches('Z')),
    )
}

#[cfg(test)]
mod tests {
    use snapshots::{proof::Proven, run::record::RunRecord, tree::page::PageId};
    use storage::ids::{AccountId, MailboxId, Uid};

    use super::*;
    use crate::golden::Golden;

    #[test]
    fn statements_stay_as_they_are() {
        let uid = Asked::Uid(Uid::new(12).expect("not zero"));
        let digest = Sha256Digest([9; 32]);
        let mailbox = FactMailbox { id: MailboxId(2), uid_validity: 77, messages: 31 };
        let by_uid = Fact::Absent { mailbox, asked: uid.clone() };
        let by_digest = Fact::Absent { mailbox, asked: Asked::Digest(digest) };
        let present = Fact::Present { mailbox, uid: 12, digest };
        let none = Fact::NoMailbox { asked: uid, mailboxes: 3 };
        for (name, stamped, fact) in [
            ("presence", true, present.clone()),
            ("presence-unstamped", false, present),
            ("absence-uid", true, by_uid),
            ("absence-sha256", true, by_digest),
            ("no-mailbox", true, none.clone()),
            ("no-mailbox-unstamped", false, none),
        ] {
            let proven = Proven {
                account: AccountId(7),
                address: "maria.rossi@pec.alfa.example".to_owned(),
                instant: UnixMillis(1_795_867_200_123),
                name: "Società \u{ab}x\u{bb} \u{202e}".to_owned(),
                fact,
            };
            let run = RunRecord {
                number: 4,
                begun: UnixMillis(1_795_867_200_000),
                closed: UnixMillis(1_795_867_201_005),
                root: PageId::empty(),
                accounts: 200_000,
                previous: None,
            };
            let shown = Shown { proven, run, stamped };
            let mut files: Vec<(&'static str, &[u8])> =
                vec![(super::super::PROOF, b"1"), (super::super::SIGNATURE, b"2")];
            if stamped {
                files.push((super::super::STAMP, b"3"));
            }
            Golden::of("proof.statement").variant(name).is(text(&shown, &files));
        }
    }
}
