//! Whom a notice means.

use super::*;
use crate::pec::fixture::{facts, issuer, noon};

fn detection(recipient: Option<&str>) -> CertificationData {
    let event = Event::VirusDetection { recipient: recipient.map(str::to_owned), detail: None };
    issuer().certification_data(&facts(), &noon(), event)
}

fn addresses((state, addresses): (Option<RecipientState>, Vec<Address>)) -> Vec<String> {
    assert_eq!(state, (addresses.len() == 1).then_some(RecipientState::Infected));
    addresses.iter().map(ToString::to_string).collect()
}

/// RFC 6109 §4.4 asks for the recipient; its Italian original does not list it, and some leave it out.
#[test]
fn a_notice_of_a_virus_without_a_recipient_means_the_only_one_of_its_provider() {
    let of_beta = |address: &Address| address.domain().as_str() == "beta.example";
    let (everybody, nobody) = (|_: &Address| true, |_: &Address| false);
    let named = spoken_of(&detection(Some("carla@gamma.example")), &of_beta);
    assert_eq!(addresses(named), ["carla@gamma.example"], "who may say so is asked elsewhere");
    assert_eq!(addresses(spoken_of(&detection(None), &of_beta)), ["bruno@beta.example"]);
    assert_eq!(addresses(spoken_of(&detection(None), &everybody)).len(), 2, "either of two");
    assert!(addresses(spoken_of(&detection(None), &nobody)).is_empty());
    let acceptance = issuer().certification_data(&facts(), &noon(), Event::Acceptance);
    assert_eq!(spoken_of(&acceptance, &everybody), (None, Vec::new()));
}
