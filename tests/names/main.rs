//! Names as they are asked of real name servers: knot, unbound, and servers that are wrong.

#[path = "../support/name_server.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod name_server;
#[path = "../support/ports.rs"]
mod ports;

mod signatures;
mod zones;

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ceralacca::{
    config::{Config, DnsSettings, units::Millis},
    names::Names,
};
use name_server::{NameServer, Signing, Zone};

/// One server for all tests that run at the same time; it ends with the last of them.
fn server() -> Arc<NameServer> {
    static SHARED: Mutex<Weak<NameServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(NameServer::start(&test_zones()));
        *shared = Arc::downgrade(&server);
        server
    })
}

fn test_zones() -> Vec<Zone> {
    let plain = "@ MX 20 mx2\n@ MX 10 MX1\n@ MX 10 alias\nmx1 A 192.0.2.1\nmx1 AAAA 2001:db8::1\nmx2 A 192.0.2.2\n\
                 alias CNAME mx1\nonly4 A 192.0.2.4\n@ TXT \"v=spf1 -all\"\n@ TXT \"two \" \"pieces\"\n\
                 null MX 0 .\nmail CNAME both.signed.test.\nloop1 CNAME loop2\nloop2 CNAME loop1\n\
                 nowhere CNAME absent.unsigned.test.\nxn--citt-3na MX 5 mx1\n";
    let mut unsigned = plain.to_owned();
    for number in 0..12 {
        let _ = writeln!(unsigned, "long{number} CNAME long{}", number + 1);
    }
    for number in 0..60 {
        let _ = writeln!(unsigned, "many MX {number} a-rather-long-name-of-a-server-{number}");
    }
    let signed = "@ MX 10 mx\nmx A 192.0.2.10\nboth MX 10 mx\nboth TXT secure\n\
                  _25._tcp.mx TLSA 3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3\n\
                  _25._tcp.mx TLSA 2 0 0 3082\nout CNAME only4.unsigned.test.\n\
                  *.wild MX 10 mx\nclose.wild A 192.0.2.11\n*.deep.wild TXT deep\n*._tcp.star TLSA 3 1 1 00\n";
    let bogus = "@ MX 10 mx\nmx A 192.0.2.66\n";
    vec![
        Zone::new("unsigned.test", Signing::Unsigned, &unsigned),
        Zone::new("signed.test", Signing::Signed, signed),
        Zone::new("hashed.test", Signing::Hashed, signed),
        Zone::new("expired.test", Signing::Expired, bogus),
        Zone::new("damaged.test", Signing::Damaged, bogus),
    ]
}

/// Settings that ask `servers` in order.
fn settings(servers: &[std::net::SocketAddr]) -> DnsSettings {
    DnsSettings { servers: servers.to_vec(), timeout: Millis::seconds(5), ..Config::default().dns }
}

fn names_of(server: &NameServer) -> Names {
    Names::open(&settings(&[server.address])).expect("names")
}
