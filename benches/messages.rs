//! Messages, no two alike: of about 20 KB with a header, a text and a small attachment in base64, and
//! with an attachment of 1 MB that compresses as a PDF does.

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

/// Makes one message of about `octets` octets, most of them an attachment in base64.
pub(crate) fn make_sized(seed: u64, octets: usize, sender: &str, recipient: &str) -> Vec<u8> {
    let random = SeededRandom::new(seed);
    message_with(&random, octets * 57 / 78, sender, recipient).into_bytes()
}

fn message(random: &SeededRandom, sender: &str, recipient: &str) -> String {
    message_with(random, ATTACHMENT_OCTETS, sender, recipient)
}

fn message_with(
    random: &SeededRandom,
    attachment_octets: usize,
    sender: &str,
    recipient: &str,
) -> String {
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
    let mut attachment = vec![0; attachment_octets];
    random.fill(&mut attachment);
    for line in attachment.chunks(57) {
        let _ = write!(text, "{}\r\n", STANDARD.encode(line));
    }
    text.push_str("--b--\r\n");
    text
}

/// An attachment of 1 MB and a message around it.
pub(crate) struct Large {
    pub(crate) pdf: Vec<u8>,
    pub(crate) message: Vec<u8>,
}

/// Octets of a large attachment.
pub(crate) const PDF_OCTETS: usize = 1 << 20;
/// Octets between two stream objects of a PDF.
const STREAM_OCTETS: usize = 28 << 10;

/// Makes `count` messages with a large attachment from `seed`, from `sender` to `recipient`.
pub(crate) fn make_large(seed: u64, count: usize, sender: &str, recipient: &str) -> Vec<Large> {
    let random = SeededRandom::new(seed);
    (0..count).map(|_| large(&random, sender, recipient)).collect()
}

/// Streams that are compressed already, with the dictionaries and tables of a PDF between them.
fn pdf(random: &SeededRandom) -> Vec<u8> {
    let mut octets = b"%PDF-1.7\n".to_vec();
    let mut stream = vec![0; STREAM_OCTETS];
    let mut object = 1;
    while octets.len() < PDF_OCTETS {
        random.fill(&mut stream);
        let head = format!(
            "{object} 0 obj\n<< /Type /XObject /Filter /FlateDecode /Length {STREAM_OCTETS} >>\nstream\n"
        );
        octets.extend_from_slice(head.as_bytes());
        octets.extend_from_slice(&stream);
        octets.extend_from_slice(b"\nendstream\nendobj\n");
        for number in 0..100 {
            let row = format!("{:010} 00000 n \n", octets.len() + number * 20);
            octets.extend_from_slice(row.as_bytes());
        }
        object += 1;
    }
    octets.truncate(PDF_OCTETS);
    octets
}

fn large(random: &SeededRandom, sender: &str, recipient: &str) -> Large {
    let number = random.next_u64();
    let pdf = pdf(random);
    let mut text = format!(
        "Message-ID: <{number:016x}@pec.alfa.example>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\n\
         From: {sender}\r\nTo: {recipient}\r\nSubject: Perizia {number}\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nIn allegato la perizia.\r\n--b\r\n\
         Content-Type: application/pdf; name=\"perizia.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    for line in pdf.chunks(57) {
        text.push_str(&STANDARD.encode(line));
        text.push_str("\r\n");
    }
    text.push_str("--b--\r\n");
    Large { pdf, message: text.into_bytes() }
}
