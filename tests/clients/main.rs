//! Foreign mail clients against a running provider: curl, swaks, msmtp, gsasl, nodemailer, imapflow, fetchmail, mbsync,
//! offlineimap, neomutt, Python's imaplib, poplib and smtplib, IMAPClient; and HAProxy in front.
//!
//! Each test starts a provider of its own. A client that is absent fails its test with the command that
//! installs it.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/issuer.rs"]
mod issuer;
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod archive;
mod balancer;
mod curl;
mod doors;
mod erasure;
mod fetchmail;
mod imapflow;
mod instants;
mod logins;
mod maildir;
mod neomutt;
mod provider;
mod python;
mod quota;
mod reading;
mod samples;
mod submission;
mod tokens;
mod transmissions;
mod two_way;
