//! The limits of the sender's plan, as the access point applies them.

use std::sync::Arc;

use ceralacca::pec::access_point::AccessPoint;
use protocols::smtp::transport::{Envelope, Refusal, Service, Transport as _};
use tokio::task::JoinSet;

use crate::{
    letter::written,
    provider::{BRUNO, CARLA, Provider, identity, peer},
};

fn letter() -> Vec<u8> {
    written(BRUNO.address, CARLA.address, "", "ciao")
}

/// Says MAIL as Bruno, with a declared size.
async fn mail(point: &AccessPoint, size: Option<u64>) -> Result<(), Refusal> {
    let envelope = Envelope {
        reverse_path: BRUNO.address.to_owned(),
        declared_size: size,
        ..Envelope::default()
    };
    point.mail(&peer(Service::Submission, Some(identity(BRUNO))), &envelope).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_above_the_minute_is_put_off_and_told_when_to_come() {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.messages_per_minute_max = 2).await;
    for _ in 0..2 {
        provider.submit(BRUNO, &[CARLA.address], &letter()).await.expect("taken");
    }
    let refused = provider.submit(BRUNO, &[CARLA.address], &letter()).await.expect_err("too many");
    assert_eq!((refused.code, refused.enhanced), (450, "4.7.1"));
    assert!(refused.text.contains("riprovare tra 60 secondi / 2 messages a minute"), "{refused}");
    // Others send, and after a minute so does he.
    provider
        .submit(CARLA, &[BRUNO.address], &written(CARLA.address, BRUNO.address, "", "ciao"))
        .await
        .expect("taken");
    provider.clock.advance(60_000);
    provider.submit(BRUNO, &[CARLA.address], &letter()).await.expect("taken");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_limit_outlives_the_access_point_and_ends_with_the_day() {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.messages_per_day_max = 2).await;
    for _ in 0..2 {
        provider.submit(BRUNO, &[CARLA.address], &letter()).await.expect("taken");
    }
    // As after a restart: nothing but the catalog remembers.
    let restarted = AccessPoint::new(Arc::clone(&provider.engine));
    let refused = mail(&restarted, None).await.expect_err("too many");
    assert_eq!((refused.code, refused.enhanced), (450, "4.7.1"));
    let tomorrow = "riprovare dalle 00:00 del ";
    assert!(refused.text.contains(tomorrow) && refused.text.contains("Rome time"), "{refused}");
    provider.clock.advance(13 * 3_600_000);
    mail(&restarted, None).await.expect("a new day");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_pass_mail_together_get_exactly_the_limit_at_the_end() {
    let provider = Arc::new(Provider::start().await);
    provider.set(BRUNO, |settings| settings.messages_per_minute_max = 10).await;
    let mut sessions = JoinSet::new();
    for _ in 0..30 {
        let provider = Arc::clone(&provider);
        sessions.spawn(
            async move { provider.submit_unasked(BRUNO, &[CARLA.address], &letter()).await },
        );
    }
    let outcomes = sessions.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!((refused.code, refused.enhanced), (450, "4.7.1"), "{refused}");
    }
    provider.settle().await;
    assert_eq!(provider.rows(CARLA).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn size_and_recipients_are_the_plans_and_zero_is_the_providers() {
    let provider = Provider::start().await;
    provider
        .set(BRUNO, |settings| {
            settings.message_octets_max = 2_000;
            settings.recipients_max = 1;
        })
        .await;
    let point = AccessPoint::new(Arc::clone(&provider.engine));
    let refused = mail(&point, Some(2_001)).await.expect_err("too large");
    assert_eq!((refused.code, refused.enhanced), (552, "5.3.4"));
    mail(&point, Some(2_000)).await.expect("fits");
    let large = written(BRUNO.address, CARLA.address, "", &"x".repeat(2_000));
    let refused = provider.submit(BRUNO, &[CARLA.address], &large).await.expect_err("too large");
    assert_eq!((refused.code, refused.enhanced), (552, "5.3.4"));
    let two = [CARLA.address, BRUNO.address];
    let refused = provider.submit(BRUNO, &two, &letter()).await.expect_err("too many");
    assert_eq!((refused.code, refused.enhanced), (452, "4.5.3"));
    provider
        .set(BRUNO, |settings| {
            settings.message_octets_max = 0;
            settings.recipients_max = 0;
        })
        .await;
    mail(&point, Some(50 << 20)).await.expect("the provider's limit");
    let refused = mail(&point, Some((50 << 20) + 1)).await.expect_err("above it");
    assert_eq!(refused.code, 552);
    provider.submit(BRUNO, &[CARLA.address], &large).await.expect("taken");
    provider.stop().await;
}
