//! The fuzzer's seeds, and mutations of them, in every run of the tests.
//!
//! Those of `recipe` and `records` are made from
//! the messages: with `CERALACCA_WRITE_SEEDS=1` they are written again.

#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

use replay::{folder, seeds};

use crate::{
    fuzz::{TARGETS, round_trip},
    octets::StoredMessage,
    pack::format::PackBuilder,
    pack::stored,
};

/// What mutations put in.
const TOKENS: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "--x",
    "--x--",
    "Content-Type: multipart/mixed; boundary=x\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "=",
    "QUJD",
    " ",
    "\t",
    "\0",
    "\u{ff}\u{7f}",
    "boundary=\"",
];

fn replay(target: &str) {
    replay::replay(&TARGETS, target, &TOKENS);
}

#[test]
fn seeds_of_messages_and_their_mutations_are_rebuilt_exactly() {
    replay("message");
}

#[test]
fn seeds_of_recipes_and_their_mutations_are_refused_or_rebuilt() {
    replay("recipe");
}

#[test]
fn seeds_of_packs_and_their_mutations_are_refused_or_read() {
    replay("pack");
}

#[test]
fn seeds_of_records_and_their_mutations_are_refused_or_stay() {
    replay("records");
}

#[test]
fn seeds_of_walks_and_their_mutations_report_every_octet_once() {
    replay("walker");
}

/// A framed record without its frame.
fn unframed(record: &[u8]) -> &[u8] {
    &record[9..]
}

#[tokio::test]
async fn records_made_from_the_messages_among_the_seeds_are_seeds_too() {
    let write = std::env::var_os("CERALACCA_WRITE_SEEDS").is_some();
    for (number, seed) in seeds("message").iter().enumerate() {
        let message: StoredMessage = round_trip(&seed[1..], 4_000).await;
        let record = message.encode();
        crate::fuzz::recipe(unframed(&record));
        let mut builder = PackBuilder::default();
        for part in seed.chunks(300) {
            let stored = stored::encode(part, 3).expect("zstd");
            let id = stored::StoreSecret::new([1; 32]).stored_id(stored::chunk_id(part));
            builder.add(id, &stored, u32::try_from(part.len()).expect("small"));
        }
        let (pack, _) = builder.finish();
        crate::fuzz::pack(&pack);
        if write {
            for (target, octets) in [("recipe", unframed(&record)), ("pack", &pack)] {
                std::fs::create_dir_all(folder(target)).expect("a folder");
                std::fs::write(folder(target).join(format!("{number}")), octets).expect("written");
            }
        }
    }
}
