//! The bounds of one IMAP session.

use std::{num::NonZeroU32, time::Duration};

/// Every bound of an IMAP session. Connections in all and per source are bounded by
/// [`crate::net`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImapLimits {
    /// Octets of a command without its literals. RFC 7162 §4 asks for 8,192 at least; clients
    /// with large mailboxes send longer sequence sets.
    pub line_octets_max: usize,
    /// Octets of all literals of a command, the message of APPEND not counted.
    pub literal_octets_max: usize,
    /// Octets of a message that APPEND may announce: the largest submission and its transport
    /// envelope.
    pub append_octets_max: u64,
    /// How long a message of APPEND may take, whatever its size.
    pub append_time_max: Duration,
    /// After how long it must have come at `append_octets_per_second_min`.
    pub append_grace: Duration,
    /// Octets of it per second, on average since its beginning; who sends slower is given up.
    pub append_octets_per_second_min: u64,
    /// Messages of one APPEND.
    pub append_messages_max: usize,
    /// Parts of one message that CATENATE puts together (RFC 4469).
    pub append_parts_max: usize,
    /// Those of them that are octets of other messages.
    pub append_urls_max: usize,
    /// Ranges in the sequence sets of one command.
    pub sequence_ranges_max: usize,
    /// Items of one list: what FETCH asks for, header fields of one item, flags.
    pub items_max: usize,
    /// Messages that one FETCH, SEARCH, STORE, COPY, MOVE or UID EXPUNGE works on, announced as
    /// MESSAGELIMIT (RFC 9738 §3; at least 1,000). Clients that do not know the extension see only
    /// the newest messages of a larger mailbox (§4.1), so it is unset unless asked for.
    pub message_limit: Option<NonZeroU32>,
    /// Messages that one COPY may copy, announced as SAVELIMIT where there is no `message_limit`
    /// (RFC 9738 §3): the store copies them in one batch.
    pub save_limit: NonZeroU32,
    /// Keys in one SEARCH, those inside others counted.
    pub search_keys_max: usize,
    /// Levels of parentheses, OR and NOT in SEARCH.
    pub search_depth_max: usize,
    /// Mailboxes in one ESEARCH.
    pub search_mailboxes_max: usize,
    /// Messages that `$` may stand for.
    pub search_saved_max: usize,
    /// Octets that SORT and THREAD may hold of texts and identifiers; all sorted contexts of a
    /// session together, too.
    pub sort_octets_max: usize,
    /// Searches of a session whose changes are told (RFC 5267 §4.3).
    pub contexts_max: usize,
    /// Names in the tree of mailboxes that a session is told news of (RFC 5465 §5.8), entries of
    /// annotations that it is, and names in one NOTIFY.
    pub notify_mailboxes_max: usize,
    /// The least time between two looks at the mailboxes that a session is told news of; what changes
    /// meanwhile is told together.
    pub notify_pause: Duration,
    /// Every how long a command that takes its time says so (RFC 9585 §4: 10 to 15 seconds).
    pub progress_period: Duration,
    /// Patterns of one LIST (RFC 5258 §3).
    pub list_patterns_max: usize,
    /// Octets of all patterns of one LIST; no name is longer than 1,000.
    pub list_pattern_octets_max: usize,
    /// Whether LIST shows snapshots to clients that list everything, too. They would download every
    /// message once for each instant.
    pub snapshots_listed: bool,
    /// Instants that LIST shows at most, the newest; older ones are opened by their name.
    pub snapshots_listed_max: usize,
    /// Octets of a header that SEARCH and HEADER.FIELDS look at.
    pub header_octets_max: u64,
    /// How long a session may be silent once logged in (RFC 3501 §5.4: at least 30 minutes).
    pub idle_time_max: Duration,
    /// How long a peer may take to log in.
    pub login_time_max: Duration,
    /// How long the next octets of a literal may keep us waiting.
    pub literal_time_max: Duration,
    /// How long one piece (64 KiB) of output may take.
    pub write_time_max: Duration,
    /// Commands in a row that are answered BAD.
    pub bad_commands_max: u32,
    /// Failed logins of one session.
    pub failed_logins_max: u32,
    /// Whether COMPRESS is offered (RFC 4978): 51 KiB of each session that uses it, and 259 KiB
    /// more while it is answered.
    pub compress: bool,
    /// Sessions of a server that are compressed at one time; more are refused. A peer that takes its
    /// answer slowly keeps the compressor, so each may cost 330 KiB.
    pub compressed_sessions_max: usize,
}

impl Default for ImapLimits {
    fn default() -> Self {
        Self {
            line_octets_max: 64 * 1024,
            literal_octets_max: 64 * 1024,
            append_octets_max: 72 * 1024 * 1024,
            append_time_max: Duration::from_hours(6),
            append_grace: Duration::from_mins(5),
            append_octets_per_second_min: 1_024,
            append_messages_max: 100,
            append_parts_max: 1_000,
            append_urls_max: 100,
            sequence_ranges_max: 16_384,
            items_max: 200,
            message_limit: None,
            save_limit: const { NonZeroU32::new(100_000).unwrap() },
            search_keys_max: 1_000,
            search_depth_max: 64,
            search_mailboxes_max: 1_000,
            search_saved_max: 1_000_000,
            sort_octets_max: 64 * 1024 * 1024,
            contexts_max: 16,
            notify_mailboxes_max: 10_000,
            notify_pause: Duration::from_millis(50),
            progress_period: Duration::from_secs(12),
            list_patterns_max: 100,
            list_pattern_octets_max: 4_000,
            snapshots_listed: false,
            snapshots_listed_max: 128,
            header_octets_max: 16 * 1024 * 1024,
            idle_time_max: Duration::from_mins(30),
            login_time_max: Duration::from_mins(1),
            literal_time_max: Duration::from_mins(1),
            write_time_max: Duration::from_mins(2),
            bad_commands_max: 20,
            failed_logins_max: 3,
            compress: true,
            compressed_sessions_max: 1_000,
        }
    }
}
