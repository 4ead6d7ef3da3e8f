//! CREATE (RFC 3501 §6.3.3), with special uses (RFC 6154 §3) and MAILBOXID (RFC 8474 §4.1); of
//! `Snapshot/Adesso` or `Snapshot/now`, by which a holder asks for a snapshot.

use storage::{account::name::normalised, error::StoreError};

use super::{acl::own, list};
use crate::{
    access::{SNAPSHOTS, SnapshotAsked, asks_for_snapshot},
    imap::{
        completion::{CommandResult, Completion, Failure, no_snapshots},
        grammar::create::UseAttributes,
        object_id,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn create<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    asked: &str,
    special_use: UseAttributes,
) -> CommandResult {
    let special_use = match special_use {
        UseAttributes::None => None,
        UseAttributes::One(special_use) => Some(special_use),
        UseAttributes::Impossible => {
            let text = "Uso non disponibile per una cartella / No mailbox can have that use";
            return Err(Completion::no("USEATTR", text).into());
        }
    };
    // A trailing delimiter announces children and is not part of the name.
    let asked = asked.strip_suffix('/').unwrap_or(asked);
    let name = normalised(checked(asked)?);
    if special_use.is_none() && asks_for_snapshot(&name) {
        return snapshot(context, state, asked).await;
    }
    let id = state.account.create(own(&name)?, special_use).await?;
    tell_normalised(context, asked, &name).await?;
    let code = format!("MAILBOXID ({})", object_id::own_mailbox_id(id));
    Ok(Completion::ok_with(code, "CREATE"))
}

/// Takes a snapshot of now. It stands under the name of its instant, which is told as that of a mailbox
/// that could not be called as it was asked.
async fn snapshot<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    asked: &str,
) -> CommandResult {
    let taken = match state.account.take_snapshot().await {
        Err(StoreError::ReadOnly) => return Err(no_snapshots().into()),
        taken => taken?,
    };
    let (instant, text) = match taken {
        SnapshotAsked::Taken(instant) => {
            let text = format!("Presa l'istantanea {instant} / Snapshot {instant} taken");
            (instant, text)
        }
        SnapshotAsked::Unchanged(instant) => {
            let text = format!(
                "La casella non e' cambiata dall'istantanea {instant} / Nothing has changed since the snapshot {instant}"
            );
            (instant, text)
        }
        SnapshotAsked::TooMany(0) => {
            let text = "Questa casella non puo' chiedere istantanee / This account may ask for no snapshots";
            return Err(Completion::no("LIMIT", text).into());
        }
        SnapshotAsked::TooMany(limit) => {
            let (italian, english) = match limit {
                1 => ("1 istantanea".to_owned(), "1 snapshot".to_owned()),
                _ => (format!("{limit} istantanee"), format!("{limit} snapshots")),
            };
            let text = format!(
                "Nel giorno UTC di oggi la casella ha gia' avuto {italian} a richiesta: riprovare dopo le 00:00 UTC / The account has had {english} on demand this day (UTC): try again after 00:00 UTC"
            );
            return Err(Completion::no("LIMIT", text).into());
        }
        SnapshotAsked::TooSoon => {
            let text = "La casella sta cambiando: riprovare tra poco / The account is changing: try again soon";
            return Err(Completion::no("INUSE", text).into());
        }
    };
    let name = format!("{SNAPSHOTS}/{instant}");
    if context.enabled.rev2 {
        let names = context.enabled.names();
        let line = list::old_name_line(&name, asked, names, &["\\Noselect", "\\HasChildren"]);
        context.frame.put(&line).await?;
    }
    // No MAILBOXID: what stands under that name cannot be selected.
    Ok(Completion { text: text.into(), ..Completion::ok("") })
}

/// Tells a client of IMAP4rev2 under which name a mailbox stands, when that is not the one that it
/// asked for (RFC 9051 §6.3.4).
pub(super) async fn tell_normalised<S: Stream>(
    context: &mut Context<S>,
    asked: &str,
    name: &str,
) -> Result<(), Failure> {
    if context.enabled.rev2 && asked != name {
        let line = list::old_name_line(name, asked, context.enabled.names(), &[]);
        context.frame.put(&line).await?;
    }
    Ok(())
}

/// Refuses names that no client could list again: control characters, wildcards, empty levels
/// (RFC 3501 §5.1).
pub(super) fn checked(name: &str) -> Result<&str, Completion> {
    let wrong = |character: char| character.is_control() || matches!(character, '*' | '%');
    if name.split('/').any(str::is_empty) || name.contains(wrong) {
        return Err(Completion::no(
            "CANNOT",
            "Nome di cartella non ammesso / A mailbox cannot have that name",
        ));
    }
    Ok(name)
}
