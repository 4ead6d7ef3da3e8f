//! What the rules of certified mail promise, judged by tools that are not ours: `openssl` verifies
//! the signatures, `xmllint` the certification data, and golden files fix the octets.

mod golden;
mod rows;
mod signed;
mod world;
