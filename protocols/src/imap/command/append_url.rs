//! CATENATE's URLs: octets of a message that is here already, into the one that is being appended
//! (RFC 4469 §3).

use storage::{error::StoreError, ids::EmailNumber, mailbox::view::MailboxView};

use super::append::{failed, literal_too_large};
use crate::{
    access::AppendSink,
    imap::{
        completion::{Completion, refusal},
        grammar::message_url::MessageUrl,
        message::{
            content::read,
            section::{self, Octets},
        },
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
};

/// Writes what `url` names into `sink`, at most `octets_max` octets, and returns how many.
pub(super) async fn copy_url<S>(
    context: &Context<S>,
    state: &Authenticated,
    selected: Option<&SelectedMailbox>,
    url: &MessageUrl,
    sink: &mut dyn AppendSink,
    octets_max: u64,
) -> Result<u64, Completion> {
    let header_octets_max = context.server.settings.limits.header_octets_max;
    if let Some(name) = &url.mailbox {
        let view = state.account.open(name).await.map_err(|error| unusable(url, &error))?;
        return copy(&*view, None, header_octets_max, url, sink, octets_max).await;
    }
    let mailbox = selected.ok_or_else(|| bad_url(url))?;
    copy(&*mailbox.view, Some(mailbox), header_octets_max, url, sink, octets_max).await
}

async fn copy(
    view: &dyn MailboxView,
    selected: Option<&SelectedMailbox>,
    header_octets_max: u64,
    url: &MessageUrl,
    sink: &mut dyn AppendSink,
    octets_max: u64,
) -> Result<u64, Completion> {
    let unusable = |error: StoreError| unusable(url, &error);
    if let Some(expected) = url.uid_validity {
        let state = view.state().await.map_err(unusable)?;
        if state.uid_validity.0 != expected {
            return Err(bad_url(url));
        }
    }
    let number = find(view, selected, url).await?;
    let summary = view.summary(number).await.map_err(unusable)?;
    let named = match &url.section {
        None => Some(Octets::range(0..summary.size)),
        Some(section) => section::octets(view, number, &summary, section, header_octets_max)
            .await
            .map_err(unusable)?,
    };
    let mut octets = named.ok_or_else(|| bad_url(url))?;
    if let Some((origin, count)) = url.partial {
        let count = count.map_or(u64::MAX, |count| count.get().into());
        octets = octets.part(origin.into(), count);
    }
    if octets.length() > octets_max {
        return Err(literal_too_large());
    }
    for range in &octets.ranges {
        let mut position = range.start;
        while position < range.end {
            let piece = read(view, number, position..range.end).await.map_err(unusable)?;
            position += piece.len() as u64;
            sink.write(&piece).await.map_err(|error| failed(&error))?;
        }
    }
    sink.write(octets.tail).await.map_err(|error| failed(&error))?;
    Ok(octets.length())
}

async fn find(
    view: &dyn MailboxView,
    selected: Option<&SelectedMailbox>,
    url: &MessageUrl,
) -> Result<EmailNumber, Completion> {
    let of_list;
    let rows = if let Some(mailbox) = selected {
        mailbox.rows()
    } else {
        of_list = view.list().await.map_err(|error| unusable(url, &error))?.1;
        &of_list
    };
    let found = rows.binary_search_by_key(&url.uid, |row| row.uid).ok();
    found.and_then(|index| rows.get(index)).map(|row| row.email_number).ok_or_else(|| bad_url(url))
}

/// RFC 4469 §4.1.
fn bad_url(url: &MessageUrl) -> Completion {
    Completion {
        code: Some(format!("BADURL \"{}\"", url.text).into()),
        ..Completion::no("BADURL", "L'URL non indica un messaggio / The URL names no message")
    }
}

fn unusable(url: &MessageUrl, error: &StoreError) -> Completion {
    match error {
        StoreError::NoSuchMailboxName(_)
        | StoreError::NoSuchMailbox { .. }
        | StoreError::NoSuchMessage { .. } => bad_url(url),
        other => refusal(other),
    }
}
