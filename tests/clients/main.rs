//! Foreign mail clients against a running provider: curl, swaks, msmtp, gsasl, nodemailer, fetchmail, mbsync,
//! Python's imaplib, poplib and smtplib, IMAPClient; and HAProxy in front.
//!
//! Each test starts a provider of its own. A client that is absent fails its test with the command that
//! installs it.

mod balancer;
mod erasure;
mod logins;
#[path = "../support/ports.rs"]
mod ports;
mod provider;
mod reading;
mod submission;
