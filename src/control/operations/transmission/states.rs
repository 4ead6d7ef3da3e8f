//! The states of a recipient, in words for programs.

use crate::pec::records::RecipientState;

/// The states of a recipient.
pub(super) const STATES: [RecipientState; 9] = [
    RecipientState::Submitted,
    RecipientState::Accepted,
    RecipientState::Relayed,
    RecipientState::TakenInCharge,
    RecipientState::Delivered,
    RecipientState::Failed,
    RecipientState::Rejected,
    RecipientState::Expired,
    RecipientState::Infected,
];

/// The word for a state, for programs.
pub(crate) fn word(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Submitted => "submitted",
        RecipientState::Accepted => "accepted",
        RecipientState::Relayed => "relayed",
        RecipientState::TakenInCharge => "taken-in-charge",
        RecipientState::Delivered => "delivered",
        RecipientState::Failed => "failed",
        RecipientState::Rejected => "rejected",
        RecipientState::Expired => "expired",
        RecipientState::Infected => "infected",
    }
}
