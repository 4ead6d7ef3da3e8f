//! SETQUOTA (RFC 9208 §4.1.3): space is bought, so only operators set it, and only STORAGE.
//!
//! An operator names the quota root of an account by its address, that of its archive by `Archivio/`
//! and the address. What he sets is rounded up to
//! what an account can have; the response tells what that is.

use super::getquota::{Root, STORAGE_UNIT, root_called, write_quota};
use crate::{
    access::SetQuotaError,
    imap::{
        completion::{CommandResult, Completion, refusal},
        grammar::quota::SetQuota,
        session::{Authenticated, Context},
        snapshots,
    },
    lines::Stream,
};

pub(crate) async fn set_quota<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    set: &SetQuota,
) -> CommandResult {
    snapshots::unchanged(&String::from_utf8_lossy(&set.root))?;
    if !state.account.is_operator() {
        return Err(refused(&SetQuotaError::NotOperator).into());
    }
    let Root { address, tier } = root_called(&set.root)?;
    let units = match set.limits.as_slice() {
        [(resource, units)] if resource == b"STORAGE" => *units,
        _ => {
            return Err(Completion::no(
                "CANNOT",
                "Si imposta solo STORAGE / STORAGE alone can be set",
            )
            .into());
        }
    };
    let octets = units.saturating_mul(STORAGE_UNIT);
    let usage =
        state.account.set_space(address, tier, octets).await.map_err(|error| refused(&error))?;
    tracing::info!(
        operator = context.address,
        account = address.or(context.address.as_deref()),
        ?tier,
        octets,
        "an operator set the space of an account",
    );
    write_quota(context, &set.root, tier, &usage).await?;
    Ok(Completion::ok("SETQUOTA"))
}

/// Turns an error into what the peer reads, and logs what he must not.
pub(super) fn refused(error: &SetQuotaError) -> Completion {
    match error {
        SetQuotaError::NotOperator => Completion::no(
            "NOPERM",
            "Lo spazio si acquista: rivolgersi al gestore / Space is bought: ask the provider",
        ),
        SetQuotaError::NoSuchAccount(_) => {
            Completion::no("NONEXISTENT", "Casella inesistente / No such account")
        }
        SetQuotaError::PlanForbids(_) => Completion::no(
            "CANNOT",
            "Il tipo di casella non ammette quello spazio / The plan does not allow that space",
        ),
        SetQuotaError::Store(error) => refusal(error),
        SetQuotaError::Unavailable(cause) => {
            tracing::error!(%cause, "the registry took no change of space");
            refusal(&storage::error::StoreError::Closed)
        }
    }
}
