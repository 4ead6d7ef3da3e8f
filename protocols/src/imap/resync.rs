//! What a client that was here before has missed of messages that are gone
//! (RFC 7162 §3.2.5, §3.2.6).
//!
//! Invariant: a UID that the client may know and that is gone is never left out. Where the log of
//! expunged messages does not reach back to the client's last visit, every UID it asks about that
//! has no message is reported.

use std::ops::RangeInclusive;

use storage::{error::StoreError, ids::ModSeq, mailbox::view::ListedMessage};

use super::{grammar::select::MatchData, selected::SelectedMailbox};

/// The UIDs within `asked` (ascending ranges that do not touch) that are gone since `since` and
/// that the client does not count any more, as such ranges. UIDs up to `known_up_to` are left out
/// where only a comparison can tell.
pub(crate) async fn vanished(
    mailbox: &SelectedMailbox,
    asked: &[RangeInclusive<u32>],
    since: ModSeq,
    known_up_to: u32,
) -> Result<Vec<RangeInclusive<u32>>, StoreError> {
    let changes = mailbox.view.changes_since(since).await?;
    if !changes.incomplete {
        let is_asked = |uid: u32| {
            let at = asked.partition_point(|range| *range.end() < uid);
            asked.get(at).is_some_and(|range| range.contains(&uid))
        };
        let gone = changes.expunged.iter().filter(|&&uid| !mailbox.counts(uid));
        let mut gone: Vec<u32> = gone.map(|uid| uid.get()).filter(|&uid| is_asked(uid)).collect();
        gone.sort_unstable();
        gone.dedup();
        return Ok(joined(gone));
    }
    // Before the list: what comes in between has a UID from here on.
    let next = mailbox.view.state().await?.uid_next.map_or(u32::MAX, storage::ids::Uid::get);
    let (_, listed) = mailbox.view.list().await?;
    let mut present: Vec<u32> = listed.iter().map(|row| row.uid.get()).collect();
    present.extend(mailbox.rows().iter().map(|row| row.uid.get()));
    present.sort_unstable();
    present.dedup();
    Ok(absent(asked, &present, known_up_to.saturating_add(1)..=next.saturating_sub(1)))
}

/// The last UID up to which the client knows what is gone: that of the last message that still
/// has the number it had (RFC 7162 §3.2.5.2). 0 where there is none.
pub(crate) fn known_up_to(rows: &[ListedMessage], matched: &MatchData) -> u32 {
    let pair = rows.iter().enumerate().rev().find(|(index, row)| {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        matched.pairs(number, row.uid.get())
    });
    pair.map_or(0, |(_, row)| row.uid.get())
}

/// Ascending numbers as ranges.
fn joined(numbers: Vec<u32>) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => {
                *last = *last.start()..=number;
            }
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

/// What of `asked` lies `within` and is not `present`.
fn absent(
    asked: &[RangeInclusive<u32>],
    present: &[u32],
    within: RangeInclusive<u32>,
) -> Vec<RangeInclusive<u32>> {
    let mut ranges = Vec::new();
    for range in asked {
        let to = *range.end().min(within.end());
        let mut next = Some(*range.start().max(within.start())).filter(|&from| from <= to);
        let first = next.map_or(present.len(), |from| present.partition_point(|&uid| uid < from));
        for &uid in present[first..].iter().take_while(|&&uid| uid <= to) {
            ranges.extend(next.filter(|&from| from < uid).map(|from| from..=uid - 1));
            next = uid.checked_add(1).filter(|&from| from <= to);
        }
        ranges.extend(next.map(|from| from..=to));
    }
    ranges
}

/// Ranges as a set.
pub(crate) fn set_of(ranges: &[RangeInclusive<u32>]) -> String {
    let written: Vec<String> = ranges
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}:{to}"),
        })
        .collect();
    written.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_lies_between_what_is_present() {
        let left = |asked: &[RangeInclusive<u32>], present: &[u32], within| {
            set_of(&absent(asked, present, within))
        };
        assert_eq!(
            left(&[41..=211, 214..=541], &[42, 117, 119, 541], 1..=599),
            "41,43:116,118,120:211,214:540"
        );
        assert_eq!(left(&[1..=10], &[], 1..=5), "1:5");
        assert_eq!(left(&[1..=10], &[3, 10], 5..=20), "5:9");
        assert_eq!(left(&[1..=3], &[1, 2, 3], 1..=9), "");
        assert_eq!(left(&[7..=9], &[], 1..=5), "");
        assert_eq!(left(&[1..=u32::MAX], &[1, u32::MAX], 1..=u32::MAX), "2:4294967294");
    }

    #[test]
    fn numbers_are_joined_to_ranges() {
        assert_eq!(set_of(&joined(vec![1, 2, 3, 5, u32::MAX])), "1:3,5,4294967295");
        assert_eq!(set_of(&joined(vec![])), "");
    }
}
