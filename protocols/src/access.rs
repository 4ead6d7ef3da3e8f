//! What sessions ask of the rest of the program: who somebody is, and what his mail is.
//!
//! * [`Authenticator`] turns a login and a password, a proof of one, or the token of an issuer, into
//!   an [`Identity`].
//! * [`MailAccount`] is the tree of mailboxes of one account as IMAP and POP3 see it: live
//!   mailboxes, the archive and snapshots in one name space. A mailbox is then read through
//!   [`storage::mailbox::view::MailboxView`].
//!
//! The floor above implements both. Names of mailboxes are UTF-8 with `/` between levels;
//! modified UTF-7 (RFC 3501 §5.1.3) is IMAP's affair and ends in `imap`.

use std::{net::IpAddr, sync::Arc};

use storage::{
    account::tier::Tier,
    error::StoreError,
    ids::{AccountId, MailboxId, Uid, UidValidity},
    mailbox::{
        append::Replaced,
        flags::Flags,
        view::{Access, MailboxState, MailboxView},
    },
};
use trust::clock::UnixMillis;

use crate::sasl::scram::ScramVerifier;

/// The protocol somebody logs in by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// Message submission (RFC 6409).
    Submission,
    /// Relay between servers (RFC 5321).
    Relay,
    /// IMAP (RFC 3501, RFC 9051).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
    /// The provider's directory entry over HTTPS (RFC 6109 §4.5); nobody logs in there.
    Directory,
}

impl Protocol {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Relay => "relay",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Directory => "directory",
        }
    }
}

/// Somebody who has proven who he is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The account.
    pub account_id: AccountId,
    /// The account's address, domain in lower case.
    pub address: String,
}

/// Why a login was refused. The peer learns no more than the variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Unknown login or wrong password: one answer for both.
    #[error("user name or password is wrong")]
    BadCredentials,
    /// The account is blocked or closed, and the password was right.
    #[error("the account is blocked: write to the help desk")]
    Blocked,
    /// Too many failures from this address. Try again later.
    #[error("too many failed logins: wait some minutes and try again")]
    TooManyFailures,
    /// The registry cannot answer now.
    #[error("logins are not possible at the moment: try again later")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a SCRAM challenge is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScramKeys {
    /// What is kept of the password.
    pub verifier: ScramVerifier,
    /// The server's part of the nonce: fresh, printable ASCII without comma.
    pub nonce: String,
}

/// Checks credentials.
#[async_trait::async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Checks `password` for `login` (an address). Takes about as long for an unknown login as
    /// for a wrong password.
    async fn verify_password(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        password: &str,
    ) -> Result<Identity, LoginError>;

    /// Begins SCRAM-SHA-256 for `login`. An unknown login gets keys too, always with the same salt
    /// and rounds, which no proof fits: the answer does not tell who has an account.
    async fn scram_keys(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
    ) -> Result<ScramKeys, LoginError>;

    /// Ends it: `proven` says whether the peer's proof fits `verifier`, which
    /// [`Authenticator::scram_keys`] gave for `login`. Counts failures as
    /// [`Authenticator::verify_password`] does; `Ok` only when `proven`, and when the password is
    /// still the same.
    async fn scram_settled(
        &self,
        protocol: Protocol,
        peer: IpAddr,
        login: &str,
        verifier: &ScramVerifier,
        proven: bool,
    ) -> Result<Identity, LoginError>;

    /// What clients are told whose token was refused: the JSON of RFC 7628 §3.2.2, one line of
    /// printable ASCII. `None` where no tokens are taken: OAUTHBEARER is then not offered.
    fn token_refusal(&self) -> Option<&str> {
        None
    }

    /// Checks the token of an issuer that is believed (RFC 7628). `login` is whom the client wants
    /// to be; the token must say the same.
    async fn verify_token(
        &self,
        _protocol: Protocol,
        _peer: IpAddr,
        _login: Option<&str>,
        _token: &str,
    ) -> Result<Identity, LoginError> {
        Err(LoginError::BadCredentials)
    }
}

/// The first level of the names of mailboxes that other accounts share (RFC 2342 §4), as in
/// `Altri utenti/posta@pec.example/INBOX`. Nobody can create anything there.
pub const OTHER_USERS: &str = "Altri utenti";

/// Says whether `name` stands among the mailboxes of other accounts.
#[must_use]
pub fn is_of_others(name: &str) -> bool {
    name.strip_prefix(OTHER_USERS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The account whose mailbox `name` is, as it is named there; `None` = the holder's own.
#[must_use]
pub fn owner_of(name: &str) -> Option<&str> {
    let below = name.strip_prefix(OTHER_USERS)?.strip_prefix('/')?;
    Some(below.split_once('/').map_or(below, |(owner, _)| owner))
}

/// The first level of the names of mailboxes that snapshots show, as in
/// `Snapshot/2026-11-21T06:00:17Z/INBOX`: below it stand instants in UTC, which sort by their names, and
/// below each the names that the account's own mailboxes had then. Nothing there ever changes.
pub const SNAPSHOTS: &str = "Snapshot";

/// Says whether `name` stands among what snapshots show.
#[must_use]
pub fn is_of_snapshots(name: &str) -> bool {
    name.strip_prefix(SNAPSHOTS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Levels below [`SNAPSHOTS`] that are no instant: to create one of them asks for a snapshot of now, which
/// stands under its own name.
const NOW: [&str; 2] = ["Adesso", "now"];

/// Says whether to create `name` asks for a snapshot.
#[must_use]
pub fn asks_for_snapshot(name: &str) -> bool {
    let below = name.strip_prefix(SNAPSHOTS).and_then(|rest| rest.strip_prefix('/'));
    below.is_some_and(|below| NOW.iter().any(|now| now.eq_ignore_ascii_case(below)))
}

/// What became of a holder's wish for a snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotAsked {
    /// It was taken; the name of its instant.
    Taken(String),
    /// The account is still as this one shows it.
    Unchanged(String),
    /// The account has had as many as it may have in a day.
    TooMany(u32),
    /// The account is changing, or has one of this second.
    TooSoon,
}

/// The instant of the snapshot among whose mailboxes `name` stands, and what is below it; empty for the
/// instant itself. `None` for other names, and for [`SNAPSHOTS`].
#[must_use]
pub fn snapshot_of(name: &str) -> Option<(&str, &str)> {
    let below = name.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?;
    Some(below.split_once('/').unwrap_or((below, "")))
}

/// Where the number of the mailbox `name` counts: with the other account whose it is, or within its
/// snapshot; `None` = among the holder's own mailboxes as they are now.
#[must_use]
pub fn realm_of(name: &str) -> Option<&str> {
    let instant =
        || snapshot_of(name).map(|(instant, _)| &name[..SNAPSHOTS.len() + 1 + instant.len()]);
    owner_of(name).or_else(instant)
}

/// Opens the mail of somebody who is logged in.
#[async_trait::async_trait]
pub trait MailAccess: Send + Sync + 'static {
    /// Returns the account's tree.
    async fn open(&self, identity: &Identity) -> Result<Arc<dyn MailAccount>, StoreError>;
}

/// RFC 6154 special uses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every use.
    pub const ALL: [Self; 5] = [Self::Archive, Self::Drafts, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute that stands for it.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

/// One name of the tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxEntry {
    /// The full name, levels separated by `/`; `INBOX` in capitals.
    pub name: String,
    /// The mailbox; `None` for a name that cannot be opened (`\NonExistent` or `\Noselect`): a
    /// parent of others, or a subscription without a mailbox.
    pub mailbox_id: Option<MailboxId>,
    /// Whether the owner subscribes to it.
    pub subscribed: bool,
    /// Its special use.
    pub special_use: Option<SpecialUse>,
    /// Whether a read-only part of the tree (snapshot) holds it.
    pub read_only: bool,
    /// The mailbox's counters at the moment of listing.
    pub state: Option<MailboxState>,
}

/// Usage and limit of one resource; `None` = unlimited.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ResourceUse {
    /// Used now.
    pub used: u64,
    /// The limit.
    pub limit: Option<u64>,
}

/// Usage and limits of an account (RFC 9208 §5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AccountUse {
    /// Octets charged to the holder (STORAGE).
    pub octets: ResourceUse,
    /// Messages, copies counted each (MESSAGE).
    pub messages: ResourceUse,
    /// Mailboxes (MAILBOX).
    pub mailboxes: ResourceUse,
    /// Octets charged in the archive, which has a quota root of its own.
    pub archive_octets: ResourceUse,
    /// Messages there.
    pub archive_messages: ResourceUse,
}

/// Something noted about a mailbox, or about the server by the account (RFC 5464 §3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Annotation {
    /// The entry's name in lower case: `/private/comment`.
    pub entry: String,
    /// Its value, any octets.
    pub value: Vec<u8>,
}

/// Why space was not set. The text goes to whoever asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetQuotaError {
    /// The account is no operator's.
    #[error("only operators set space: the others buy it")]
    NotOperator,
    /// There is no such account.
    #[error("no account has the address {0}: check it")]
    NoSuchAccount(String),
    /// The plan of the account does not allow it.
    #[error("the plan of {0} does not allow that space")]
    PlanForbids(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry cannot answer now.
    #[error("the registry cannot take the change now: try again later")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a new message gets besides its octets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AppendAttributes {
    /// Flags to set.
    pub flags: Flags,
    /// INTERNALDATE; now when absent.
    pub internal_date: Option<UnixMillis>,
}

/// Messages on their way into one mailbox: all of them or none (RFC 3502 §3). Dropping them leaves
/// the mailbox as it was.
#[async_trait::async_trait]
pub trait AppendSink: Send {
    /// Ends the message before and begins the next, of `size` octets where that is known and takes
    /// space that nothing gives back. Refuses at
    /// once what cannot succeed: [`StoreError::OverQuota`], [`StoreError::LimitExceeded`].
    async fn begin(
        &mut self,
        size: Option<u64>,
        attributes: AppendAttributes,
    ) -> Result<(), StoreError>;

    /// Says that the message that was begun last gets `octets` more than was known. Refuses as
    /// [`Self::begin`] does.
    async fn expect(&mut self, octets: u64) -> Result<(), StoreError>;

    /// Takes the next octets of the message that was begun last, in pieces of any size.
    async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError>;

    /// Appends them durably and returns UIDVALIDITY and the new UIDs in their order. With `replaced`, that
    /// message goes in the same step (RFC 8508 §3); [`StoreError::NoSuchUid`] when it is gone.
    async fn finish(
        self: Box<Self>,
        replaced: Option<Replaced>,
    ) -> Result<(UidValidity, Vec<Uid>), StoreError>;
}

/// The mail of one account.
#[async_trait::async_trait]
pub trait MailAccount: Send + Sync + 'static {
    /// Returns every name, ordered by name, INBOX first. Of snapshots only names that are subscribed to,
    /// which are told without their mailbox.
    async fn list(&self) -> Result<Vec<MailboxEntry>, StoreError>;

    /// The instants of which there are snapshots, by their names, ascending.
    async fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Returns every name below [`SNAPSHOTS`] that the snapshot of `instant` shows, ordered by name, none
    /// of them subscribed or with a special use. [`StoreError::NoSuchMailboxName`] when there is none, or
    /// none any more.
    async fn list_snapshot(&self, instant: &str) -> Result<Vec<MailboxEntry>, StoreError> {
        Err(StoreError::NoSuchMailboxName(format!("{SNAPSHOTS}/{instant}")))
    }

    /// Takes a snapshot of now, because the holder asks for it. [`StoreError::ReadOnly`] where nobody may.
    async fn take_snapshot(&self) -> Result<SnapshotAsked, StoreError> {
        Err(StoreError::ReadOnly)
    }

    /// Opens a mailbox for reading and writing, or read-only where the tree is.
    /// [`StoreError::NoSuchMailboxName`] when there is none.
    async fn open(&self, name: &str) -> Result<Arc<dyn MailboxView>, StoreError>;

    /// Returns the counters of a mailbox without opening it.
    async fn status(&self, name: &str) -> Result<MailboxState, StoreError>;

    /// Finds a mailbox that messages of this account's mailboxes can be copied to.
    /// [`StoreError::NoSuchMailboxName`], [`StoreError::ReadOnly`].
    async fn destination(&self, name: &str) -> Result<MailboxId, StoreError> {
        let view = self.open(name).await?;
        if view.access() == Access::ReadOnly {
            return Err(StoreError::ReadOnly);
        }
        Ok(view.state().await?.mailbox_id)
    }

    /// Creates a mailbox and what is missing above it (RFC 9051 §6.3.4), for `special_use`
    /// (RFC 6154 §3): [`StoreError::SpecialUseTaken`] when another mailbox has it.
    async fn create(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, StoreError>;

    /// Deletes a mailbox with its messages; one with children below becomes `\Noselect`.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Renames a mailbox and everything below it; INBOX gives its messages away and stays
    /// (RFC 9051 §6.3.6).
    async fn rename(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Subscribes to a name, or ends that. The name need not exist (RFC 9051 §6.3.7).
    async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), StoreError>;

    /// Starts to append messages. [`StoreError::ReadOnly`], [`StoreError::NoSuchMailboxName`].
    async fn append(&self, name: &str) -> Result<Box<dyn AppendSink>, StoreError>;

    /// Usage and limits, of one instant.
    async fn quota(&self) -> Result<AccountUse, StoreError>;

    /// Returns what is noted about a mailbox, or with `None` about the server, ordered by entry. Of
    /// a mailbox that another account shares: only what begins with `/shared/`.
    async fn annotations(&self, mailbox: Option<&str>) -> Result<Vec<Annotation>, StoreError>;

    /// Notes values, or forgets entries whose value is `None`, all or nothing and durably
    /// (RFC 5464 §4.3). [`StoreError::TooManyAnnotations`], [`StoreError::AnnotationTooLarge`],
    /// [`StoreError::OverQuota`] of `annotation octets`, [`StoreError::ReadOnly`].
    async fn annotate(
        &self,
        mailbox: Option<&str>,
        changes: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), StoreError>;

    /// Whether an operator is logged in, who may ask for the quota of others and set it.
    fn is_operator(&self) -> bool {
        false
    }

    /// Usage and limits of the account with `address`, for an operator.
    async fn quota_of(&self, _address: &str) -> Result<AccountUse, SetQuotaError> {
        Err(SetQuotaError::NotOperator)
    }

    /// Gives the account with `address`, or with `None` this one, space for `octets` of `tier`, rounded
    /// up to what can be had, and returns usage and limits then.
    async fn set_space(
        &self,
        _address: Option<&str>,
        _tier: Tier,
        _octets: u64,
    ) -> Result<AccountUse, SetQuotaError> {
        Err(SetQuotaError::NotOperator)
    }

    /// Returns a receiver that is marked changed after every committed change of the account.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
}
