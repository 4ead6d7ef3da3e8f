use std::collections::BTreeSet;

use super::*;
use crate::pec::records::RecipientState;

#[test]
fn every_state_that_a_record_can_have_has_a_word_of_its_own_and_can_be_asked_for() {
    let all: Vec<RecipientState> =
        (0..64).filter_map(|number| RecipientState::try_from(number).ok()).collect();
    assert_eq!(all, STATES);
    let words: BTreeSet<&str> = STATES.into_iter().map(word).collect();
    assert_eq!(words.len(), STATES.len());
}
