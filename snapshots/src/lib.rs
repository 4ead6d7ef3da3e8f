//! The snapshots floor of Ceralacca.
