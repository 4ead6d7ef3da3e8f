//! What follows from what was found: the policy of the sender's domain, as far as the
//! configuration obeys it.

use mail_auth::{DmarcResult, SpfResult, dmarc::Policy};

use super::results::Found;
use crate::config::OrdinaryMailSettings;

/// What is done with a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is taken.
    Take,
    /// It is refused: the domain of its From says so (RFC 9989), and nothing speaks for it.
    RefuseByDmarc {
        /// The domain.
        domain: String,
    },
    /// It is refused: the domain of its reverse path names its servers, and this is none of them
    /// (RFC 7208 §8.4).
    RefuseBySpf {
        /// The domain.
        domain: String,
    },
    /// DNS does not answer now: the sender's server tries again.
    Later,
}

impl Verdict {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Take => "taken",
            Self::RefuseByDmarc { .. } => "refused_dmarc",
            Self::RefuseBySpf { .. } => "refused_spf",
            Self::Later => "put_off",
        }
    }
}

/// What follows when nothing is known.
pub(super) fn when_unknown(settings: &OrdinaryMailSettings) -> Verdict {
    if settings.defer_on_dns_failure { Verdict::Later } else { Verdict::Take }
}

/// What follows from `found`.
pub(super) fn of(settings: &OrdinaryMailSettings, found: &Found<'_>) -> Verdict {
    let domain = |text: &str| text.chars().filter(char::is_ascii_graphic).collect();
    if settings.spf_reject && found.spf.result() == SpfResult::Fail {
        return Verdict::RefuseBySpf { domain: domain(found.spf.domain()) };
    }
    let unknown = when_unknown(settings);
    match found.dmarc.result() {
        DmarcResult::Fail(_)
            if settings.dmarc_reject
                && found.dmarc.policy() == Policy::Reject
                // A signature that was not looked at might have spoken for it.
                && found.signatures.complete
                && !found.signatures.vouched_for(&settings.arc_trusted) =>
        {
            Verdict::RefuseByDmarc { domain: domain(found.dmarc.domain()) }
        }
        DmarcResult::TempError(_) if settings.dmarc_reject => unknown,
        _ if settings.spf_reject && found.spf.result() == SpfResult::TempError => unknown,
        _ => Verdict::Take,
    }
}
