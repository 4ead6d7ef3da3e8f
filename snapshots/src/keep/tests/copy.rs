//! A naive copy of an account's mailboxes: made of the live ones, and read again from a snapshot.

use std::collections::BTreeMap;

use storage::{
    account::{Account, tree::SpecialUse},
    error::StoreError,
    ids::{MailboxId, Uid, UidValidity},
    mailbox::view::{MailboxView, MessageRow},
};

use super::house::without_mod_seq;
use crate::keep::open::OpenSnapshot;

/// A mailbox as the copy has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Copied {
    pub(crate) name: String,
    pub(crate) subscribed: bool,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) uid_validity: UidValidity,
    pub(crate) uid_next: Option<Uid>,
    pub(crate) rows: Vec<MessageRow>,
    /// `None` of a message that was erased, be it later; none at all in a copy without octets.
    pub(crate) octets: Vec<Option<Vec<u8>>>,
}

pub(crate) type Copy = BTreeMap<MailboxId, Copied>;

/// Whether a copy has the octets of its messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Octets {
    With,
    Without,
}

impl Octets {
    async fn of(self, mailbox: &dyn MailboxView, rows: &[MessageRow]) -> Vec<Option<Vec<u8>>> {
        let mut octets = Vec::new();
        for row in rows.iter().filter(|_| self == Self::With) {
            octets.push(match mailbox.read(row.email_number, 0..row.size).await {
                Ok(read) => Some(read.to_vec()),
                Err(StoreError::Erased { .. }) => None,
                Err(error) => panic!("{error:?}"),
            });
        }
        octets
    }
}

/// The account as it is, read through its live mailboxes.
pub(crate) async fn live(account: &Account, octets: Octets) -> Copy {
    let mut copy = Copy::new();
    for listing in account.mailboxes().await.expect("mailboxes") {
        let Some(id) = listing.mailbox_id else { continue };
        let mailbox = account.mailbox(id).await.expect("a mailbox");
        let state = MailboxView::state(&*mailbox).await.expect("a state");
        let rows = without_mod_seq(mailbox.rows().await.expect("rows").1);
        let octets = octets.of(&*mailbox, &rows).await;
        let copied = Copied {
            name: listing.name,
            subscribed: listing.subscribed,
            special_use: listing.special_use,
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            rows,
            octets,
        };
        copy.insert(id, copied);
    }
    copy
}

/// A snapshot, read through its mailboxes.
pub(crate) async fn read(
    open: &std::sync::Arc<OpenSnapshot>,
    octets: Octets,
) -> Result<Copy, StoreError> {
    let mut copy = Copy::new();
    for (id, entry) in &open.state().mailboxes {
        let mailbox = open.mailbox(*id).expect("a mailbox");
        let state = MailboxView::state(&*mailbox).await?;
        let rows = without_mod_seq(mailbox.rows().await?.1);
        assert_eq!((state.exists, entry.flags.rows), (rows.len() as u64, rows.len() as u64));
        let octets = octets.of(&*mailbox, &rows).await;
        let uses = [
            SpecialUse::Archive,
            SpecialUse::Drafts,
            SpecialUse::Junk,
            SpecialUse::Sent,
            SpecialUse::Trash,
        ];
        let copied = Copied {
            name: entry.name.clone(),
            subscribed: entry.subscribed,
            special_use: uses.into_iter().find(|special| special.attribute() == entry.special_use),
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            rows,
            octets,
        };
        copy.insert(*id, copied);
    }
    Ok(copy)
}
