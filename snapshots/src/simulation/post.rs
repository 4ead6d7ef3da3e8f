//! The messages of a run: each is another, and parts are shared, so that chunks are used again after they
//! were let go.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex},
};

use trust::{
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom},
};

/// Attachments that messages share.
const ATTACHMENTS: u64 = 5;

/// Text that does not compress well, in lines.
static PARTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let part = |number: u64| {
        let mut buffer = vec![0; 4_500 + 900 * usize::try_from(number).expect("small")];
        SeededRandom::new(700 + number).fill(&mut buffer);
        let letters = buffer.iter().map(|octet| char::from(b'A' + octet % 26));
        let letters: Vec<char> = letters.collect();
        letters.chunks(70).map(|line| line.iter().collect::<String>() + "\r\n").collect()
    };
    (0..ATTACHMENTS).map(part).collect()
});

/// Everything that was sent in a run.
#[derive(Debug, Default)]
pub(super) struct Post {
    sent: Mutex<BTreeMap<Sha256Digest, u64>>,
}

impl Post {
    /// A message that there was not.
    pub(super) fn send(&self) -> (u64, Vec<u8>) {
        let mut sent = self.sent.lock().expect("no panic");
        let number = sent.len() as u64;
        let octets = octets_of(number);
        sent.insert(Sha256Digest::of(&octets), number);
        (number, octets)
    }

    pub(super) fn number_of(&self, digest: Sha256Digest) -> Option<u64> {
        self.sent.lock().expect("no panic").get(&digest).copied()
    }
}

/// The octets of message `number`.
pub(super) fn octets_of(number: u64) -> Vec<u8> {
    let head = format!(
        "From: bruno@pec.example\r\nTo: anna@pec.example\r\nSubject: numero {number}\r\n\
         Message-ID: <{number}@pec.example>\r\n"
    );
    if number.is_multiple_of(3) {
        return format!("{head}\r\nTesto del messaggio {number}.\r\n").into_bytes();
    }
    let part = &PARTS[usize::try_from(number % ATTACHMENTS).expect("small")];
    format!(
        "{head}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\n{part}--x--\r\n"
    )
    .into_bytes()
}
