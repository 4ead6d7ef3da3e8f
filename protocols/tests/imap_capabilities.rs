//! What CAPABILITY announces, token by token (RFC 9051 §6.1.1, §7.2.2): each is covered by
//! transcripts, and none is announced that is not.

mod account;
mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc};

use account::memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin};
use protocols::imap::{ImapLimits, Server, ServerSettings};
use support::wire::{Wire, clear_door};
use tokens::WithTokens;

/// Every token, and the transcripts that cover it.
const COVERED: &[(&str, &[&str])] = &[
    (
        "IMAP4rev1",
        &[
            "every_state_has_its_commands_only",
            "select_describes_the_mailbox_as_in_rfc_3501_section_6_3_1",
            "list_shows_the_tree_as_in_rfc_3501_section_6_3_8",
            "fetch_answers_every_item",
            "fetch_finds_every_section",
            "store_changes_flags_in_every_form",
            "search_evaluates_every_key",
        ],
    ),
    (
        "IMAP4rev2",
        &[
            "imap4rev2_knows_no_recent_and_names_the_mailbox_that_is_selected",
            "imap4rev2_has_no_other_answer",
            "imap4rev2_speaks_utf_8_both_ways",
            "imap4rev2_holds_what_it_took_from_extensions",
            "a_name_that_was_normalised_is_told_with_its_old_name",
        ],
    ),
    ("ENABLE", &["names_are_spelt_in_utf_8_once_that_is_enabled"]),
    ("SASL-IR", &["logins_by_login_and_authenticate_plain_in_all_forms"]),
    ("LITERAL+", &["literals_of_any_size_come_unasked", "many_small_literals_count_together"]),
    ("ID", &["namespace_id_and_unselect_answer"]),
    ("IDLE", &["idle_tells_changes_as_they_happen", "idle_without_a_mailbox_waits_for_done"]),
    (
        "NAMESPACE",
        &[
            "namespace_id_and_unselect_answer",
            "what_others_share_has_a_name_space_and_nothing_can_be_made_there",
        ],
    ),
    ("CHILDREN", &["list_shows_the_tree_as_in_rfc_3501_section_6_3_8"]),
    ("SPECIAL-USE", &["special_uses_are_listed_selected_and_chosen_at_creation"]),
    ("CREATE-SPECIAL-USE", &["special_uses_are_listed_selected_and_chosen_at_creation"]),
    (
        "UIDPLUS",
        &[
            "expunge_removes_what_is_deleted",
            "copy_and_move_tell_the_new_uids",
            "append_streams_a_message_into_a_mailbox",
        ],
    ),
    ("UNSELECT", &["namespace_id_and_unselect_answer"]),
    ("MOVE", &["copy_and_move_tell_the_new_uids"]),
    (
        "MULTIAPPEND",
        &["several_messages_come_in_together", "of_several_messages_all_come_in_or_none"],
    ),
    ("CATENATE", &["a_message_is_put_together_from_parts_of_others"]),
    ("URL-PARTIAL", &["a_message_is_put_together_from_parts_of_others"]),
    ("REPLACE", &["a_message_takes_the_place_of_another", "what_cannot_be_replaced_stays"]),
    ("QUOTA", &["the_quota_root_of_live_mail_tells_storage_in_units_of_1024_octets"]),
    ("QUOTA=RES-STORAGE", &["the_quota_root_of_live_mail_tells_storage_in_units_of_1024_octets"]),
    ("QUOTA=RES-MESSAGE", &["the_quota_root_of_live_mail_tells_storage_in_units_of_1024_octets"]),
    ("QUOTA=RES-MAILBOX", &["the_quota_root_of_live_mail_tells_storage_in_units_of_1024_octets"]),
    (
        "QUOTASET",
        &["only_operators_set_space", "an_operator_sets_the_space_of_an_account_by_its_address"],
    ),
    (
        "CONDSTORE",
        &[
            "fetch_tells_modification_sequences_and_only_what_changed_since_one",
            "a_conditional_store_changes_what_nobody_changed_since",
        ],
    ),
    (
        "QRESYNC",
        &[
            "select_tells_what_is_gone_and_what_has_changed",
            "vanished_takes_the_place_of_expunge",
            "uid_fetch_tells_what_is_gone_before_what_has_changed",
        ],
    ),
    ("PREVIEW", &["previews_are_there_at_once_and_mark_nothing_seen"]),
    (
        "UIDONLY",
        &[
            "once_enabled_no_command_may_use_message_numbers",
            "no_command_gets_past_uidonly_by_another_name",
            "every_answer_names_uids",
        ],
    ),
    ("UIDBATCHES", &["batches_hold_equally_many_messages_from_the_newest_on"]),
    ("UNAUTHENTICATE", &["unauthenticate_goes_back_to_where_the_connection_was_before_its_login"]),
    (
        "COMPRESS=DEFLATE",
        &[
            "compression_begins_behind_its_ok_and_is_offered_until_then",
            "large_literals_stream_both_ways",
            "idle_tells_changes_under_compression",
            "octets_behind_the_command_count_as_compressed",
            "python_compresses_and_decompresses_under_tls",
        ],
    ),
    ("ESEARCH", &["results_are_told_as_rfc_4731_says"]),
    (
        "SEARCHRES",
        &[
            "what_is_saved_stands_for_itself_until_it_is_expunged",
            "what_is_saved_is_fetched_stored_copied_and_moved",
        ],
    ),
    ("WITHIN", &["ages_are_counted_from_the_clock"]),
    ("SORT", &["every_key_sorts_and_reverse_turns_it", "what_matches_is_sorted_and_nothing_else"]),
    ("SORT=DISPLAY", &["every_key_sorts_and_reverse_turns_it"]),
    ("ESORT", &["extended_results_are_in_the_order_of_the_sort"]),
    ("THREAD=ORDEREDSUBJECT", &["messages_are_put_into_threads_by_each_algorithm"]),
    ("THREAD=REFERENCES", &["messages_are_put_into_threads_by_each_algorithm"]),
    ("THREAD=REFS", &["refs_orders_threads_by_what_arrived_last"]),
    ("CONTEXT=SEARCH", &["messages_join_and_leave_a_search"]),
    ("CONTEXT=SORT", &["positions_in_a_sort_are_true_one_after_the_other"]),
    (
        "MULTISEARCH",
        &[
            "mailboxes_are_named_in_every_way",
            "results_are_told_of_each_mailbox_in_which_something_is_found",
        ],
    ),
    ("I18NLEVEL=1", &["every_key_sorts_and_reverse_turns_it", "search_evaluates_every_key"]),
    (
        "LIST-EXTENDED",
        &[
            "subscribed_mailboxes_are_selected_as_in_rfc_5258_section_5",
            "parents_of_selected_mailboxes_are_told_with_childinfo",
        ],
    ),
    ("LIST-STATUS", &["counters_and_rights_come_beside_the_list"]),
    ("LIST-MYRIGHTS", &["counters_and_rights_come_beside_the_list"]),
    ("LIST-METADATA", &["annotations_come_beside_the_list_as_in_rfc_9590"]),
    ("STATUS=SIZE", &["sizes_and_deletions_are_counted"]),
    ("ACL", &["the_owner_has_every_right_on_live_mailboxes"]),
    ("RIGHTS=texk", &["the_owner_has_every_right_on_live_mailboxes"]),
    ("METADATA", &["annotations_are_set_told_and_removed_as_in_rfc_5464"]),
    ("APPENDLIMIT=75497472", &["the_largest_message_is_announced_and_told_by_mailbox"]),
    (
        "MESSAGELIMIT=1000",
        &[
            "a_command_works_on_the_newest_messages_and_says_where_to_go_on",
            "a_search_goes_on_before_or_after_a_uid",
            "a_search_looks_through_the_newest_messages_and_says_where_to_go_on",
            "what_cannot_be_done_in_parts_is_refused",
        ],
    ),
    ("SAVELIMIT=100000", &["copies_are_limited_where_nothing_else_is"]),
    (
        "PARTIAL",
        &[
            "parts_of_a_result_are_told_as_rfc_9394_says",
            "a_page_of_uid_fetch_is_taken_before_what_has_changed",
        ],
    ),
    (
        "SAVEDATE",
        &["the_save_date_is_that_of_the_copy", "dates_of_saving_and_identifiers_are_searched_for"],
    ),
    (
        "OBJECTID",
        &[
            "identifiers_stay_with_a_message_and_its_copies",
            "a_mailbox_keeps_its_identifier_under_another_name",
            "dates_of_saving_and_identifiers_are_searched_for",
        ],
    ),
    (
        "BINARY",
        &[
            "binary_sends_parts_without_their_transfer_encoding",
            "an_unknown_transfer_encoding_is_said_and_costs_no_other_message",
            "binary_and_utf_8_messages_are_taken_but_none_with_nul",
        ],
    ),
    (
        "UTF8=ACCEPT",
        &[
            "names_are_spelt_in_utf_8_once_that_is_enabled",
            "strings_stand_between_quotes_in_utf_8_once_the_client_reads_them",
            "binary_and_utf_8_messages_are_taken_but_none_with_nul",
        ],
    ),
    (
        "NOTIFY",
        &[
            "news_come_while_no_command_is_in_progress",
            "delayed_expunges_wait_for_a_command_that_lets_numbers_change",
            "a_selected_mailbox_that_is_not_watched_stays_as_it_was",
            "news_speak_as_the_client_has_enabled",
            "flags_elsewhere_are_told_by_modification_sequences_or_by_what_is_unread",
            "idle_tells_what_notify_asked_for",
            "names_that_come_go_and_change_are_listed",
            "subscriptions_are_told_and_followed",
            "changed_annotations_are_named",
            "what_cannot_be_told_is_refused",
            "more_mailboxes_than_may_be_watched_are_refused_or_end_all_notifications",
            "a_mailbox_that_can_no_longer_be_read_is_dropped_in_silence_and_watched_again_later",
            "what_the_client_does_itself_it_is_not_told",
            "another_mailbox_of_the_same_name_has_another_uidvalidity",
            "a_new_message_is_described_between_its_number_and_the_searches_it_joins",
            "a_watching_session_ends_as_any_other",
            "notify_set_tells_all_that_has_gathered_whatever_is_wanted_from_then_on",
            "what_a_command_holds_back_is_told_right_behind_it",
            "what_could_not_be_read_is_told_later_without_a_command_or_another_change",
            "a_search_that_cannot_be_judged_does_not_keep_new_messages_from_being_described",
            "a_client_that_does_not_read_its_news_is_dropped_and_holds_nobody_up",
            "one_change_among_a_thousand_mailboxes_costs_one_listing_and_opens_one_of_them",
            "many_changes_are_told_by_one_look_after_the_pause",
            "commands_and_the_selected_mailbox_wait_for_no_pause",
            "children_of_a_renamed_mailbox_are_not_told_one_by_one",
            "whoever_renames_inbox_is_not_told_where_its_messages_went",
            "a_group_without_events_takes_its_mailboxes_out_of_the_others",
            "a_group_for_each_mailbox_is_taken",
            "entries_of_annotations_are_counted_as_names_are",
            "what_the_client_put_elsewhere_is_not_taken_for_what_came_to_the_selected_mailbox",
        ],
    ),
    (
        "INPROGRESS",
        &[
            "a_long_search_says_how_far_it_is_every_twelve_seconds",
            "several_mailboxes_are_counted_one_by_one",
            "what_is_done_in_one_piece_says_that_it_goes_on",
            "idle_is_no_command_that_says_how_far_it_is",
        ],
    ),
    ("AUTH=SCRAM-SHA-256-PLUS", &["imap_binds_a_login_to_its_connection"]),
    ("AUTH=SCRAM-SHA-256", &["a_proof_logs_in_and_the_server_proves_itself_too"]),
    ("AUTH=OAUTHBEARER", &["a_token_logs_in_and_a_refused_one_is_told_where_to_get_another"]),
    ("AUTH=PLAIN", &["logins_by_login_and_authenticate_plain_in_all_forms"]),
    ("AUTH=LOGIN", &["auth_login_asks_for_name_and_password"]),
    ("STARTTLS", &["starttls_changes_what_is_offered_and_logins_are_taken"]),
    ("LOGINDISABLED", &["no_password_is_taken_in_the_clear"]),
];

/// The files in which these transcripts stand.
const TRANSCRIPTS: [&str; 28] = [
    include_str!("imap_acl.rs"),
    include_str!("imap_append.rs"),
    include_str!("imap_compress.rs"),
    include_str!("imap_condstore.rs"),
    include_str!("imap_context.rs"),
    include_str!("imap_esearch.rs"),
    include_str!("imap_fetch_items.rs"),
    include_str!("imap_hostile.rs"),
    include_str!("imap_inprogress.rs"),
    include_str!("imap_list.rs"),
    include_str!("imap_logins.rs"),
    include_str!("imap_message_limit.rs"),
    include_str!("imap_messages.rs"),
    include_str!("imap_metadata.rs"),
    include_str!("imap_multisearch.rs"),
    include_str!("imap_notify.rs"),
    include_str!("imap_notify_looks.rs"),
    include_str!("imap_notify_moments.rs"),
    include_str!("imap_qresync.rs"),
    include_str!("imap_quota.rs"),
    include_str!("imap_rev2.rs"),
    include_str!("imap_session.rs"),
    include_str!("imap_sort.rs"),
    include_str!("imap_status.rs"),
    include_str!("imap_thread.rs"),
    include_str!("imap_uidonly.rs"),
    include_str!("imap_updates.rs"),
    concat!(include_str!("sasl_binding.rs"), include_str!("start_tls.rs")),
];

fn server(limits: ImapLimits, with_tokens: bool) -> Server {
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mail = Arc::new(OneAccount(MemoryAccount::new()));
    if with_tokens {
        Server::new(settings, Arc::new(WithTokens(OneLogin)), mail)
    } else {
        Server::new(settings, Arc::new(OneLogin), mail)
    }
}

/// The tokens behind `CAPABILITY` in an answer, each of which is named once.
fn tokens(answer: &str) -> BTreeSet<String> {
    let (_, list) = answer.split_once("CAPABILITY ").expect("a list of capabilities");
    let list = list.split(['\r', ']']).next().unwrap();
    let tokens: BTreeSet<String> = list.split(' ').map(str::to_owned).collect();
    assert_eq!(tokens.len(), list.split(' ').count(), "named twice: {list}");
    tokens
}

/// What one server announces at every point of a session where it does.
async fn announced_by(server: &Server) -> BTreeSet<String> {
    let door = clear_door(|start_tls| server.with_start_tls(start_tls)).await;
    let mut wire = Wire::clear(&door).await;
    let greeting = tokens(&wire.line().await);
    let mut announced = tokens(&wire.command("a CAPABILITY").await);
    assert_eq!(greeting, announced, "the greeting says the same");
    assert!(wire.say("b STARTTLS").await.starts_with("b OK "));
    let mut wire = wire.secured(&door).await;
    announced.extend(tokens(&wire.command("c CAPABILITY").await));
    let login = wire.command(&format!("d LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    let after = tokens(&login);
    assert_eq!(tokens(&wire.command("e CAPABILITY").await), after, "the login says the same");
    announced.extend(after);
    announced
}

#[tokio::test]
async fn what_is_announced_is_what_transcripts_cover() {
    let limited = ImapLimits { message_limit: NonZeroU32::new(1_000), ..ImapLimits::default() };
    let mut announced = announced_by(&server(ImapLimits::default(), false)).await;
    announced.extend(announced_by(&server(limited, true)).await);
    let covered: BTreeSet<String> = COVERED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(covered.len(), COVERED.len(), "a token stands twice in the table");
    assert_eq!(announced, covered);
    for (token, transcripts) in COVERED {
        assert!(!transcripts.is_empty(), "{token}");
        for transcript in *transcripts {
            let heads = ["#[tokio::test]", "#[tokio::test(start_paused = true)]"];
            let test = |head: &&str| {
                let test = format!("{head}\nasync fn {transcript}()");
                TRANSCRIPTS.iter().any(|text| text.contains(&test))
            };
            assert!(heads.iter().any(test), "{token}: {transcript}");
        }
    }
}

/// LITERAL- would take back what LITERAL+ allows (RFC 7888 §5), and only one limit of RFC 9738
/// holds (§3).
#[tokio::test]
async fn tokens_that_exclude_each_other_are_not_announced_together() {
    let limited = ImapLimits { message_limit: NonZeroU32::new(1_000), ..ImapLimits::default() };
    for limits in [ImapLimits::default(), limited] {
        let announced = announced_by(&server(limits, false)).await;
        assert!(announced.contains("LITERAL+") && !announced.contains("LITERAL-"));
        let limit = |token: &&String| token.contains("MESSAGELIMIT") || token.contains("SAVELIMIT");
        assert_eq!(announced.iter().filter(limit).count(), 1, "{announced:?}");
    }
}
