#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

use super::TARGETS;

/// What mutations put in.
const TOKENS: [&str; 62] = [
    "\r\n",
    "\r",
    "\n",
    ".",
    "\r\n.\r\n",
    "\0",
    " ",
    ",",
    "=",
    "\"",
    "\\",
    "<",
    ">",
    "@",
    "\u{e8}",
    "MAIL FROM:<",
    "RCPT TO:<",
    "BDAT ",
    " LAST",
    "AUTH ",
    " SIZE=",
    "p=tls-unique",
    "n=",
    "r=",
    "(",
    ")",
    "[",
    "]",
    ":",
    "*",
    "$",
    "{3}\r\n",
    "UID ",
    "BODY.PEEK[",
    "BINARY[1]",
    "HEADER.FIELDS (",
    "<0.5>",
    "(CHANGEDSINCE 1 VANISHED)",
    "(QRESYNC (1 2 3",
    "-1:-2",
    "NOT ",
    "OR ",
    " RETURN (",
    "PARTIAL 1:5",
    "{0+}\r\n",
    "1:*",
    "\"/flags/x\" all ",
    "31-Feb-2020",
    "IN (subtree (",
    "REVERSE ",
    "CHARSET ",
    " (",
    ") ",
    "{3+}\r\n",
    "~{2}\r\n",
    "\"\\\"",
    " RETURN (STATUS (SIZE))",
    "/private/",
    "(DEPTH 1)",
    "(MessageNew (UID) MessageExpunge)",
    " (PERSONAL NONE)",
    "UPDATE (FLAGS)",
];

fn replay(target: &str) {
    replay::replay(&TARGETS, target, &TOKENS);
}

#[test]
fn seeds_of_command_lines_and_their_mutations_are_refused_or_read_the_same() {
    replay("smtp_command");
}

#[test]
fn seeds_of_data_and_their_mutations_end_where_they_must() {
    replay("smtp_data");
}

#[test]
fn seeds_of_chunks_and_their_mutations_are_what_data_would_be() {
    replay("smtp_chunks");
}

#[test]
fn seeds_of_scram_and_their_mutations_are_refused() {
    replay("scram");
}

#[test]
fn seeds_of_imap_searches_and_their_mutations_are_refused_or_read_the_same() {
    replay("imap_search");
}

#[test]
fn seeds_of_commands_about_the_tree_and_their_mutations_are_refused_or_read_the_same() {
    replay("imap_tree");
}

#[test]
fn seeds_of_proxy_headers_and_their_mutations_are_refused_or_whole() {
    replay("proxy_header");
}

#[test]
fn seeds_of_imap_commands_and_their_mutations_are_refused_or_read_the_same() {
    replay("imap_command");
}
