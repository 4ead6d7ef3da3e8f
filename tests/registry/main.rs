//! The registry on a real SQLite file: accounts, owners, domains, the outbox, two processes.

mod accounts;
mod fixture;
mod logins;
mod operators;
mod outbox;
mod processes;
