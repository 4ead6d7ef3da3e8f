//! The `ceralacca` command.

fn main() {}
