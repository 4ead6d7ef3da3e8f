//! When snapshots and runs were taken, where a clock was wrong and was set right.
//!
//! Their numbers say in which order they were taken, the clock of then says when. Where the two contradict
//! each other a clock was ahead, or one was behind, and what is stored does not tell which. So there are two
//! readings, and what is to be kept by one of them is kept:
//!
//! * What was taken *later* is right. Whatever lies ahead of that, or of now, was taken by a clock that was
//!   ahead.
//! * What was taken *earlier* is right, as far as it does not lie ahead of now. Whatever lies behind that
//!   was taken by a clock that was behind.
//!
//! In both, what a wrong clock told was taken before the next one that is right, or before now. In both,
//! times ascend.
//!
//! Not here: what stays ([`super::thin`], [`crate::run::thin`]).

use trust::clock::UnixMillis;

/// Until when something was taken whose clock was wrong; `None` = the clock was right.
pub(crate) type Until = Option<UnixMillis>;

/// Both readings of `taken`: from when to when, by the clock of then, ascending by number.
pub(crate) fn readings(taken: &[(UnixMillis, UnixMillis)], now: UnixMillis) -> [Vec<Until>; 2] {
    [later_is_right(taken, now), earlier_is_right(taken, now)]
}

fn later_is_right(taken: &[(UnixMillis, UnixMillis)], now: UnixMillis) -> Vec<Until> {
    let mut next = now;
    let mut read: Vec<Until> = Vec::with_capacity(taken.len());
    for (begun, ended) in taken.iter().rev() {
        read.push((*ended > next).then_some(next));
        next = next.min(*begun).min(*ended);
    }
    read.reverse();
    read
}

fn earlier_is_right(taken: &[(UnixMillis, UnixMillis)], now: UnixMillis) -> Vec<Until> {
    let mut before = UnixMillis(i64::MIN);
    let mut right = Vec::with_capacity(taken.len());
    for (begun, ended) in taken {
        let is_right = before <= *begun && begun <= ended && *ended <= now;
        if is_right {
            before = *ended;
        }
        right.push(is_right);
    }
    let mut next = now;
    let mut read: Vec<Until> = Vec::with_capacity(taken.len());
    for ((begun, _), is_right) in taken.iter().zip(right).rev() {
        read.push((!is_right).then_some(next));
        if is_right {
            next = *begun;
        }
    }
    read.reverse();
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both readings of instants, at 100.
    fn read(taken: &[i64]) -> [Vec<Option<i64>>; 2] {
        let taken: Vec<_> = taken.iter().map(|at| (UnixMillis(*at), UnixMillis(*at))).collect();
        readings(&taken, UnixMillis(100))
            .map(|read| read.into_iter().map(|until| until.map(|until| until.0)).collect())
    }

    #[test]
    fn where_numbers_and_times_agree_every_clock_was_right() {
        assert_eq!(read(&[10, 20, 20, 100]), [vec![None; 4], vec![None; 4]]);
        assert_eq!(read(&[]), [vec![], vec![]]);
    }

    #[test]
    fn whichever_clock_was_wrong_one_reading_says_so() {
        // The second one was taken by a clock that was ahead, or those behind it by one that was behind.
        let ahead = vec![None, Some(30), None, None];
        assert_eq!(read(&[10, 90, 30, 40]), [ahead, vec![None, None, Some(100), Some(100)]]);
        // The third one by a clock that was behind, or those before it by one that was ahead.
        let behind = vec![None, None, Some(40), None];
        assert_eq!(read(&[10, 30, 2, 40]), [vec![Some(2), Some(2), None, None], behind]);
    }

    #[test]
    fn what_lies_ahead_of_now_is_wrong_in_both() {
        let ahead = vec![None, Some(30), None];
        assert_eq!(read(&[10, 900, 30]), [ahead.clone(), ahead]);
        assert_eq!(read(&[10, 900]), [vec![None, Some(100)], vec![None, Some(100)]]);
    }

    #[test]
    fn a_run_in_which_the_clock_was_set_is_wrong() {
        let at = |from, to| (UnixMillis(from), UnixMillis(to));
        let until = |at| Some(UnixMillis(at));
        let [later, earlier] = readings(&[at(10, 11), at(20, 5), at(30, 31)], UnixMillis(100));
        assert_eq!(later, [until(5), None, None]);
        assert_eq!(earlier, [None, until(30), None]);
        let [later, earlier] = readings(&[at(10, 11), at(20, 70), at(30, 31)], UnixMillis(100));
        assert_eq!(later, [None, until(30), None]);
        assert_eq!(earlier, [None, None, until(100)]);
    }
}
