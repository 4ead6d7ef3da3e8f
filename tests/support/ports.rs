//! Ports for the servers of tests.
//!
//! A port that the system gives out (port 0) may be given out again, to some connection on its way
//! out, between the moment a test lets it go and the moment its server takes it. So these lie below
//! the range of such ports (32,768 on Linux), each is given once in a process, and two processes
//! begin at different places.
//!
//! Not here: what listens on them.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// The first port given out.
const FIRST: u32 = 20_000;
/// How many there are.
const COUNT: u32 = 12_000;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Gives ports on which nothing listens.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| one())
}

fn one() -> u16 {
    let begin = std::process::id().wrapping_mul(37);
    for _ in 0..COUNT {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(given) % COUNT;
        let port = u16::try_from(port).expect("below 32,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}
