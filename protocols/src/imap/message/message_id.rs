//! Message identifiers in `Message-ID`, `References` and `In-Reply-To` (RFC 5322 §3.6.4).

/// The identifiers in a field's value, in order, without their brackets. What has no `@` between two
/// texts is none. A quoted left side counts as what it quotes (RFC 5256 §3).
pub(crate) fn message_ids(value: &str) -> impl Iterator<Item = String> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('<')?;
            rest = after;
            let (id, end) = read(after);
            if let Some(id) = id {
                rest = after.get(end..)?;
                return Some(id);
            }
        }
    })
}

/// Reads an identifier up to its bracket, and says where what follows begins.
fn read(text: &str) -> (Option<String>, usize) {
    let mut id = String::new();
    let mut at = None;
    let mut quoted = false;
    let mut letters = text.char_indices();
    while let Some((position, letter)) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => id.extend(letters.next().map(|(_, escaped)| escaped)),
            '>' if !quoted => {
                let whole = at.is_some_and(|at| at > 0 && at + 1 < id.len());
                return (whole.then_some(id), position + 1);
            }
            '<' if !quoted => return (None, position),
            ' ' | '\t' | '\r' | '\n' if !quoted => {}
            '@' if !quoted => {
                at = Some(id.len());
                id.push('@');
            }
            other => id.push(other),
        }
    }
    (None, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_whatever_stands_around_them() {
        let ids = |value: &str| message_ids(value).collect::<Vec<_>>();
        assert_eq!(ids("<a@x> (said) <b@y>\t<c@z>"), ["a@x", "b@y", "c@z"]);
        assert_eq!(ids("<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>"), ["01KF8JCEOCBS0045PS@xxx.yyy.com"]);
        assert_eq!(ids("<\"a\\\"<>b\"@x>"), ["a\"<>b@x"]);
        assert_eq!(ids("message of <anna@x <b@y>"), ["b@y"]);
        assert_eq!(ids("<a> <@x> <a@> <> a@x < b@ y > <c@z"), ["b@y"]);
        assert!(ids("<\"a@x>").is_empty());
        assert!(ids("").is_empty());
    }
}
