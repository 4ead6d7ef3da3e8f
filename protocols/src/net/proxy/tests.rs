use proptest::prelude::*;

use super::*;

/// A header of `command` and `family` around `body`.
fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[0x20 | command, family], &length, body].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 25];

fn client(source: &str, destination: &str) -> Named {
    Named::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn ipv6() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0x30, 0x39, 3, 0xe1]].concat()
}

fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let length = u16::from_be_bytes([header[14], header[15]]) + 7;
    header[14..16].copy_from_slice(&length.to_be_bytes());
    header.extend([TLV_CRC32C, 0, 4, 0, 0, 0, 0]);
    let code = crc32c(header.iter().copied());
    let at = header.len() - 4;
    header[at..].copy_from_slice(&code.to_be_bytes());
    header
}

#[test]
fn headers_of_both_families_name_the_client() {
    let ipv4 = client("192.0.2.7:12345", "198.51.100.1:25");
    assert_eq!(parse(&header(1, 0x11, &IPV4)).unwrap(), ipv4);
    let ipv6_client = client("[2001:db8::7]:12345", "[2001:db8::1]:993");
    assert_eq!(parse(&header(1, 0x21, &ipv6())).unwrap(), ipv6_client);
    // ALPN `h2`, a NOOP and a type that nobody knows.
    let tlvs = [1, 0, 2, b'h', b'2', 4, 0, 0, 0xee, 0, 1, 9];
    let with_tlvs = header(1, 0x11, &[&IPV4[..], &tlvs].concat());
    assert_eq!(parse(&with_tlvs).unwrap(), ipv4);
    assert_eq!(parse(&with_checksum(with_tlvs)).unwrap(), ipv4);
}

#[test]
fn a_balancer_may_speak_for_itself() {
    for (command, family, body) in
        [(0, 0x00, &[][..]), (0, 0x11, &IPV4), (0, 0x11, &[]), (0, 0x31, &[]), (1, 0x00, &[])]
    {
        assert_eq!(parse(&header(command, family, body)).unwrap(), Named::Itself);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let good = header(1, 0x11, &IPV4);
    let mut version_1 = good.clone();
    version_1[12] = 0x11;
    let mut text = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n".to_vec();
    text.truncate(28);
    for not_ours in [version_1, text, b"EHLO client.example\r\n.......".to_vec(), Vec::new()] {
        assert!(matches!(parse(&not_ours), Err(ProxyError::NoHeader)), "{not_ours:?}");
    }
    let broken: [Vec<u8>; 9] = [
        good[..20].to_vec(),
        [good.clone(), vec![0]].concat(),
        header(2, 0x11, &IPV4),
        header(1, 0x12, &IPV4),
        header(1, 0x31, &[0; 216]),
        header(1, 0x11, &IPV4[..11]),
        header(1, 0x21, &IPV4),
        header(1, 0x11, &[&IPV4[..], &[1, 0]].concat()),
        header(1, 0x11, &[&IPV4[..], &[1, 0, 9, 1]].concat()),
    ];
    for header in broken {
        assert!(matches!(parse(&header), Err(ProxyError::Malformed(_))), "{header:?}");
    }
    let short_checksum = header(1, 0x11, &[&IPV4[..], &[TLV_CRC32C, 0, 2, 1, 1]].concat());
    assert!(matches!(parse(&short_checksum), Err(ProxyError::Malformed(_))));
    let long = header(1, 0x11, &[0; 5_000]);
    assert!(matches!(parse(&long), Err(ProxyError::TooLong(5_016))));
}

#[test]
fn one_changed_bit_is_seen_by_the_checksum() {
    // RFC 3720 §B.4: 32 octets of zero.
    assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    let good = with_checksum(header(1, 0x11, &IPV4));
    for bit in 0..96 {
        let mut changed = good.clone();
        changed[16 + bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(parse(&changed), Err(ProxyError::Checksum)), "bit {bit}");
    }
}

#[test]
fn networks_hold_the_addresses_of_their_prefix() {
    let table = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.0/8", "::1", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "127.0.0.2", false),
        ("0.0.0.0/0", "192.0.2.1", true),
        ("192.0.2.128/25", "192.0.2.127", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "192.0.2.1", false),
    ];
    for (network, address, expected) in table {
        let parsed: Network = network.parse().unwrap();
        assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{network} {address}");
    }
    for broken in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/", "host"] {
        assert_eq!(broken.parse::<Network>(), Err(NotANetwork), "{broken}");
    }
    assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
}

#[tokio::test]
async fn not_one_octet_behind_the_header_is_taken() {
    let octets = [header(1, 0x11, &IPV4), b"EHLO".to_vec()].concat();
    let mut stream = octets.as_slice();
    let named = read_header(&mut stream, Duration::from_secs(1)).await.unwrap();
    assert_eq!(named, client("192.0.2.7:12345", "198.51.100.1:25"));
    assert_eq!(stream, b"EHLO");
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let (mut ours, _theirs) = tokio::io::duplex(100);
    let read = read_header(&mut ours, Duration::from_secs(10)).await;
    assert!(matches!(read, Err(ProxyError::TimeOut(_))));
}

proptest! {
    #[test]
    fn any_header_is_read_without_panic(
        command in 0..4_u8,
        family in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = parse(&header(command, family, &body));
        let _ = parse(&body);
    }
}
