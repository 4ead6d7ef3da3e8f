//! Tokens of an issuer of the tests, and those of the standard's examples.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use trust::clock::{ManualClock, UnixMillis};

use self::issuer::{AUDIENCE, ISSUER, IssuerPair, claims, jwk_set};
use super::{
    TokenError, TokenVerifier,
    keeper::{KeyKeeper, KeySource},
    keys::KeySet,
    token::Token,
};
use crate::config::{
    IssuerKeySettings, OauthSettings,
    units::{Millis, Octets},
};

#[allow(dead_code, reason = "each test program uses a part of this")]
#[path = "../../tests/support/issuer.rs"]
mod issuer;

const ANNA: &str = "anna@pec.example";
const NOW: i64 = 1_800_000_000;

/// A change of claims.
type Change = fn(&mut Value);

fn settings(file: std::path::PathBuf) -> OauthSettings {
    OauthSettings {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        login_claim: "email".to_owned(),
        scope: None,
        clock_tolerance: Millis::seconds(30),
        keys: IssuerKeySettings {
            file: Some(file),
            url: None,
            tls_authority_file: None,
            refresh: Millis::hours(1),
            retry: Millis(200),
            timeout: Millis::seconds(5),
            octets_max: Octets::kilobytes(64),
        },
    }
}

struct Place {
    folder: tempfile::TempDir,
    verifier: TokenVerifier,
    clock: Arc<ManualClock>,
}

impl Place {
    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("keys.json")
    }

    fn new(pairs: &[&IssuerPair]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.json");
        std::fs::write(&file, jwk_set(pairs)).expect("written");
        let settings = settings(file.clone());
        let keys = KeyKeeper::open(&settings.keys, KeySource::File(file)).expect("keys");
        let clock = Arc::new(ManualClock::new(UnixMillis(NOW * 1_000)));
        let verifier = TokenVerifier::new(&settings, keys, Arc::clone(&clock) as _);
        Self { folder, verifier, clock }
    }

    async fn verdict(&self, token: &str) -> Result<String, String> {
        self.verifier.verify(token).await.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_token_of_each_kind_gives_the_login_of_its_claim() {
    let pairs = [
        IssuerPair::rsa("one", "RS256", 2_048),
        IssuerPair::rsa("two", "PS256", 2_048),
        IssuerPair::elliptic("three"),
    ];
    let place = Place::new(&pairs.each_ref());
    for pair in &pairs {
        let token = pair.token(&claims(ANNA, NOW + 60));
        assert_eq!(place.verdict(&token).await.as_deref(), Ok(ANNA), "{}", pair.algorithm);
        // Without a name every key of the kind is tried.
        let nameless = pair.token_with(&json!({"alg": pair.algorithm}), &claims(ANNA, NOW + 60));
        assert_eq!(place.verdict(&nameless).await.as_deref(), Ok(ANNA));
    }
}

#[tokio::test]
async fn a_token_counts_for_its_issuer_its_audience_and_its_time_only() {
    let pair = IssuerPair::elliptic("one");
    let place = Place::new(&[&pair]);
    let with = |change: Change| {
        let mut changed = claims(ANNA, NOW + 60);
        change(&mut changed);
        pair.token(&changed)
    };
    let refused: [(Change, &str); 12] = [
        (|claims| claims["iss"] = "https://accesso.example/".into(), "another issuer"),
        (|claims| claims["iss"] = Value::Null, "another issuer"),
        (|claims| claims["aud"] = "altro".into(), "another audience"),
        (|claims| claims["aud"] = json!([]), "another audience"),
        (|claims| drop(claims.as_object_mut().unwrap().remove("aud")), "another audience"),
        (|claims| drop(claims.as_object_mut().unwrap().remove("exp")), "never expires"),
        (|claims| claims["exp"] = (NOW - 30).into(), "has expired"),
        (|claims| claims["exp"] = "2099".into(), "no number"),
        (|claims| claims["nbf"] = (NOW + 31).into(), "of the future"),
        (|claims| claims["iat"] = (NOW + 31).into(), "of the future"),
        (|claims| claims["email"] = "".into(), "login_claim"),
        (|claims| claims["email_verified"] = false.into(), "not verified the address"),
    ];
    for (change, why) in refused {
        let answer = place.verdict(&with(change)).await.expect_err(why);
        assert!(answer.contains(why), "{why}: {answer}");
        let error = place.verifier.verify(&with(change)).await.expect_err(why);
        assert!(!error.is_forged(), "the issuer has signed it: {error}");
    }
    let harmless: [Change; 4] = [
        |claims| claims["exp"] = (NOW - 29).into(),
        |claims| claims["exp"] = json!(1_800_000_060.5),
        |claims| claims["aud"] = AUDIENCE.into(),
        |claims| claims["nbf"] = (NOW + 30).into(),
    ];
    for change in harmless {
        assert_eq!(place.verdict(&with(change)).await.as_deref(), Ok(ANNA));
    }
    // The clock moves, and the token does not count any more.
    let token = pair.token(&claims(ANNA, NOW + 60));
    assert!(place.verdict(&token).await.is_ok());
    place.clock.advance(91_000);
    assert!(place.verdict(&token).await.expect_err("late").contains("has expired"));
}

/// RFC 8725 §2.1, §2.2, §3.1: what a forger tries.
#[tokio::test]
async fn what_nobody_signed_is_forged() {
    let (rsa, other) =
        (IssuerPair::rsa("one", "RS256", 2_048), IssuerPair::rsa("one", "RS256", 2_048));
    let place = Place::new(&[&rsa]);
    let claims = claims(ANNA, NOW + 60);
    let good = rsa.token(&claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let altered = format!("{head}.{}", rest.replacen('e', "f", 1));
    let forged = [
        other.token(&claims),
        rsa.token_with(&json!({"alg": "none"}), &claims),
        rsa.token_with(&json!({"alg": "HS256", "kid": "one"}), &claims),
        rsa.token_with(&json!({"alg": "PS256", "kid": "one"}), &claims),
        rsa.token_with(&json!({"alg": "ES256", "kid": "one"}), &claims),
        rsa.token_with(&json!({"alg": "RS256", "crit": ["x"], "x": 1}), &claims),
        rsa.token_with(&json!({"kid": "one"}), &claims),
        rsa.token_with(&json!({"alg": "RS256", "kid": "another"}), &claims),
        rsa.token_with(&json!([]), &claims),
        rsa.token_with(&json!({"alg": "RS256"}), &json!("claims")),
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}=="),
        altered,
        String::new(),
        "..".to_owned(),
        "a.b.c.d".to_owned(),
    ];
    for token in forged {
        let error = place.verifier.verify(&token).await.expect_err(&token);
        let unknown = matches!(error, TokenError::UnknownKey);
        assert!(error.is_forged() || unknown, "{token}: {error}");
    }
    assert_eq!(place.verdict(&good).await.as_deref(), Ok(ANNA));
}

#[tokio::test]
async fn keys_are_read_again_for_an_unknown_one_and_not_for_every_token() {
    let (old, new) = (IssuerPair::elliptic("old"), IssuerPair::elliptic("new"));
    let place = Place::new(&[&old]);
    let (of_old, of_new) = (old.token(&claims(ANNA, NOW + 60)), new.token(&claims(ANNA, NOW + 60)));
    assert!(matches!(place.verifier.verify(&of_new).await, Err(TokenError::UnknownKey)));
    std::fs::write(place.file(), jwk_set(&[&new])).expect("written");
    // The file was read a moment ago.
    assert!(matches!(place.verifier.verify(&of_new).await, Err(TokenError::UnknownKey)));
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(place.verdict(&of_new).await.as_deref(), Ok(ANNA));
    assert!(matches!(place.verifier.verify(&of_old).await, Err(TokenError::UnknownKey)));
    // A set without keys lets nobody in any more.
    std::fs::write(place.file(), "{\"keys\":[]}").expect("written");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(matches!(place.verifier.verify(&of_old).await, Err(TokenError::UnknownKey)));
    assert!(matches!(place.verifier.verify(&of_new).await, Err(TokenError::UnknownKey)));
    std::fs::write(place.file(), jwk_set(&[&new])).expect("written");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(place.verdict(&of_new).await.as_deref(), Ok(ANNA));
    // A set that cannot be used leaves the one before it.
    std::fs::write(place.file(), "{}").expect("written");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(place.verdict(&of_old).await.is_err());
    assert_eq!(place.verdict(&of_new).await.as_deref(), Ok(ANNA));
}

#[test]
fn keys_that_are_weak_or_meant_for_something_else_are_passed_over() {
    let good = IssuerPair::elliptic("good").jwk();
    let set = |keys: Value| {
        let text = json!({"keys": keys}).to_string();
        KeySet::read(text.as_bytes()).and_then(KeySet::with_some)
    };
    let with = |key: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[key] = value;
        jwk
    };
    let weak = IssuerPair::rsa("weak", "RS256", 1_024).jwk();
    let mut exponent = IssuerPair::rsa("even", "RS256", 2_048).jwk();
    exponent["e"] = "AAAE".into();
    let others = [
        weak,
        exponent,
        with("use", "enc".into()),
        with("key_ops", json!(["sign"])),
        with("alg", "ES384".into()),
        with("crv", "P-384".into()),
        // Not on the curve.
        with("x", "AAAA".into()),
        with("kty", "oct".into()),
        json!("no object"),
        json!({}),
    ];
    for other in others {
        assert!(set(json!([other])).is_err(), "{other}");
        assert!(set(json!([other, good])).is_ok());
    }
    for wrong in ["", "[]", "{}", "{\"keys\":{}}"] {
        assert!(KeySet::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(KeySet::read(b"{\"keys\":[]}").is_ok(), "who has withdrawn them says so");
}

/// RFC 7515 §A.2, §A.3.
#[test]
fn the_examples_of_the_standard_verify() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let elliptic = json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let rsa = json!({"kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let rows = [
        (
            &elliptic,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            &rsa,
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
    ];
    for (jwk, header, signature) in rows {
        let keys = KeySet::read(json!({"keys": [jwk]}).to_string().as_bytes()).expect("a key");
        let token = format!("{header}.{payload}.{signature}");
        let token = Token::read(&token).expect("a token");
        assert!(keys.may_verify(&token) && keys.verify(&token), "{header}");
    }
}

#[test]
fn refused_clients_are_told_where_the_issuer_is() {
    let place = Place::new(&[&IssuerPair::elliptic("one")]);
    let answer: Value = serde_json::from_str(place.verifier.refusal()).expect("JSON");
    assert_eq!(
        answer,
        json!({"status": "invalid_token",
            "openid-configuration": "https://accesso.example/.well-known/openid-configuration"})
    );
    let settings =
        OauthSettings { scope: Some("openid email".to_owned()), ..settings(place.file()) };
    let answer: Value = serde_json::from_str(&super::refusal(&settings)).expect("JSON");
    assert_eq!(answer["scope"], "openid email");
}
