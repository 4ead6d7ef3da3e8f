#[path = "../../tests/fuzz/replay.rs"]
mod replay;

use super::TARGETS;

/// What mutations put in.
const TOKENS: [&str; 24] = [
    "\r\n",
    "\n ",
    "\n",
    ":",
    "::",
    ":<",
    ";binary",
    "dn: ",
    "=",
    "\"",
    "\\",
    "<",
    ">",
    "&lt;",
    "&#x20;",
    "<!--",
    "]]>",
    "--",
    "\u{e8}",
    "\0",
    "boundary=",
    "Content-Type: ",
    "managedDomains: ",
    "X-Trasporto: posta-certificata\r\n",
];

fn replay(target: &str) {
    replay::replay(&TARGETS, target, &TOKENS);
}

#[test]
fn seeds_of_ldif_and_their_mutations_are_refused_or_read_the_same() {
    replay("ldif");
}

#[test]
fn seeds_of_certification_data_and_their_mutations_are_refused_or_read_the_same() {
    replay("daticert");
}

#[test]
fn seeds_of_signed_messages_and_their_mutations_are_found_within_their_octets() {
    replay("signed");
}
