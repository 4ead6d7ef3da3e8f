//! POSIX ustar, as far as a proof file needs it: regular files with short names, in order.

const BLOCK: usize = 512;

/// The largest member: eleven octal digits.
const OCTETS_MAX: usize = 0o777_7777_7777;

/// Returns the archive of `members`, all of the instant `seconds`; `None` when one is too large.
pub(super) fn write(members: &[(&str, &[u8])], seconds: i64) -> Option<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, octets) in members {
        archive.extend_from_slice(&header(name, octets.len(), seconds)?);
        archive.extend_from_slice(octets);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Some(archive)
}

fn header(name: &str, octets: usize, seconds: i64) -> Option<[u8; BLOCK]> {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    if name.len() > 100 || octets > OCTETS_MAX {
        return None;
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, field: &[u8]| {
        header.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{octets:011o}\0").as_bytes());
    put(136, format!("{seconds:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = header.iter().map(|octet| u32::from(*octet)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.iter_mut().skip(148).zip(sum.as_bytes()).for_each(|(to, from)| *to = *from);
    Some(header)
}

/// Returns names and octets of the members; `None` when it is no such archive. Only what is needed
/// to find them is looked at: the caller writes the archive anew and compares.
pub(super) fn read(mut archive: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut members = Vec::new();
    loop {
        let (header, rest) = archive.split_at_checked(BLOCK)?;
        if header.iter().all(|octet| *octet == 0) {
            return Some(members);
        }
        let name = header.get(..100)?.split(|octet| *octet == 0).next()?;
        let size = std::str::from_utf8(header.get(124..135)?).ok()?;
        let size = usize::from_str_radix(size, 8).ok()?;
        members.push((std::str::from_utf8(name).ok()?, rest.get(..size)?));
        archive = rest.get(size.next_multiple_of(BLOCK)..)?;
    }
}
