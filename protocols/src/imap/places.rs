//! Which rows of a mailbox the sets of a search leave, as ranges of indexes.
//!
//! Invariants: ranges ascend, are not empty and do not overlap. A set costs as many steps as there
//! are ranges in it and in what it is applied to, however many messages the mailbox has.
//!
//! Not here: what else a message must be (`message::search`), how many are worked on
//! (`message_limit`).

use std::ops::Range;

use storage::mailbox::view::ListedMessage;

use super::grammar::search::Bound;

/// Ranges of indexes.
pub(crate) type Places = Vec<Range<usize>>;

/// What `bound` leaves of `places`.
pub(crate) fn within(rows: &[ListedMessage], places: &[Range<usize>], bound: Bound<'_>) -> Places {
    let of_set = places_of(rows, bound);
    if bound.inside {
        common(places, &of_set)
    } else {
        common(places, &others(&of_set, rows.len()))
    }
}

fn places_of(rows: &[ListedMessage], bound: Bound<'_>) -> Places {
    let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let found = bound.ranges.iter().map(|range| {
        if bound.uid {
            rows.partition_point(|row| row.uid.get() < *range.start())
                ..rows.partition_point(|row| row.uid.get() <= *range.end())
        } else {
            place(range.start().saturating_sub(1))..place(*range.end()).min(rows.len())
        }
    });
    found.filter(|range| !range.is_empty()).collect()
}

/// All of `length` that is not in `places`.
fn others(places: &[Range<usize>], length: usize) -> Places {
    let mut others = Places::new();
    let mut from = 0;
    for range in places {
        others.push(from..range.start);
        from = range.end;
    }
    others.push(from..length);
    others.retain(|range| !range.is_empty());
    others
}

/// What is in both.
fn common(one: &[Range<usize>], other: &[Range<usize>]) -> Places {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = Places::new();
    while let (Some(first), Some(second)) = (one.peek(), other.peek()) {
        let both = first.start.max(second.start)..first.end.min(second.end);
        let first_ends = first.end < second.end;
        if !both.is_empty() {
            common.push(both);
        }
        if first_ends {
            one.next();
        } else {
            other.next();
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a set, one by one.
    fn all(places: &[Range<usize>]) -> Vec<usize> {
        places.iter().cloned().flatten().collect()
    }

    #[test]
    fn ranges_are_cut_as_their_members_one_by_one() {
        let sets: [&[Range<usize>]; 6] = [
            &[],
            &[0..4, 4..9],
            &[0..1, 3..4, 8..9],
            &[1..3, 4..6],
            &[2..5, 5..8],
            &[0..2, 2..3, 5..9],
        ];
        for one in sets {
            let left: Vec<usize> = (0..9).filter(|place| !all(one).contains(place)).collect();
            assert_eq!(all(&others(one, 9)), left, "{one:?}");
            for other in sets {
                let both: Vec<usize> =
                    all(one).into_iter().filter(|place| all(other).contains(place)).collect();
                assert_eq!(all(&common(one, other)), both, "{one:?} {other:?}");
            }
        }
    }
}
