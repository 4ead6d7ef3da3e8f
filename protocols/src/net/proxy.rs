//! The PROXY protocol, version 2 (HAProxy's proxy-protocol.txt §2.2): who stands behind a load
//! balancer.
//!
//! ```text
//! 12 octets  0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
//!  1 octet   version 2 in the upper half, command in the lower: 0 LOCAL, 1 PROXY
//!  1 octet   address family in the upper half, transport in the lower: 11 TCP over IPv4, 21 IPv6
//!  2 octets  length of what follows
//!            source and destination address, source and destination port, then TLVs
//! ```
//!
//! Invariants:
//!
//! * Only the configured networks are believed. From them a header must come, before TLS and within
//!   a time; from anybody else its octets are what they look like, garbage.
//! * At most [`HEADER_OCTETS_MAX`] octets are read, and not one beyond the header.
//! * A checksum that is there must be right.
//!
//! Not here: what the address is used for (`listener`).

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

const SIGNATURE: [u8; 12] =
    [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/// Octets of the part of fixed size.
const FIXED_OCTETS: usize = 16;

/// Octets of a whole header. Balancers send 28 to some hundred; TLS details may add some thousand.
pub const HEADER_OCTETS_MAX: usize = 4_096;

/// The TLV with the checksum (§2.2.4).
const TLV_CRC32C: u8 = 0x03;

/// A network: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a network: write an address and a prefix, such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork;

impl Network {
    /// Whether `address` belongs to it. An IPv4 address that is written as IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// An address alone is a network of one.
impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| NotANetwork)?;
        if prefix > bits {
            return Err(NotANetwork);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// The balancers that are believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// How long a header may take.
    pub header_time_max: Duration,
}

impl Proxies {
    /// Whether a connection from `address` must begin with a header.
    pub fn include(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Named {
    /// The balancer speaks for itself, to see whether we live (LOCAL, or no address).
    Itself,
    /// It speaks for somebody.
    Client {
        /// Who that is.
        source: SocketAddr,
        /// Where he connected to.
        destination: SocketAddr,
    },
}

/// Why a connection from a balancer is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Look whether the balancer is told to send version 2 of the protocol (`send-proxy-v2`).
    #[error(
        "no PROXY protocol header of version 2: set send-proxy-v2, or take the balancer's network out of listen.proxy_from"
    )]
    NoHeader,
    /// The header is longer than any balancer needs.
    #[error("a PROXY header of {0} octets, of which {HEADER_OCTETS_MAX} are read at most")]
    TooLong(usize),
    /// The header contradicts itself.
    #[error("the PROXY header cannot be read: {0}")]
    Malformed(&'static str),
    /// The checksum is wrong: octets were changed on the way.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
    /// The header did not come whole in time.
    #[error("no whole PROXY header after {0:?}")]
    TimeOut(Duration),
    /// The connection broke.
    #[error("the connection ended before its PROXY header")]
    Broken(#[source] io::Error),
}

/// Reads the header off the front of `stream`.
pub async fn read_header<S: AsyncRead + Unpin>(
    stream: &mut S,
    time_max: Duration,
) -> Result<Named, ProxyError> {
    let reading = async {
        let mut header = vec![0; FIXED_OCTETS];
        stream.read_exact(&mut header).await.map_err(ProxyError::Broken)?;
        let length = announced(&header)?;
        header.resize(FIXED_OCTETS + length, 0);
        let rest = header.get_mut(FIXED_OCTETS..).unwrap_or_default();
        stream.read_exact(rest).await.map_err(ProxyError::Broken)?;
        parse(&header)
    };
    timeout(time_max, reading).await.map_err(|_| ProxyError::TimeOut(time_max))?
}

/// How many octets follow the fixed part.
fn announced(fixed: &[u8]) -> Result<usize, ProxyError> {
    let Some((SIGNATURE, [version_and_command, _, high, low])) =
        fixed.split_first_chunk::<12>().map(|(signature, rest)| (*signature, rest))
    else {
        return Err(ProxyError::NoHeader);
    };
    if version_and_command >> 4 != 2 {
        return Err(ProxyError::NoHeader);
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if FIXED_OCTETS + length > HEADER_OCTETS_MAX {
        return Err(ProxyError::TooLong(FIXED_OCTETS + length));
    }
    Ok(length)
}

/// Reads a whole header.
pub(crate) fn parse(header: &[u8]) -> Result<Named, ProxyError> {
    let length = announced(header.get(..FIXED_OCTETS).unwrap_or_default())?;
    let body = header.get(FIXED_OCTETS..).filter(|body| body.len() == length);
    let body = body.ok_or(ProxyError::Malformed("it has not the length that it says"))?;
    let (command, family) = (header.get(12).copied(), header.get(13).copied());
    let (named, tlvs) = match (command.map(|octet| octet & 0x0f), family) {
        // What stands in it has no meaning, but its checksum may.
        (Some(0), Some(family)) => (Named::Itself, body.get(addresses_octets(family)..)),
        (Some(1), Some(0x00)) => (Named::Itself, Some(body)),
        (Some(1), Some(0x11)) => {
            let (fields, rest) =
                body.split_first_chunk::<12>().ok_or(ProxyError::Malformed("no IPv4 addresses"))?;
            (tcp_over_ipv4(fields), Some(rest))
        }
        (Some(1), Some(0x21)) => {
            let (fields, rest) =
                body.split_first_chunk::<36>().ok_or(ProxyError::Malformed("no IPv6 addresses"))?;
            (tcp_over_ipv6(fields), Some(rest))
        }
        (Some(1), _) => return Err(ProxyError::Malformed("it is not about TCP over IP")),
        _ => return Err(ProxyError::Malformed("its command is neither LOCAL nor PROXY")),
    };
    check_tlvs(header, tlvs.unwrap_or_default())?;
    Ok(named)
}

/// Octets of the addresses of a family; those of an unknown one are not told from TLVs.
fn addresses_octets(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

fn tcp_over_ipv4(fields: &[u8; 12]) -> Named {
    let address = |from| Ipv4Addr::from(octets_at::<4>(fields, from));
    Named::Client {
        source: (address(0), u16::from_be_bytes(octets_at(fields, 8))).into(),
        destination: (address(4), u16::from_be_bytes(octets_at(fields, 10))).into(),
    }
}

fn tcp_over_ipv6(fields: &[u8; 36]) -> Named {
    let address = |from| Ipv6Addr::from(octets_at::<16>(fields, from));
    Named::Client {
        source: (address(0), u16::from_be_bytes(octets_at(fields, 32))).into(),
        destination: (address(16), u16::from_be_bytes(octets_at(fields, 34))).into(),
    }
}

/// The field that begins at `from`; zeros where there is none.
fn octets_at<const N: usize>(fields: &[u8], from: usize) -> [u8; N] {
    let field = fields.get(from..).and_then(|rest| rest.first_chunk());
    field.copied().unwrap_or([0; N])
}

/// Walks over the TLVs, and compares the checksum when there is one.
fn check_tlvs(header: &[u8], tlvs: &[u8]) -> Result<(), ProxyError> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let Some(([kind, high, low], value)) = rest.split_first_chunk::<3>() else {
            return Err(ProxyError::Malformed("it ends within a TLV"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = value.split_at_checked(length) else {
            return Err(ProxyError::Malformed("a TLV is longer than the header"));
        };
        if *kind == TLV_CRC32C {
            let Ok(given) = value.try_into().map(u32::from_be_bytes) else {
                return Err(ProxyError::Malformed("the checksum has not four octets"));
            };
            // The checksum is taken with its own octets at zero.
            let at = header.len() - next.len() - length;
            let (before, after) = (header.get(..at), header.get(at + length..));
            let parts = [before.unwrap_or_default(), &[0; 4], after.unwrap_or_default()];
            if crc32c(parts.iter().copied().flatten().copied()) != given {
                return Err(ProxyError::Checksum);
            }
        }
        rest = next;
    }
    Ok(())
}

/// CRC-32C (RFC 3720 §B.4), bit by bit: a header has few octets.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut register = u32::MAX;
    for octet in octets {
        register ^= u32::from(octet);
        for _ in 0..8 {
            let carry = if register & 1 == 1 { POLYNOMIAL } else { 0 };
            register = (register >> 1) ^ carry;
        }
    }
    !register
}

#[cfg(test)]
mod tests;
