//! One file per command, named by it; commands that are two forms of one thing share one: EXAMINE
//! stands with SELECT, UNSUBSCRIBE with SUBSCRIBE, REPLACE with APPEND, those of ACL and of METADATA
//! with each other. Each obeys the section of RFC 3501 §6, or of its extension's RFC, that describes
//! the command.
//!
//! A command takes the state that it needs and returns its completion; untagged responses go to
//! the frame on the way. What others have changed is reported by the session, not here.

pub(crate) mod acl;
pub(crate) mod append;
mod append_url;
pub(crate) mod authenticate;
pub(crate) mod cancel_update;
pub(crate) mod capability;
pub(crate) mod close;
pub(crate) mod compress;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod enable;
pub(crate) mod esearch;
pub(crate) mod expunge;
pub(crate) mod fetch;
pub(crate) mod getquota;
pub(crate) mod id;
pub(crate) mod idle;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod lsub;
pub(crate) mod metadata;
pub(crate) mod r#move;
pub(crate) mod namespace;
pub(crate) mod noop;
pub(crate) mod notify;
pub(crate) mod pattern;
pub(crate) mod rename;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod setquota;
pub(crate) mod sort;
pub(crate) mod starttls;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod subscribe;
pub(crate) mod thread;
pub(crate) mod uid_batches;
pub(crate) mod unauthenticate;
