//! One block: the rows of one window, column by column.
//!
//! ```text
//! number: rows, at least 1
//! number: keywords; each: length u8, octets
//! number: sets of keywords; each: number of keywords, their numbers in the table above from 0
//! column: UID, a number: by how much above the row before; the first, above the UID before the
//!         window
//! column: EmailNumber, a difference from the row before; the first, from 0
//! column: system flags, one octet as in `mailbox_rows`
//! column: number of the set of keywords from 1, 0 = none
//! column: MODSEQ, a difference from the row before; the first, from 0
//! column: INTERNALDATE, a difference from the row before; the first, from 0
//! column: SAVEDATE, a difference from the row's INTERNALDATE
//! column: octets of the message, a number
//! ```
//!
//! Numbers and differences are those of `sealed`; dates are taken as unsigned octet patterns.

use std::collections::BTreeMap;

use trust::clock::UnixMillis;

use super::PLAIN_OCTETS_MAX;
use crate::{
    catalog::records,
    ids::{EmailNumber, ModSeq, Uid},
    mailbox::{
        flags::{Flags, Keyword},
        view::ListedMessage,
    },
    sealed::{Plain, put_difference, put_number},
};

/// The plain value of the block with `rows`, ascending by UID, of the window after UID `before`;
/// `None` when it would be longer than a reader takes.
pub(super) fn encode(before: u32, rows: &[ListedMessage]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(16 * rows.len());
    put_number(&mut out, rows.len() as u64);
    let sets = put_keywords(&mut out, rows);
    let mut last = before;
    for row in rows {
        put_number(&mut out, u64::from(row.uid.get().wrapping_sub(last)));
        last = row.uid.get();
    }
    put_differences(&mut out, rows, |row| row.email_number.0);
    // The bits of the five system flags fit an octet.
    out.extend(rows.iter().map(|row| records::system_flags(&row.flags).to_le_bytes()[0]));
    for row in rows {
        let set = set_of(row).and_then(|set| sets.get(&set)).map_or(0, |index| index + 1);
        put_number(&mut out, set);
    }
    put_differences(&mut out, rows, |row| row.mod_seq.0);
    put_differences(&mut out, rows, |row| row.internal_date.0.cast_unsigned());
    for row in rows {
        let (saved, received) = (row.save_date.0, row.internal_date.0);
        put_difference(&mut out, saved.cast_unsigned(), received.cast_unsigned());
    }
    for row in rows {
        put_number(&mut out, row.size);
    }
    (out.len() <= PLAIN_OCTETS_MAX).then_some(out)
}

fn put_differences(
    out: &mut Vec<u8>,
    rows: &[ListedMessage],
    column: impl Fn(&ListedMessage) -> u64,
) {
    let mut before = 0;
    for row in rows {
        let number = column(row);
        put_difference(out, number, before);
        before = number;
    }
}

/// The keywords as they are written: two rows may write one keyword in different case.
fn set_of(row: &ListedMessage) -> Option<Vec<&str>> {
    let words = || row.flags.keywords.iter().map(Keyword::as_str).collect();
    (!row.flags.keywords.is_empty()).then(words)
}

/// Writes the two tables and returns the sets with their numbers.
fn put_keywords<'r>(out: &mut Vec<u8>, rows: &'r [ListedMessage]) -> BTreeMap<Vec<&'r str>, u64> {
    let mut sets: BTreeMap<Vec<&str>, u64> = BTreeMap::new();
    let mut words: BTreeMap<&str, u64> = BTreeMap::new();
    for set in rows.iter().filter_map(set_of) {
        words.extend(set.iter().map(|word| (*word, 0)));
        sets.insert(set, 0);
    }
    put_number(out, words.len() as u64);
    for (index, (word, number)) in (0..).zip(&mut words) {
        // A keyword has 64 octets at most.
        out.push(u8::try_from(word.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(word.as_bytes());
        *number = index;
    }
    put_number(out, sets.len() as u64);
    for (index, (set, number)) in (0..).zip(&mut sets) {
        put_number(out, set.len() as u64);
        for word in set {
            put_number(out, words.get(word).copied().unwrap_or_default());
        }
        *number = index;
    }
    sets
}

/// The rows of a plain value, of the window of `span` UIDs after `before`. `None` = it is damaged.
pub(super) fn decode(before: u32, span: u32, plain: &[u8]) -> Option<Vec<ListedMessage>> {
    let mut plain = Plain::new(plain);
    let count = plain.count().filter(|count| *count >= 1 && *count as u64 <= u64::from(span))?;
    let sets = keywords(&mut plain)?;
    let mut rows = Vec::with_capacity(count);
    let (last_of_window, mut last) = (u64::from(before) + u64::from(span), u64::from(before));
    for _ in 0..count {
        let uid = plain.number().filter(|above| *above > 0)?.checked_add(last)?;
        last = Some(uid).filter(|uid| *uid <= last_of_window)?;
        rows.push(ListedMessage {
            uid: Uid::new(u32::try_from(uid).ok()?)?,
            email_number: EmailNumber(0),
            flags: Flags::default(),
            mod_seq: ModSeq(0),
            internal_date: UnixMillis(0),
            save_date: UnixMillis(0),
            size: 0,
        });
    }
    differences(&mut plain, &mut rows, |row, number| row.email_number = EmailNumber(number))?;
    for row in &mut rows {
        row.flags = records::flags_of(u32::from(plain.octet()?));
    }
    for row in &mut rows {
        if let Some(set) = usize::try_from(plain.number()?).ok()?.checked_sub(1) {
            row.flags.keywords.clone_from(&sets.get(set)?.keywords);
        }
    }
    differences(&mut plain, &mut rows, |row, number| row.mod_seq = ModSeq(number))?;
    differences(&mut plain, &mut rows, |row, number| {
        row.internal_date = UnixMillis(number.cast_signed());
    })?;
    for row in &mut rows {
        let saved = plain.difference(row.internal_date.0.cast_unsigned())?;
        row.save_date = UnixMillis(saved.cast_signed());
    }
    for row in &mut rows {
        row.size = plain.number()?;
    }
    plain.finish()?;
    Some(rows)
}

fn differences(
    plain: &mut Plain<'_>,
    rows: &mut [ListedMessage],
    set: impl Fn(&mut ListedMessage, u64),
) -> Option<()> {
    let mut before = 0;
    for row in rows {
        before = plain.difference(before)?;
        set(row, before);
    }
    Some(())
}

/// The sets of keywords, each as flags without system flags.
fn keywords(plain: &mut Plain<'_>) -> Option<Vec<Flags>> {
    let mut words = Vec::new();
    for _ in 0..plain.count()? {
        let length = plain.octet()?;
        let word = std::str::from_utf8(plain.octets(length.into())?).ok()?;
        words.push(Keyword::new(word).ok()?);
    }
    let mut sets = Vec::new();
    for _ in 0..plain.count()? {
        let mut flags = Flags::default();
        for _ in 0..plain.count()? {
            let word = words.get(usize::try_from(plain.number()?).ok()?)?;
            flags.keywords.insert(word.clone());
        }
        sets.push(flags);
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        catalog::keys,
        golden::Golden,
        ids::{AccountId, MailboxId},
        mailbox::blocks::VERSION,
        sealed::{Opener, seal},
    };

    type Drawn = (u32, u64, u32, Vec<&'static str>, [i64; 3], u64);

    fn row(
        (uid, email_number, bits, words, [mod_seq, received, saved], size): Drawn,
    ) -> ListedMessage {
        let mut flags = records::flags_of(bits);
        flags.keywords = words.into_iter().flat_map(Keyword::new).collect();
        ListedMessage {
            uid: Uid::new(uid).expect("not zero"),
            email_number: EmailNumber(email_number),
            flags,
            mod_seq: ModSeq(mod_seq.cast_unsigned()),
            internal_date: UnixMillis(received),
            save_date: UnixMillis(saved),
            size,
        }
    }

    fn drawn() -> impl Strategy<Value = Drawn> {
        let word = prop::sample::select(vec!["$Forwarded", "Urgente", "urgente", "$MDNSent"]);
        let number = || prop_oneof![any::<u64>(), 0..5_000_u64];
        let date = || prop_oneof![any::<i64>(), 1_795_240_800_000..1_795_240_900_000_i64];
        (
            4_001_u32..=5_000,
            number(),
            0..32_u32,
            prop::collection::vec(word, 0..3),
            [date(), date(), date()],
            number(),
        )
    }

    fn written(row: &ListedMessage) -> Vec<String> {
        row.flags.keywords.iter().map(|word| word.as_str().to_owned()).collect()
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_rows(drawn in prop::collection::vec(drawn(), 1..40)) {
            let rows: BTreeMap<Uid, ListedMessage> =
                drawn.into_iter().map(row).map(|row| (row.uid, row)).collect();
            let rows: Vec<ListedMessage> = rows.into_values().collect();
            let plain = encode(4_000, &rows).expect("short enough");
            let decoded = decode(4_000, 1_000, &plain);
            prop_assert_eq!(decoded.as_ref(), Some(&rows));
            for (decoded, row) in decoded.iter().flatten().zip(&rows) {
                prop_assert_eq!(written(decoded), written(row), "in the case they were written in");
            }
            prop_assert_eq!(decode(4_000, 1_000, &plain[..plain.len() - 1]), None);
            prop_assert_eq!(decode(4_000, 1_000, &[&plain[..], &[0]].concat()), None);
        }

        #[test]
        fn octets_that_are_no_block_are_none_and_never_a_panic(
            octets in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(rows) = decode(0, 8, &octets) {
                prop_assert!(rows.len() <= 8);
            }
        }
    }

    #[test]
    fn blocks_stay_readable() {
        let rows = [
            row((4_002, 7, 31, vec!["$Forwarded", "Urgente"], [9, 1_795_240_800_000, -5], 4)),
            row((4_005, 8, 0, vec![], [8, 1_795_240_800_001, 1_795_240_900_000], 1 << 40)),
            row((4_006, 9, 4, vec!["urgente"], [10, 0, 0], 0)),
        ];
        let key = keys::mailbox_block(AccountId(7), MailboxId(8), 4_001);
        let golden = Golden::of("mailbox_blocks.plain");
        golden.holds(
            &rows.to_vec(),
            |rows| encode(4_000, rows).expect("short enough"),
            |plain| decode(4_000, 1_000, plain).expect("a block"),
        );
        let sealed = seal(VERSION, &key, &encode(4_000, &rows).expect("short enough"));
        // Another compressor may write another frame: what counts is that this one is read.
        let then = Golden::of("mailbox_blocks").key(&key).written(sealed.expect("sealed"));
        let opened = Opener::new().expect("memory").open(VERSION, &key, &then, PLAIN_OCTETS_MAX);
        assert_eq!(decode(4_000, 1_000, &opened.expect("opened")), Some(rows.to_vec()));
    }

    #[test]
    fn rows_of_another_window_are_not_a_block_of_this_one() {
        let row = row((4_500, 1, 0, Vec::new(), [1, 2, 3], 4));
        let plain = encode(4_000, &[row]).expect("short enough");
        assert_eq!(decode(4_000, 100, &plain), None);
        assert!(decode(4_000, 500, &plain).is_some());
    }
}
