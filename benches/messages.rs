//! Messages of about 20 KB, no two alike: a header, a text, a small attachment in base64.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trust::random::{RandomSource, SeededRandom};

/// Octets of random attachment: 12,000 characters of base64.
const ATTACHMENT_OCTETS: usize = 9_000;
/// Words of text, of about 7 octets each.
const TEXT_WORDS: usize = 1_000;
const WORDS: [&str; 16] = [
    "perizia",
    "relazione",
    "collaudo",
    "verbale",
    "impianto",
    "struttura",
    "cantiere",
    "offerta",
    "allegato",
    "scadenza",
    "ufficio",
    "parere",
    "calcolo",
    "progetto",
    "norma",
    "firma",
];

/// Makes `count` messages from `seed`.
pub(crate) fn make(seed: u64, count: usize) -> Vec<Vec<u8>> {
    make_to(seed, count, "anna@pec.alfa.example", "bruno@pec.beta.example")
}

/// Makes `count` messages from `seed` that go from `sender` to `recipient`.
pub(crate) fn make_to(seed: u64, count: usize, sender: &str, recipient: &str) -> Vec<Vec<u8>> {
    let random = SeededRandom::new(seed);
    (0..count).map(|_| message(&random, sender, recipient).into_bytes()).collect()
}

fn message(random: &SeededRandom, sender: &str, recipient: &str) -> String {
    let number = random.next_u64();
    let mut text = format!(
        "Message-ID: <{number:016x}@pec.alfa.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n\
         From: {sender}\r\nTo: {recipient}\r\nSubject: Perizia {number}\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\n"
    );
    let mut choices = vec![0; TEXT_WORDS];
    random.fill(&mut choices);
    for (index, choice) in choices.iter().enumerate() {
        let end = if index % 10 == 9 { "\r\n" } else { " " };
        let _ = write!(text, "{}{end}", WORDS[usize::from(*choice) % WORDS.len()]);
    }
    text.push_str(
        "\r\n--b\r\nContent-Type: application/octet-stream; name=\"a\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n",
    );
    let mut attachment = vec![0; ATTACHMENT_OCTETS];
    random.fill(&mut attachment);
    for line in attachment.chunks(57) {
        let _ = write!(text, "{}\r\n", STANDARD.encode(line));
    }
    text.push_str("--b--\r\n");
    text
}
