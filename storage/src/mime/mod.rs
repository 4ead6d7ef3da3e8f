//! MIME as it arrives: one streaming walk that serves the splitter and the summary alike.
//!
//! * [`visitor`]: what a walk reports.
//! * [`walker`]: cuts a message into headers, bodies and what stands between (RFC 2045, RFC 2046,
//!   RFC 5322), octet by octet accounted for.
//! * [`header`]: the header fields that anybody in the store looks at.
//! * [`parameter`], [`address`]: the values inside those fields.
//! * [`summary`]: builds the [`Summary`](crate::summary::Summary); [`preview`] its readable start.
//!
//! Invariants:
//!
//! * No input is refused and none makes the walk fail: broken MIME is read the way that loses
//!   least, and every octet is reported exactly once, in order.
//! * Memory is bounded, whatever the message holds: header octets kept, line prefixes held back,
//!   depth, parts, addresses and parameters all have a limit.
//!
//! Not here: which octets go into which chunk (`octets`), rules about certified mail.

pub mod address;
pub(crate) mod content;
pub mod header;
pub mod parameter;
pub mod preview;
pub mod summary;
pub mod visitor;
pub mod walker;
