//! What follows from what was found: the policy of the sender's domain, as far as the
//! configuration obeys it.

use mail_auth::{DmarcResult, SpfResult, dmarc::Policy};

use super::results::{Author, Body, Found};
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
    /// It is refused: it has several From fields, authors of more domains than are asked, or of one that
    /// cannot be asked.
    RefuseAuthors,
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
            Self::RefuseAuthors => "refused_from",
            Self::RefuseBySpf { .. } => "refused_spf",
            Self::Later => "put_off",
        }
    }
}

/// What follows when nothing is known, the policy of the sender's domain least of all.
pub(super) fn when_unknown(settings: &OrdinaryMailSettings) -> Verdict {
    if settings.dmarc_reject { Verdict::Later } else { when_not_told(settings) }
}

/// What follows while DNS does not say what would only be told, or refused by SPF.
fn when_not_told(settings: &OrdinaryMailSettings) -> Verdict {
    if settings.defer_on_dns_failure { Verdict::Later } else { Verdict::Take }
}

/// What follows from `found`.
pub(super) fn of(settings: &OrdinaryMailSettings, found: &Found<'_>) -> Verdict {
    if settings.spf_reject && found.spf.result() == SpfResult::Fail {
        return Verdict::RefuseBySpf { domain: printable(found.spf.domain()) };
    }
    match by_dmarc(settings, found) {
        Some(verdict) => verdict,
        None if settings.spf_reject && found.spf.result() == SpfResult::TempError => {
            when_not_told(settings)
        }
        None => Verdict::Take,
    }
}

/// What the domains of From ask for: the strictest of those for which nothing speaks counts (RFC 7489
/// §6.6.1).
fn by_dmarc(settings: &OrdinaryMailSettings, found: &Found<'_>) -> Option<Verdict> {
    let signatures = &found.signatures;
    if !settings.dmarc_reject || signatures.vouched_for(&settings.arc_trusted) {
        return None;
    }
    let failed = |author: &&Author| {
        author.policy == Some(Policy::Reject)
            && matches!(author.output.result(), DmarcResult::Fail(_))
    };
    let open = |author: &&Author| matches!(author.output.result(), DmarcResult::TempError(_));
    match found.authors.iter().find(failed) {
        // The signatures of a body that is too large to be looked at might have spoken for it, and its
        // sender would repeat it for ever.
        Some(_) if signatures.body == Body::TooLarge => {}
        // So might what was not found out in time, or not looked at for its header. It waits: to write such a
        // header costs a forger nothing. Signatures beyond their number are farther from the author than all
        // that were looked at.
        Some(_)
            if signatures.body == Body::NotHashed
                || signatures.left_out.header
                || signatures.may_be_vouched_for(&settings.arc_trusted) =>
        {
            return Some(Verdict::Later);
        }
        Some(author) => {
            return Some(Verdict::RefuseByDmarc { domain: printable(author.output.domain()) });
        }
        None => {}
    }
    let mut open = found.authors.iter().filter(open).peekable();
    open.peek()?;
    let disowned = |author: &Author| author.policy.is_none_or(|policy| policy == Policy::Reject);
    Some(if open.any(disowned) { Verdict::Later } else { when_not_told(settings) })
}

fn printable(domain: &str) -> String {
    domain.chars().filter(char::is_ascii_graphic).collect()
}
