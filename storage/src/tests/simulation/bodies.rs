//! The messages of a run: few, different enough, and with parts in common, so that chunks are used
//! again after they were let go.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trust::{
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom},
};

/// Messages there are.
pub(super) const BODIES: u64 = 24;

/// Attachments that they share.
const ATTACHMENTS: u64 = 6;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Body(pub(super) u64);

fn attachment(number: u64) -> String {
    let octets = if number.is_multiple_of(2) { 3_300 } else { 7_000 };
    let mut buffer = vec![0; octets];
    SeededRandom::new(900 + number).fill(&mut buffer);
    let text = STANDARD.encode(&buffer);
    let lines: Vec<&str> =
        text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    lines.join("\r\n")
}

/// Octets and digest of every message, made once.
static ALL: LazyLock<Vec<(Vec<u8>, Sha256Digest)>> = LazyLock::new(|| {
    let one = |number| {
        let octets = make(number);
        let digest = Sha256Digest::of(&octets);
        (octets, digest)
    };
    (0..BODIES).map(one).collect()
});

fn make(number: u64) -> Vec<u8> {
    let head = format!(
        "From: bruno@pec.example\r\nTo: anna@pec.example\r\nSubject: numero {number}\r\n\
         Message-ID: <{number}@pec.example>\r\n"
    );
    if number.is_multiple_of(3) {
        return format!("{head}\r\nTesto del messaggio {number}.\r\n").into_bytes();
    }
    let part = |number: u64| {
        format!(
            "--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            attachment(number % ATTACHMENTS)
        )
    };
    let second = if number.is_multiple_of(5) { part(number + 1) } else { String::new() };
    format!(
        "{head}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
         {}{second}--x--\r\n",
        part(number)
    )
    .into_bytes()
}

impl Body {
    fn entry(self) -> &'static (Vec<u8>, Sha256Digest) {
        &ALL[usize::try_from(self.0).expect("small")]
    }

    /// What is sent.
    pub(super) fn octets(self) -> &'static [u8] {
        &self.entry().0
    }

    pub(super) fn size(self) -> u64 {
        self.octets().len() as u64
    }

    pub(super) fn digest(self) -> Sha256Digest {
        self.entry().1
    }

    pub(super) fn of_digest(digest: Sha256Digest) -> Option<Self> {
        (0..BODIES).map(Self).find(|body| body.digest() == digest)
    }
}
