//! GETMETADATA and SETMETADATA (RFC 5464 §4.2, §4.3).
//!
//! What is noted about the server is noted by the account and for itself: `/private/` alone. Of a
//! mailbox that another account shares `/shared/` can be read, and nothing be noted.

use std::collections::BTreeSet;

use crate::{
    access::{Annotation, is_of_others},
    imap::{
        completion::{CommandResult, Completion},
        grammar::{
            mailbox_name::NameForm,
            metadata::{Depth, Entries, GetMetadata, SetMetadata},
            write,
        },
        session::{Authenticated, Context},
        snapshots,
    },
    lines::Stream,
};

pub(crate) async fn get<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    get: &GetMetadata,
) -> CommandResult {
    let mailbox = Some(get.mailbox.as_str()).filter(|name| !name.is_empty());
    let annotations = state.account.annotations(mailbox).await?;
    let response = response(&get.mailbox, &get.wanted, &annotations, context.enabled.names());
    context.frame.put(&response.line).await?;
    Ok(match response.longest_left_out {
        Some(octets) => {
            Completion::ok_with(format!("METADATA LONGENTRIES {octets}"), "GETMETADATA")
        }
        None => Completion::ok("GETMETADATA"),
    })
}

/// What is told of the entries that were asked for.
pub(super) struct Response {
    /// Empty when there is nothing to tell.
    pub(super) line: Vec<u8>,
    /// Octets of the longest value that MAXSIZE left out.
    pub(super) longest_left_out: Option<u64>,
}

/// Makes the METADATA response of `mailbox`. An entry that was asked for by its name and is not
/// there has the value NIL; of those below it only such as are there are told.
pub(super) fn response(
    mailbox: &str,
    wanted: &Entries,
    annotations: &[Annotation],
    names: NameForm,
) -> Response {
    let mut told: Vec<(&str, Option<&[u8]>)> = Vec::new();
    let mut known = BTreeSet::new();
    let mut longest_left_out = None;
    for entry in &wanted.names {
        let mut found =
            annotations.iter().filter(|found| entry.covers(&found.entry, wanted.depth)).peekable();
        let name = entry.as_str();
        if found.peek().is_none() && wanted.depth == Depth::Zero && known.insert(name) {
            told.push((name, None));
        }
        for Annotation { entry, value } in found {
            let octets = value.len() as u64;
            if wanted.size_max.is_some_and(|size_max| octets > size_max) {
                longest_left_out = longest_left_out.max(Some(octets));
            } else if known.insert(entry) {
                told.push((entry, Some(value)));
            }
        }
    }
    let mut line = Vec::new();
    if !told.is_empty() {
        line.extend_from_slice(b"* METADATA ");
        write::mailbox(&mut line, mailbox, names);
        for (index, (entry, value)) in told.into_iter().enumerate() {
            line.extend_from_slice(if index == 0 { b" (" } else { b" " });
            write::astring(&mut line, entry.as_bytes());
            line.push(b' ');
            write_value(&mut line, value);
        }
        line.extend_from_slice(b")\r\n");
    }
    Response { line, longest_left_out }
}

/// `value`: any octets, as they were noted.
fn write_value(line: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(octets) if octets.contains(&0) => {
            line.push(b'~');
            write::literal_announcement(line, octets.len() as u64);
            line.extend_from_slice(octets);
        }
        value => write::nstring(line, value),
    }
}

pub(crate) async fn set(state: &Authenticated, set: SetMetadata) -> CommandResult {
    let SetMetadata { mailbox, values } = set;
    let any_private = values.iter().any(|(entry, _)| entry.is_private());
    let all_private = values.iter().all(|(entry, _)| entry.is_private());
    if is_of_others(&mailbox) {
        let code = if any_private { "METADATA NOPRIVATE" } else { "NOPERM" };
        return Err(Completion::no(
            code,
            "Le annotazioni di un'altra casella non si cambiano / Annotations of another account cannot be changed",
        )
        .into());
    }
    snapshots::unchanged(&mailbox)?;
    if mailbox.is_empty() && !all_private {
        return Err(Completion::no(
            "NOPERM",
            "Le annotazioni comuni del server non si cambiano / Shared annotations of the server cannot be changed",
        )
        .into());
    }
    let mailbox = Some(mailbox.as_str()).filter(|name| !name.is_empty());
    let changes =
        values.into_iter().map(|(entry, value)| (entry.as_str().to_owned(), value)).collect();
    state.account.annotate(mailbox, changes).await?;
    Ok(Completion::ok("SETMETADATA"))
}
