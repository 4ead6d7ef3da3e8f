//! CATENATE's URLs: octets of a message that is here already, into the one that is being appended
//! (RFC 4469 §3).

use std::sync::Arc;

use storage::{
    error::StoreError,
    mailbox::view::{ListedMessage, MailboxView},
};

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

/// Where URLs find messages.
pub(super) struct Sources<'a> {
    pub(super) state: &'a Authenticated,
    pub(super) selected: Option<&'a SelectedMailbox>,
}

/// Where their octets go.
pub(super) struct Destination<'a> {
    pub(super) sink: &'a mut dyn AppendSink,
    /// How many more octets the message may have.
    pub(super) left: u64,
    /// Whether they need space that nothing gives back.
    pub(super) counted: bool,
}

/// The mailbox that a URL was in last, and its messages: many URLs of one command are in one.
pub(super) struct Opened {
    name: String,
    view: Arc<dyn MailboxView>,
    rows: Vec<ListedMessage>,
}

/// Writes what `url` names into `to`, and returns how many octets that is.
pub(super) async fn copy_url<S>(
    context: &Context<S>,
    from: &Sources<'_>,
    opened: &mut Option<Opened>,
    url: &MessageUrl,
    to: Destination<'_>,
) -> Result<u64, Completion> {
    let header_octets_max = context.server.settings.limits.header_octets_max;
    let Some(name) = &url.mailbox else {
        let mailbox = from.selected.ok_or_else(|| bad_url(url))?;
        return copy(&*mailbox.view, mailbox.rows(), header_octets_max, url, to).await;
    };
    let found = match opened.take().filter(|opened| opened.name == *name) {
        Some(found) => found,
        None => open(from.state, url, name).await.map_err(|error| unusable(url, &error))?,
    };
    let found = opened.insert(found);
    copy(&*found.view, &found.rows, header_octets_max, url, to).await
}

/// Opens the mailbox that `url` calls `name`.
async fn open(state: &Authenticated, url: &MessageUrl, name: &str) -> Result<Opened, StoreError> {
    let view = match (state.account.open(name).await, &url.or_mailbox) {
        (Err(StoreError::NoSuchMailboxName(_)), Some(other)) => state.account.open(other).await?,
        (opened, _) => opened?,
    };
    let (_, rows) = view.list().await?;
    Ok(Opened { name: name.to_owned(), view, rows })
}

async fn copy(
    view: &dyn MailboxView,
    rows: &[ListedMessage],
    header_octets_max: u64,
    url: &MessageUrl,
    to: Destination<'_>,
) -> Result<u64, Completion> {
    let unusable = |error: StoreError| unusable(url, &error);
    if let Some(expected) = url.uid_validity {
        let state = view.state().await.map_err(unusable)?;
        if state.uid_validity.0 != expected {
            return Err(bad_url(url));
        }
    }
    let found = rows.binary_search_by_key(&url.uid, |row| row.uid).ok();
    let row = found.and_then(|index| rows.get(index)).ok_or_else(|| bad_url(url))?;
    let number = row.email_number;
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
    if octets.length() > to.left {
        return Err(literal_too_large());
    }
    if to.counted {
        to.sink.expect(octets.length()).await.map_err(|error| failed(&error))?;
    }
    for range in &octets.ranges {
        let mut position = range.start;
        while position < range.end {
            let piece = read(view, number, position..range.end).await.map_err(unusable)?;
            position += piece.len() as u64;
            to.sink.write(&piece).await.map_err(|error| failed(&error))?;
        }
    }
    to.sink.write(octets.tail).await.map_err(|error| failed(&error))?;
    Ok(octets.length())
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
