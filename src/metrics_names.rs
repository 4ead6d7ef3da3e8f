//! The names of all metrics, and what each counts.
//!
//! Names begin with `ceralacca_` and end in their unit or `_total`. A label has few values, never
//! an address, a message or anything else that a peer chooses.
//!
//! Not here: where a metric is counted (beside what happens), how it is shown
//! ([`crate::http`]).

/// Logins, by `protocol` and `outcome` (`ok`, `bad_credentials`, `blocked`, `too_many_failures`,
/// `unavailable`).
pub const LOGINS: &str = "ceralacca_logins_total";
/// Seconds that a password hashing took, waiting not included.
pub const LOGIN_HASHING: &str = "ceralacca_login_hashing_seconds";
/// Changes of accounts handed to the store, by `outcome` (`applied`, `refused`).
pub const ACCOUNT_CHANGES: &str = "ceralacca_account_changes_total";
/// Octets of packs that scrubbing has read.
pub const SCRUBBED_OCTETS: &str = "ceralacca_scrubbed_octets_total";
/// Damaged packs and chunks that scrubbing has found.
pub const SCRUB_DAMAGES: &str = "ceralacca_scrub_damages_total";
/// Messages that restores from snapshots looked at, by `outcome` (`restored`, `present`, `erased`,
/// `unreadable`).
pub const SNAPSHOT_RESTORED: &str = "ceralacca_snapshot_restored_messages_total";
/// Restores from snapshots that ended, by `outcome` (`done`, `stopped`).
pub const SNAPSHOT_RESTORES: &str = "ceralacca_snapshot_restores_total";
/// Steps of restores that failed and are tried again.
pub const SNAPSHOT_RESTORE_FAILURES: &str = "ceralacca_snapshot_restore_failures_total";
/// Restores that have not ended, by `state` (`running`, `stopped`).
pub const SNAPSHOT_RESTORES_OPEN: &str = "ceralacca_snapshot_restores_open";
/// Messages that running restores have still to look at.
pub const SNAPSHOT_RESTORE_LEFT: &str = "ceralacca_snapshot_restore_messages_left";
/// Age of the running restore that was asked for first, in seconds; 0 = none runs.
pub const SNAPSHOT_RESTORE_OLDEST: &str = "ceralacca_snapshot_restore_oldest_seconds";
/// Requests on the operations port, by `path` and `status`.
pub const HTTP_REQUESTS: &str = "ceralacca_http_requests_total";
/// Operations that commands asked of the server, by `operation` and `outcome` (`done`, `failed`,
/// `cancelled`).
pub const CONTROL_OPERATIONS: &str = "ceralacca_control_operations_total";

/// Messages taken from holders at the access point.
pub const SUBMISSIONS: &str = "ceralacca_submissions_total";
/// Messages and recipients refused at the access point for a limit of the plan, by `limit` (`size`,
/// `recipients`, `minute`, `day`).
pub const SUBMISSIONS_LIMITED: &str = "ceralacca_submissions_limited_total";
/// Messages taken from other servers at the incoming point.
pub const INCOMING_MESSAGES: &str = "ceralacca_incoming_messages_total";
/// Messages that came again and were recognised.
pub const INCOMING_REPEATS: &str = "ceralacca_incoming_repeats_total";

/// What servers made of messages, for each recipient, by `outcome` (`taken`, `refused`, `put_off`,
/// `interrupted`, `unknown`: the answer was lost).
pub const OUTGOING_ATTEMPTS: &str = "ceralacca_outgoing_attempts_total";
/// Connections to other servers, by `outcome` (`connected`, `refused`, `policy`, `unreachable`).
pub const OUTGOING_CONNECTIONS: &str = "ceralacca_outgoing_connections_total";
/// What TLS to other servers came to, by `policy` (`configured`, `dane`, `mta_sts`, `default`; `dns`
/// where DANE or MTA-STS leaves no server) and `outcome` (`name`, `dane`, `any`: what is known of the
/// server; `clear`; `failed`; `forbidden`).
pub const OUTGOING_TLS: &str = "ceralacca_outgoing_tls_total";
/// Messages in the outgoing queue, by `state` (`waiting`, `held`).
pub const QUEUE_MESSAGES: &str = "ceralacca_queue_messages";
/// The age of the oldest message in the outgoing queue, in seconds.
pub const QUEUE_OLDEST: &str = "ceralacca_queue_oldest_seconds";
/// Connections to other servers that are busy.
pub const OUTGOING_BUSY: &str = "ceralacca_outgoing_connections_busy";
/// Destinations that do not answer at present.
pub const DESTINATIONS_FAILING: &str = "ceralacca_destinations_failing";

/// Seals of the journal made.
pub const JOURNAL_SEALS: &str = "ceralacca_journal_seals_total";
/// Records of the journal in them.
pub const JOURNAL_SEALED_RECORDS: &str = "ceralacca_journal_sealed_records_total";
/// Daily pieces of the journal signed and time-stamped.
pub const JOURNAL_PIECES: &str = "ceralacca_journal_pieces_total";
/// The end of the last period of the journal that has its piece, in seconds since 1970.
pub const JOURNAL_SAVED: &str = "ceralacca_journal_saved_until_seconds";
/// Steps of the journal's keeper that failed and are due again, by `step` (`seal`, `piece`, `store`,
/// `dispose`).
pub const JOURNAL_FAILURES: &str = "ceralacca_journal_failures_total";
/// Records of the journal that the sealer found missing.
pub const JOURNAL_MISSING: &str = "ceralacca_journal_missing_records_total";
/// Records of the journal disposed of after their time.
pub const JOURNAL_DISPOSED: &str = "ceralacca_journal_disposed_records_total";

/// Requests to a remote object store that ended, by `operation` (`put`, `get`, `list`, `delete`,
/// `copy`, `upload_begin`, `upload_part`, `upload_complete`, `upload_abort`) and `outcome` (`done`,
/// `refused`, `temporary`, `permanent`).
pub const OBJECT_REQUESTS: &str = "ceralacca_object_requests_total";
/// Requests to a remote object store that were made again, by `operation`.
pub const OBJECT_RETRIES: &str = "ceralacca_object_retries_total";
/// Octets of the bodies of these requests, by `operation`.
pub const OBJECT_OCTETS: &str = "ceralacca_object_octets_total";
/// Seconds that one of these requests took, by `operation`.
pub const OBJECT_SECONDS: &str = "ceralacca_object_request_seconds";

/// Chunks that were asked of a cache and were there, by `cache` (`memory`, `disk`).
pub const CACHE_HITS: &str = "ceralacca_chunk_cache_hits_total";
/// Chunks that were asked of a cache and had to come from further away, by `cache`.
pub const CACHE_MISSES: &str = "ceralacca_chunk_cache_misses_total";
/// Octets in a cache of chunks, by `cache`.
pub const CACHE_OCTETS: &str = "ceralacca_chunk_cache_octets";
/// Chunks in a cache of chunks, by `cache`.
pub const CACHE_ENTRIES: &str = "ceralacca_chunk_cache_entries";

/// Octets sent to the back-up.
pub const BACKUP_OCTETS: &str = "ceralacca_backup_octets_total";
/// Increments of the back-up that failed.
pub const BACKUP_FAILURES: &str = "ceralacca_backup_failures_total";
/// The instant of the last complete increment, in seconds since 1970.
pub const BACKUP_INSTANT: &str = "ceralacca_backup_instant_seconds";
/// Runs of the collector, by `outcome` (`finished`, `failed`).
pub const COLLECTOR_RUNS: &str = "ceralacca_collector_runs_total";
/// Chunks that the collector removed.
pub const COLLECTOR_CHUNKS_SWEPT: &str = "ceralacca_collector_chunks_swept_total";
/// Objects that the collector deleted.
pub const COLLECTOR_PACKS_DELETED: &str = "ceralacca_collector_packs_deleted_total";
/// Octets of the objects that the collector deleted.
pub const COLLECTOR_OCTETS_DELETED: &str = "ceralacca_collector_deleted_octets_total";
/// Octets of the packs that the collector wrote.
pub const COLLECTOR_OCTETS_WRITTEN: &str = "ceralacca_collector_written_octets_total";
/// Runs of the archive over an account, by `outcome` (`finished`, `full`, `stopped`, `overtaken`,
/// `failed`).
pub const ARCHIVE_RUNS: &str = "ceralacca_archive_runs_total";
/// Messages that runs moved into the archive.
pub const ARCHIVE_MESSAGES: &str = "ceralacca_archive_messages_total";
/// What they are charged, in octets.
pub const ARCHIVE_OCTETS: &str = "ceralacca_archive_octets_total";
/// How late the latest run of the last round was, in seconds.
pub const ARCHIVE_LATE: &str = "ceralacca_archive_late_seconds";
/// Held messages that were released.
pub const HELD_RELEASED: &str = "ceralacca_held_messages_released_total";

/// Notices that nothing was heard of a recipient in time, by `limit` (`first`, `last`).
pub const TIME_LIMIT_NOTICES: &str = "ceralacca_time_limit_notices_total";
/// Ordinary messages that were checked, by `verdict` (`taken`, `refused_dmarc`, `refused_from`,
/// `refused_spf`, `put_off`).
pub const ORDINARY_CHECKS: &str = "ceralacca_ordinary_mail_checks_total";
/// What the checks of ordinary mail found, by `method` (`spf`, `dkim`, `dmarc`, `arc`) and `result`
/// (the words of RFC 8601 §2.7).
pub const ORDINARY_RESULTS: &str = "ceralacca_ordinary_mail_results_total";
/// Messages that a program was asked about, by `check` (`clamd`, `rspamd`) and `outcome` (`clean`, `found`,
/// `later`, `noted`; `unavailable`: it could not be asked; `unchecked`: it does not check this one).
pub const CONTENT_CHECKS: &str = "ceralacca_content_checks_total";
/// Seconds that a check of a message took, by `check`, waiting for a turn not included.
pub const CONTENT_CHECK_SECONDS: &str = "ceralacca_content_check_seconds";
/// Whether the program answers, by `check`: 1 or 0.
pub const CONTENT_CHECK_UP: &str = "ceralacca_content_check_up";
/// The age of the signatures of viruses in seconds, when the program tells it.
pub const SIGNATURES_AGE: &str = "ceralacca_virus_signatures_age_seconds";
/// Messages that came to the end of their time in quarantine.
pub const QUARANTINE_DISPOSED: &str = "ceralacca_quarantine_disposed_total";
/// Commands of SMTP that were put off, by `cause` (`disk`, `slow_store`, `store`, `memory`).
pub const PRESSURE_REFUSALS: &str = "ceralacca_pressure_refusals_total";
/// Free octets on the fullest disk that messages go to.
pub const FREE_OCTETS: &str = "ceralacca_data_free_octets";
/// Questions asked of DNS servers, by `type` (`mx`, `a`, `aaaa`, `txt`, `tlsa`) and `outcome`
/// (`secure`, `answered`, `no_such_name`, `no_records`, `bogus`, `unreachable`).
pub const DNS_QUESTIONS: &str = "ceralacca_dns_questions_total";
/// Questions that were answered from memory, by `type`.
pub const DNS_CACHE_HITS: &str = "ceralacca_dns_cache_hits_total";
/// Seconds that a question to DNS servers took, by `type`.
pub const DNS_QUESTION_SECONDS: &str = "ceralacca_dns_question_seconds";

/// Seconds from the end of a submission to its acceptance receipt, by `domain` of the sender.
pub const ACCEPTANCE_SECONDS: &str = "ceralacca_acceptance_seconds";
/// Seconds from the end of a submission to a delivery receipt in the sender's mailbox, by `domain`: the
/// recipient's when it is ours, else `elsewhere`.
pub const DELIVERY_SECONDS: &str = "ceralacca_delivery_seconds";
/// Seconds of the present four months in which the service was not there.
pub const SERVICE_LOST: &str = "ceralacca_service_lost_seconds";
/// Seconds of the longest outage of the present four months.
pub const SERVICE_OUTAGE_LONGEST: &str = "ceralacca_service_longest_outage_seconds";
/// Fetches of the directory of providers, by `outcome` (`unchanged`, `changed`, `held`, `failed`).
pub const DIRECTORY_FETCHES: &str = "ceralacca_directory_fetches_total";
/// When the copy of the directory in use was confirmed last, in seconds since 1970; 0 = never fetched.
pub const DIRECTORY_INSTANT: &str = "ceralacca_directory_instant_seconds";
/// Whether a new copy of the directory waits for an operator: 1 or 0.
pub const DIRECTORY_HELD: &str = "ceralacca_directory_held";
/// Providers of the directory in use, this one included.
pub const DIRECTORY_PROVIDERS: &str = "ceralacca_directory_providers";
/// Domains of the directory in use.
pub const DIRECTORY_DOMAINS: &str = "ceralacca_directory_domains";
/// Requests for the provider's published entry, by `status`.
pub const DIRECTORY_REQUESTS: &str = "ceralacca_directory_requests_total";
/// When a certificate ends, in seconds since 1970, by `use` (`signing`, `tls`).
pub const CERTIFICATE_END: &str = "ceralacca_certificate_end_seconds";

/// When the last run over all accounts was closed, in seconds since 1970.
pub const SNAPSHOT_RUN_INSTANT: &str = "ceralacca_snapshot_run_instant_seconds";
/// How late runs are: the age of the first instant that no run covers yet, in seconds; 0 = none.
pub const SNAPSHOT_LAG: &str = "ceralacca_snapshot_lag_seconds";
/// How long the last run took, in seconds.
pub const SNAPSHOT_RUN_SECONDS: &str = "ceralacca_snapshot_run_duration_seconds";
/// How far the end of the last run is ahead of the clock.
pub const SNAPSHOT_AHEAD: &str = "ceralacca_snapshot_ahead_seconds";
/// Kept runs that are not time-stamped yet.
pub const SNAPSHOT_UNSTAMPED: &str = "ceralacca_snapshot_runs_unstamped";
/// Runs over all accounts, closed.
pub const SNAPSHOT_RUNS: &str = "ceralacca_snapshot_runs_total";
/// Accounts of runs, by `outcome` (`looked_at`, `taken`, `failed`).
pub const SNAPSHOT_ACCOUNTS: &str = "ceralacca_snapshot_accounts_total";
/// Pages that runs wrote for the tree of accounts.
pub const SNAPSHOT_RUN_PAGES: &str = "ceralacca_snapshot_run_pages_total";
/// Octets of these.
pub const SNAPSHOT_RUN_OCTETS: &str = "ceralacca_snapshot_run_octets_total";
/// Snapshots that were removed when their time was over.
pub const SNAPSHOTS_REMOVED: &str = "ceralacca_snapshots_removed_total";
/// Steps of runs that failed, by `step` (`run`, `sign`, `stamp`, `thin`).
pub const SNAPSHOT_FAILURES: &str = "ceralacca_snapshot_failures_total";

/// Counters and histograms, each with its help text. Those of sessions are counted on the floor
/// below, under the names that stand here as text.
const COUNTERS: [(&str, &str); 61] = [
    (SNAPSHOT_RESTORED, "Messages that restores from snapshots looked at, by outcome"),
    (SNAPSHOT_RESTORES, "Restores from snapshots that ended, by outcome"),
    (SNAPSHOT_RESTORE_FAILURES, "Steps of restores from snapshots that failed"),
    (SNAPSHOT_RUNS, "Runs of snapshots over all accounts, closed"),
    (SNAPSHOT_ACCOUNTS, "Accounts of runs of snapshots, by outcome"),
    (SNAPSHOT_RUN_PAGES, "Pages written for the tree of accounts"),
    (SNAPSHOT_RUN_OCTETS, "Octets of pages written for the tree of accounts"),
    (SNAPSHOTS_REMOVED, "Snapshots removed when their time was over"),
    (SNAPSHOT_FAILURES, "Steps of runs of snapshots that failed, by step"),
    (JOURNAL_SEALS, "Seals of the journal made"),
    (JOURNAL_SEALED_RECORDS, "Records of the journal sealed"),
    (JOURNAL_PIECES, "Daily pieces of the journal signed and time-stamped"),
    (JOURNAL_FAILURES, "Steps of the journal's keeper that failed, by step"),
    (JOURNAL_MISSING, "Records of the journal found missing"),
    (JOURNAL_DISPOSED, "Records of the journal disposed of after their time"),
    ("ceralacca_connections_total", "Connections that were let in, by protocol"),
    ("ceralacca_connections_refused_total", "Connections over a limit, by protocol and limit"),
    (
        "ceralacca_proxy_headers_refused_total",
        "Connections from balancers without a readable PROXY header, by protocol",
    ),
    ("ceralacca_tls_handshakes_failed_total", "TLS handshakes that failed, by protocol"),
    ("ceralacca_logins_failed_total", "Failed logins at the submission ports, by protocol"),
    ("ceralacca_smtp_messages_taken_total", "Messages taken at the end of DATA, by service"),
    ("ceralacca_smtp_messages_refused_total", "Messages refused at the end of DATA, by service"),
    (SUBMISSIONS, "Messages taken from holders at the access point"),
    (SUBMISSIONS_LIMITED, "Refusals for a limit of the sender's plan, by limit"),
    (INCOMING_MESSAGES, "Messages taken from other servers at the incoming point"),
    (TIME_LIMIT_NOTICES, "Notices that nothing was heard of a recipient in time, by limit"),
    (INCOMING_REPEATS, "Messages that came again and were recognised"),
    (LOGINS, "Logins, by protocol and outcome"),
    (ACCOUNT_CHANGES, "Changes of accounts handed to the store, by outcome"),
    (OBJECT_REQUESTS, "Requests to the object store, by operation and outcome"),
    (OBJECT_RETRIES, "Requests to the object store made again, by operation"),
    (OBJECT_OCTETS, "Octets of requests to the object store, by operation"),
    (CACHE_HITS, "Chunks asked of a cache that were there, by cache"),
    (CACHE_MISSES, "Chunks asked of a cache that had to come from further away, by cache"),
    (SCRUBBED_OCTETS, "Octets of packs that scrubbing has read"),
    (SCRUB_DAMAGES, "Damaged packs and chunks that scrubbing has found"),
    (HTTP_REQUESTS, "Requests on the operations port, by path and status"),
    (CONTROL_OPERATIONS, "Operations that commands asked of the server, by operation and outcome"),
    (BACKUP_OCTETS, "Octets sent to the back-up"),
    (BACKUP_FAILURES, "Increments of the back-up that failed"),
    (COLLECTOR_RUNS, "Runs of the collector, by outcome"),
    (COLLECTOR_CHUNKS_SWEPT, "Chunks that the collector removed"),
    (COLLECTOR_PACKS_DELETED, "Objects that the collector deleted"),
    (COLLECTOR_OCTETS_DELETED, "Octets of the objects that the collector deleted"),
    (COLLECTOR_OCTETS_WRITTEN, "Octets of the packs that the collector wrote"),
    (ARCHIVE_RUNS, "Runs of the archive over an account, by outcome"),
    (ARCHIVE_MESSAGES, "Messages moved into the archive"),
    (ARCHIVE_OCTETS, "Octets charged for messages moved into the archive"),
    (HELD_RELEASED, "Held messages that were released"),
    (OUTGOING_ATTEMPTS, "What servers made of messages, for each recipient, by outcome"),
    (OUTGOING_CONNECTIONS, "Connections to other servers, by outcome"),
    (OUTGOING_TLS, "What TLS to other servers came to, by policy and outcome"),
    (ORDINARY_CHECKS, "Ordinary messages that were checked, by verdict"),
    (ORDINARY_RESULTS, "What the checks of ordinary mail found, by method and result"),
    (CONTENT_CHECKS, "Messages that a program was asked about, by check and outcome"),
    (QUARANTINE_DISPOSED, "Messages that came to the end of their time in quarantine"),
    (PRESSURE_REFUSALS, "Commands of SMTP that were put off, by cause"),
    (DNS_QUESTIONS, "Questions asked of DNS servers, by type and outcome"),
    (DNS_CACHE_HITS, "Questions about names answered from memory, by type"),
    (DIRECTORY_FETCHES, "Fetches of the directory of providers, by outcome"),
    (DIRECTORY_REQUESTS, "Requests for the provider's published entry, by status"),
];
const HISTOGRAMS: [(&str, &str); 6] = [
    (ACCEPTANCE_SECONDS, "Seconds to the acceptance receipt, by domain of the sender"),
    (DELIVERY_SECONDS, "Seconds to a delivery receipt, by domain of the recipient"),
    (LOGIN_HASHING, "Seconds that a password hashing took, waiting not included"),
    (CONTENT_CHECK_SECONDS, "Seconds of a check of a message, by check"),
    (OBJECT_SECONDS, "Seconds of a request to the object store, by operation"),
    (DNS_QUESTION_SECONDS, "Seconds of a question to DNS servers, by type"),
];

const GAUGES: [(&str, &str); 27] = [
    (SNAPSHOT_RESTORES_OPEN, "Restores from snapshots that have not ended, by state"),
    (SNAPSHOT_RESTORE_LEFT, "Messages that running restores have still to look at"),
    (SNAPSHOT_RESTORE_OLDEST, "Age of the running restore that was asked for first, seconds"),
    (SNAPSHOT_RUN_INSTANT, "When the last run of snapshots was closed, seconds since 1970"),
    (SNAPSHOT_LAG, "Age of the first instant that no run of snapshots covers yet, seconds"),
    (SNAPSHOT_RUN_SECONDS, "How long the last run of snapshots took, seconds"),
    (SNAPSHOT_AHEAD, "How far the end of the last run of snapshots is ahead of the clock, seconds"),
    (SNAPSHOT_UNSTAMPED, "Runs of snapshots that are not time-stamped yet"),
    (ARCHIVE_LATE, "How late the latest archive run of the last round was, seconds"),
    (JOURNAL_SAVED, "End of the last period of the journal that has its piece, seconds since 1970"),
    (SERVICE_LOST, "Seconds of these four months in which the service was not there"),
    (SERVICE_OUTAGE_LONGEST, "Seconds of the longest outage of these four months"),
    (BACKUP_INSTANT, "Instant of the last complete increment of the back-up, seconds since 1970"),
    (CACHE_OCTETS, "Octets in a cache of chunks, by cache"),
    (CACHE_ENTRIES, "Chunks in a cache of chunks, by cache"),
    (QUEUE_MESSAGES, "Messages in the outgoing queue, by state"),
    (QUEUE_OLDEST, "Age of the oldest message in the outgoing queue, seconds"),
    (OUTGOING_BUSY, "Connections to other servers that are busy"),
    (DESTINATIONS_FAILING, "Destinations that do not answer at present"),
    (CONTENT_CHECK_UP, "Whether the program that checks messages answers, by check"),
    (SIGNATURES_AGE, "Age of the signatures of viruses, seconds"),
    (FREE_OCTETS, "Free octets on the fullest disk that messages go to"),
    (DIRECTORY_INSTANT, "When the copy of the directory was confirmed last, seconds since 1970"),
    (DIRECTORY_HELD, "Whether a new copy of the directory waits for an operator"),
    (DIRECTORY_PROVIDERS, "Providers of the directory in use"),
    (DIRECTORY_DOMAINS, "Domains of the directory in use"),
    (CERTIFICATE_END, "When a certificate ends, seconds since 1970, by use"),
];

/// Gives every metric its help text in the recorder that is installed.
pub fn describe() {
    for (name, help) in COUNTERS {
        metrics::describe_counter!(name, help);
    }
    for (name, help) in GAUGES {
        metrics::describe_gauge!(name, help);
    }
    for (name, help) in HISTOGRAMS {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, help);
    }
}
