//! The store as a whole, through its public face.

mod house;
mod mailboxes;
