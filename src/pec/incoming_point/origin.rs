//! Whose a signed message is: what the form and the signature leave to ask.

use trust::smime::verify::VerifyError;

use crate::pec::{
    directory::{Directory, ProviderRecord},
    header::Header,
    issue,
};

/// T5: the domain of From is among the provider's own (RFC 6109 §7), or that of its service mailbox
/// when no other provider manages it: a record may write any mailbox.
pub(super) fn from_is_managed(
    header: &Header,
    provider: &ProviderRecord,
    directory: &Directory,
) -> bool {
    let nobody_elses = |domain| {
        directory.provider_of_domain(domain).is_none_or(|other| other.is_of(&provider.name))
    };
    issue::addresses(header, "From").first().is_some_and(|from| {
        let domain = from.domain();
        provider.manages(domain)
            || (provider.service_mailbox.domain() == domain && nobody_elses(domain))
    })
}

/// An error and what led to it, in one line.
pub(super) fn chain_of_causes(error: &VerifyError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
