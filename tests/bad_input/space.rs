//! A disk with less free space than the configuration wants.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    assert_reply,
    support::{PASSWORD, Pair, http_body, wait_until},
    wire::Wire,
    world::HONEST,
};

#[test]
fn without_space_mail_is_put_off_before_it_is_sent_and_mailboxes_can_be_read() {
    let mut pair =
        Pair::new("[limits]\nfree_octets_min = \"1048576 GB\"\npressure_interval = \"100 ms\"");
    pair.beta.start();
    let (provider, anna) = (&pair.beta, pair.beta.address("anna"));
    let mut relay = Wire::plain(HONEST, provider.ports.relay);
    relay.reply();
    relay.say("EHLO mail.altrove.example");
    wait_until("the disk was looked at", || {
        let reply = relay.say("MAIL FROM:<io@altrove.example>");
        relay.say("RSET");
        reply.starts_with("452 4.3.1 ")
    });
    let mut submission = Wire::tls(HONEST, provider.ports.submissions, &pair.authority);
    submission.reply();
    submission.say("EHLO client.example");
    let login = STANDARD.encode(format!("\0{anna}\0{PASSWORD}"));
    assert_reply(&submission.say(format!("AUTH PLAIN {login}")), "235 2.7.0", "AUTH");
    assert_reply(&submission.say(format!("MAIL FROM:<{anna}>")), "452 4.3.1", "MAIL");
    let mut imap = Wire::tls(HONEST, provider.ports.imaps, &pair.authority);
    imap.line();
    let lines = imap.imap(format!("LOGIN {anna} {PASSWORD}"));
    assert!(lines.last().is_some_and(|line| line.starts_with("zq7 OK ")), "{lines:?}");
    let metrics = http_body(provider.ports.operations, "/metrics");
    for metric in
        ["ceralacca_data_free_octets", "ceralacca_pressure_refusals_total{cause=\"disk\"}"]
    {
        assert!(metrics.contains(metric), "{metric}: {metrics}");
    }
}
