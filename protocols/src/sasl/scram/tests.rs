use super::*;

/// RFC 7677 §3: user `user`, password `pencil`.
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

fn verifier() -> ScramVerifier {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramVerifier::derive(b"pencil", &salt, 4_096).unwrap()
}

fn unbound() -> ChannelBindings {
    ChannelBindings::default()
}

fn bound() -> ChannelBindings {
    ChannelBindings { exporter: Some(vec![7; 32]), unique: None }
}

fn challenged(
    first: &str,
    plus: bool,
    bindings: &ChannelBindings,
) -> Result<Challenged, ScramError> {
    Ok(ClientFirst::read(first.as_bytes(), plus, bindings)?.answered(verifier(), NONCE))
}

/// The client's last message, by RFC 5802 §3 from the password's point of view.
fn last(challenged: &Challenged, bare: &str, channel: &[u8], password: &[u8]) -> String {
    let mut salted = [0; 32];
    let salt = &challenged.verifier.salt;
    pkcs5::pbkdf2_hmac(password, salt, 4_096, MessageDigest::sha256(), &mut salted).unwrap();
    let without_proof = format!("c={},r={}", BASE64.encode(channel), challenged.nonce);
    let auth_message = format!("{bare},{},{without_proof}", challenged.message);
    let client_key = hmac_sha256(&salted, b"Client Key").unwrap();
    let signature = hmac_sha256(&sha::sha256(&client_key), auth_message.as_bytes()).unwrap();
    let proof: Vec<u8> =
        client_key.iter().zip(signature).map(|(left, right)| left ^ right).collect();
    format!("{without_proof},p={}", BASE64.encode(proof))
}

#[test]
fn the_exchange_of_the_standard_is_held_to_the_letter() {
    let challenged = challenged("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false, &unbound()).unwrap();
    assert_eq!(challenged.login(), "user");
    assert_eq!(
        challenged.message(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let answer = challenged.conclude(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
          p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    );
    let expected = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(answer.unwrap().as_deref(), Some(expected));
}

#[test]
fn a_proof_of_another_password_is_wrong_and_a_changed_message_too() {
    let bare = "n=user,r=abc";
    let challenged = challenged(&format!("n,,{bare}"), false, &unbound()).unwrap();
    let right = last(&challenged, bare, b"n,,", b"pencil");
    assert!(challenged.conclude(right.as_bytes()).unwrap().is_some());
    let wrong = last(&challenged, bare, b"n,,", b"pencils");
    assert!(challenged.conclude(wrong.as_bytes()).unwrap().is_none());
    // An extension is part of what the proof is made over.
    let (without, proof) = right.rsplit_once(",p=").unwrap();
    let extended = format!("{without},x=1,p={proof}");
    assert!(challenged.conclude(extended.as_bytes()).unwrap().is_none());
}

#[test]
fn who_binds_must_bind_to_this_connection() {
    let bare = "n=user,r=abc";
    let header = "p=tls-exporter,,";
    let challenged = challenged(&format!("{header}{bare}"), true, &bound()).unwrap();
    let channel = |octet| [header.as_bytes(), &[octet; 32]].concat();
    let right = last(&challenged, bare, &channel(7), b"pencil");
    assert!(challenged.conclude(right.as_bytes()).unwrap().is_some());
    for other in [channel(8), header.as_bytes().to_vec(), b"n,,".to_vec()] {
        let relayed = last(&challenged, bare, &other, b"pencil");
        assert!(matches!(challenged.conclude(relayed.as_bytes()), Err(ScramError::Binding)));
    }
}

#[test]
fn flags_are_believed_only_where_they_can_be_true() {
    let table = [
        ("n", false, unbound(), true),
        ("n", false, bound(), true),
        ("y", false, unbound(), true),
        // The client saw no offer of binding: somebody took it out.
        ("y", false, bound(), false),
        ("y", true, bound(), false),
        ("n", true, bound(), false),
        ("p=tls-exporter", true, bound(), true),
        ("p=tls-exporter", false, bound(), false),
        ("p=tls-exporter", true, unbound(), false),
        ("p=tls-unique", true, bound(), false),
        ("p=tls-server-end-point", true, bound(), false),
    ];
    for (flag, plus, bindings, expected) in table {
        let read = ClientFirst::read(format!("{flag},,n=u,r=x").as_bytes(), plus, &bindings);
        assert_eq!(read.is_ok(), expected, "{flag} plus={plus} {bindings:?}: {read:?}");
    }
}

#[test]
fn names_are_unescaped_and_may_be_repeated_as_authorization() {
    let login = |first: &str| {
        ClientFirst::read(first.as_bytes(), false, &unbound()).ok().map(|first| first.login)
    };
    assert_eq!(login("n,,n=a=2Cb=3Dc,r=x").as_deref(), Some("a,b=c"));
    assert_eq!(login("n,a=perch\u{e9},n=perch\u{e9},r=x").as_deref(), Some("perch\u{e9}"));
    assert_eq!(login("n,a=,n=user,r=x").as_deref(), Some("user"));
    for broken in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,n=u",
        "n,,n=u,r=",
        "n,,r=x,n=u",
        "n,,n=a=2cb,r=x",
        "n,,n=a=,r=x",
        "n,a=other,n=u,r=x",
        "n,other,n=u,r=x",
        "x,,n=u,r=x",
        "p=,,n=u,r=x",
        "n,,m=ext,n=u,r=x",
        "n,,n=u,r=caf\u{e9}",
        "n,,n=u\0,r=x",
    ] {
        assert_eq!(login(broken), None, "{broken:?}");
    }
    assert_eq!(login(&format!("n,,n={},r=x", "u".repeat(255))), None);
    assert!(ClientFirst::read(b"n,,n=\xff,r=x", false, &unbound()).is_err());
    assert!(ClientFirst::read(&[b'n'; 5_000], false, &unbound()).is_err());
}

#[test]
fn a_last_message_that_does_not_fit_is_refused() {
    let bare = "n=user,r=abc";
    let challenged = challenged(&format!("n,,{bare}"), false, &unbound()).unwrap();
    let right = last(&challenged, bare, b"n,,", b"pencil");
    let (without, proof) = right.rsplit_once(",p=").unwrap();
    for broken in [
        String::new(),
        without.to_owned(),
        format!("{without},p="),
        format!("{without},p={}", &proof[4..]),
        format!("{without},p=?"),
        right.replace("c=biws", "c=?"),
        right.replace("c=biws,", ""),
        right.replace(",r=abc", ",r=abd"),
        right.replace(NONCE, ""),
    ] {
        assert!(challenged.conclude(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn keys_are_not_printed() {
    let printed = format!("{:?}", verifier());
    assert_eq!(printed, "ScramVerifier { iterations: 4096, .. }");
}
