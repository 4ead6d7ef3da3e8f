use proptest::prelude::*;

use super::*;

fn parsed(line: &str) -> Command {
    Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn commands_of_the_standard_are_read() {
    // RFC 5321 §4.1.1 and appendix D, RFC 4954 §4.4, and the tolerated forms.
    let table = [
        ("EHLO bar.com", "EHLO bar.com"),
        ("ehlo [192.0.2.1]", "EHLO [192.0.2.1]"),
        ("HELO [IPv6:2001:db8::1]", "HELO [IPv6:2001:db8::1]"),
        ("EHLO my_laptop.local", "EHLO my_laptop.local"),
        ("MAIL FROM:<Smith@bar.com>", "MAIL FROM:<Smith@bar.com>"),
        ("mail from: <Smith@bar.com> ", "MAIL FROM:<Smith@bar.com>"),
        ("MAIL FROM:<>", "MAIL FROM:<>"),
        (
            "MAIL FROM:<e=mc2@example.com> size=500000 BODY=8BITMIME AUTH=e+3Dmc2@example.com",
            "MAIL FROM:<e=mc2@example.com> SIZE=500000 BODY=8BITMIME AUTH=e+3Dmc2@example.com",
        ),
        ("RCPT TO:<@hosta.int,@jkl.org:userc@d.bar.org>", "RCPT TO:<userc@d.bar.org>"),
        ("RCPT TO:<Postmaster> NOTIFY=NEVER", "RCPT TO:<Postmaster> NOTIFY=NEVER"),
        ("DATA", "DATA"),
        ("data  ", "DATA"),
        ("RSET", "RSET"),
        ("NOOP hello world", "NOOP"),
        ("HELP mail", "HELP mail"),
        ("help", "HELP"),
        ("BDAT 0 LAST", "BDAT 0 LAST"),
        ("bdat 1000 last", "BDAT 1000 LAST"),
        ("BDAT 018446744073709551615", "BDAT 18446744073709551615"),
        ("MAIL FROM:<josé@esempio.example> SMTPUTF8", "MAIL FROM:<josé@esempio.example> SMTPUTF8"),
        ("VRFY user@example.com", "VRFY postmaster"),
        ("quit", "QUIT"),
        ("STARTTLS", "STARTTLS"),
        ("AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=", "AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ="),
        ("auth login", "AUTH LOGIN"),
        ("AUTH EXTERNAL =", "AUTH EXTERNAL ="),
        ("AUTH SCRAM-SHA-256-PLUS biwsbj11c2Vy", "AUTH SCRAM-SHA-256-PLUS biwsbj11c2Vy"),
    ];
    for (line, expected) in table {
        let encoded = parsed(line).encode();
        assert_eq!(String::from_utf8(encoded).unwrap(), format!("{expected}\r\n"), "{line}");
    }
}

#[test]
fn an_unknown_command_differs_from_a_bad_argument() {
    use SyntaxError::{
        BadArguments, ControlOctet, NotOffered, UndecodableResponse, UnknownCommand,
    };
    let table = [
        ("", UnknownCommand),
        ("FOO bar", UnknownCommand),
        ("MAILFROM:<a@b.example>", UnknownCommand),
        ("GET / HTTP/1.1", UnknownCommand),
        (" NOOP", UnknownCommand),
        ("EXPN list", NotOffered),
        ("BDAT", BadArguments(Verb::Bdat)),
        ("BDAT LAST", BadArguments(Verb::Bdat)),
        ("BDAT 10 LASTLY", BadArguments(Verb::Bdat)),
        ("BDAT 10  LAST", BadArguments(Verb::Bdat)),
        ("BDAT -1", BadArguments(Verb::Bdat)),
        ("BDAT +1", BadArguments(Verb::Bdat)),
        ("BDAT 18446744073709551616", BadArguments(Verb::Bdat)),
        ("EHLO", BadArguments(Verb::Ehlo)),
        ("EHLO a b", BadArguments(Verb::Ehlo)),
        ("EHLO <script>", BadArguments(Verb::Ehlo)),
        ("EHLO \u{e8}.example", BadArguments(Verb::Ehlo)),
        ("MAIL", BadArguments(Verb::Mail)),
        ("MAIL TO:<a@b.example>", BadArguments(Verb::Mail)),
        ("MAIL FROM:a@b.example", BadArguments(Verb::Mail)),
        ("MAIL FROM:<a@b.example>SIZE=1", BadArguments(Verb::Mail)),
        ("MAIL FROM:<a@b.example> SIZE=", BadArguments(Verb::Mail)),
        ("MAIL FROM:<a@b.example> SIZE=1 SIZE=2", BadArguments(Verb::Mail)),
        ("MAIL FROM:<a@b.example>  SIZE=1", BadArguments(Verb::Mail)),
        ("MAIL FROM:<\u{a0}@b.example>", BadArguments(Verb::Mail)),
        ("RCPT TO:<>", BadArguments(Verb::Rcpt)),
        ("RCPT TO:<user>", BadArguments(Verb::Rcpt)),
        ("RCPT FROM:<a@b.example>", BadArguments(Verb::Rcpt)),
        ("DATA now", BadArguments(Verb::Data)),
        ("STARTTLS now", BadArguments(Verb::StartTls)),
        ("VRFY", BadArguments(Verb::Vrfy)),
        ("AUTH", BadArguments(Verb::Auth)),
        ("AUTH *** dGVzdA==", BadArguments(Verb::Auth)),
        ("AUTH PLAIN ***", UndecodableResponse),
        ("AUTH PLAIN dGVzdA", UndecodableResponse),
        ("AUTH PLAIN dGVzdA== x", UndecodableResponse),
        ("NOOP\nMAIL FROM:<a@b.example>", ControlOctet),
        ("MAIL FROM:<a@b.example>\rRCPT", ControlOctet),
        ("NOOP \0", ControlOctet),
    ];
    for (line, expected) in table {
        assert_eq!(Command::parse(line.as_bytes()), Err(expected), "{line:?}");
    }
}

#[test]
fn a_secret_is_not_printed() {
    let command = parsed("AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=");
    assert!(!format!("{command:?}").contains("1234") && !format!("{command:?}").contains("49"));
}

fn any_command() -> impl Strategy<Value = Command> {
    let domain = "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z]{1,10}){1,3}";
    let address = ("[ -~]{1,40}", domain).prop_map(|(local_part, domain)| {
        let quoted = local_part.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{quoted}\"@{domain}")
    });
    let parameter = ("[A-Z0-9][A-Z0-9-]{0,10}", proptest::option::of("[!-<>-~]{1,20}"))
        .prop_map(|(keyword, value)| Parameter::new(&keyword, value.as_deref()).unwrap());
    let parameters = prop::collection::vec(parameter, 0..4).prop_map(|mut parameters| {
        parameters.sort_by(|a, b| a.keyword.cmp(&b.keyword));
        parameters.dedup_by(|a, b| a.keyword == b.keyword);
        parameters
    });
    prop_oneof![
        domain.prop_map(|name| Command::Ehlo(ClientName::parse(&name).unwrap())),
        (address.clone(), parameters.clone()).prop_map(|(address, parameters)| Command::Mail {
            reverse_path: ReversePath::parse(&address).unwrap(),
            parameters,
        }),
        (address, parameters).prop_map(|(address, parameters)| Command::Rcpt {
            forward_path: ForwardPath::parse(&address).unwrap(),
            parameters,
        }),
        (any::<u64>(), any::<bool>())
            .prop_map(|(octets, last)| Command::Bdat(Chunk { octets, last })),
        ("[A-Z0-9_-]{1,20}", proptest::option::of(prop::collection::vec(any::<u8>(), 0..60)))
            .prop_map(|(mechanism, octets)| Command::Auth(AuthArguments {
                mechanism,
                initial_response: octets.map(Secret),
            })),
    ]
}

proptest! {
    #[test]
    fn a_command_is_read_as_it_was_written(command in any_command()) {
        let encoded = command.encode();
        let line = encoded.strip_suffix(b"\r\n").unwrap();
        prop_assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
        prop_assert_eq!(Command::parse(line), Ok(command));
    }

    #[test]
    fn any_line_is_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Command::parse(&octets);
    }

    #[test]
    fn lines_that_begin_well_are_read_without_panic(
        verb in "(MAIL FROM:<|RCPT TO:<|AUTH |EHLO |VRFY )",
        octets in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = Command::parse(&[verb.as_bytes(), &octets].concat());
    }
}
