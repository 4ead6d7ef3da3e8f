//! The conservation floor of Ceralacca.
