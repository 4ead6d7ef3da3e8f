//! A mailbox that fills: its holder is told, once for each level.

use bytes::Bytes;
use ceralacca::pec::records::JournalRecord;
use storage::{
    account::tier::Tier,
    catalog::{engine::Batch, keys},
    ids::{AccountId, MailboxId},
};

use crate::{
    letter::{Letter, written},
    provider::{BRUNO, CARLA, DARIO, Provider, eventually},
};

async fn letters(provider: &Provider, count: usize) -> Vec<Letter> {
    eventually("the notice", async || {
        let letters = provider.inbox(BRUNO).await;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

async fn notices(provider: &Provider) -> Vec<JournalRecord> {
    let journal = provider.journal().await.into_iter().map(|(_, record)| record);
    journal.filter(|record| record.event == "space-notice").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_is_told_of_each_level_once_and_the_notice_takes_no_space() {
    let provider = Provider::start().await;
    let message = written(CARLA.address, BRUNO.address, "", "ciao");
    provider.submit(CARLA, &[BRUNO.address], &message).await.expect("taken");
    provider.settle().await;
    let used = provider.used_octets(BRUNO).await;

    // Both limits are passed by changes of the limit; the second leaves no octet free.
    for (count, limit, level) in [(2, used * 100 / 91, "90%"), (3, used, "95%")] {
        provider.set(BRUNO, |settings| settings.quota_octets = Some(limit)).await;
        let letters = letters(&provider, count).await;
        let notice = &letters[count - 1];
        assert_eq!(notice.subject(), format!("AVVISO: spazio della casella occupato al {level}"));
        assert_eq!(notice.header.text("From").as_deref(), Some("posta-certificata@beta.example"));
        assert_eq!(notice.header.text("Auto-Submitted").as_deref(), Some("auto-generated"));
        assert!(notice.header.text("X-Ricevuta").is_none(), "it is no receipt");
        let text = String::from_utf8_lossy(&notice.entity).into_owned();
        assert!(text.contains("Avviso di saturazione") && text.contains("The mailbox"), "{text}");
    }
    assert_eq!(provider.used_octets(BRUNO).await, used);
    assert_eq!(provider.rows(BRUNO).await.pop().expect("a row").charged_octets, 0);

    // A later look finds nothing more to say.
    provider.submit(CARLA, &[BRUNO.address], &message).await.expect("taken");
    provider.settle().await;
    let waiting =
        provider.engine.store().quota_warnings(None, 10, &mut drop).await.expect("warnings");
    assert_eq!((waiting.len(), provider.rows(BRUNO).await.len()), (0, 3));
    let told = notices(&provider).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].recipients, [BRUNO.address]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_that_no_longer_holds_is_dropped_without_a_notice() {
    let provider = Provider::start().await;
    let message = written(CARLA.address, BRUNO.address, "", "ciao");
    provider.submit(CARLA, &[BRUNO.address], &message).await.expect("taken");
    provider.settle().await;
    let used = provider.used_octets(BRUNO).await;
    // Workers look every 200 ms: these two changes come between two looks, or a notice would be
    // right. Either way the warning ends.
    provider.set(BRUNO, |settings| settings.quota_octets = Some(used)).await;
    provider.set(BRUNO, |settings| settings.quota_octets = None).await;
    eventually("no warning left", async || {
        let waiting =
            provider.engine.store().quota_warnings(None, 10, &mut drop).await.expect("warnings");
        waiting.is_empty().then_some(())
    })
    .await;
    let rows = provider.rows(BRUNO).await.len();
    assert_eq!(rows, 1 + notices(&provider).await.len());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_who_cannot_be_told_keeps_nobody_behind_him_from_his_notice() {
    let provider = Provider::start().await;
    for holder in [BRUNO, CARLA] {
        let message = written(DARIO.address, holder.address, "", "ciao");
        provider.submit(DARIO, &[holder.address], &message).await.expect("taken");
    }
    provider.settle().await;
    let store = provider.engine.store();
    let put = async |family, key: Bytes, value: Bytes| {
        let mut batch = Batch::default();
        batch.put(family, key, value);
        store.commit(batch).await.expect("commit");
    };
    let inbox = keys::mailbox(BRUNO.id, MailboxId(1));
    let intact = store.engine().get(keys::MAILBOXES, &inbox).await.expect("read").expect("INBOX");
    put(keys::MAILBOXES, inbox.clone(), Bytes::from_static(b"\x00")).await;
    let nobody = keys::quota_warning(AccountId(0), Tier::Live, 1);
    put(keys::QUOTA_WARNINGS, nobody, Bytes::from_static(b"\x00")).await;
    for holder in [BRUNO, CARLA] {
        let used = provider.used_octets(holder).await;
        assert!(used > 0, "he has a message");
        provider.set(holder, |settings| settings.quota_octets = Some(used)).await;
    }
    let told = async |count| {
        let records = eventually(&format!("notice {count}"), async || {
            let records = notices(&provider).await;
            (records.len() >= count).then_some(records)
        })
        .await;
        records.into_iter().map(|record| record.recipients).collect::<Vec<_>>()
    };
    assert_eq!(told(1).await, [[CARLA.address]]);
    put(keys::MAILBOXES, inbox, intact).await;
    assert_eq!(told(2).await, [[CARLA.address], [BRUNO.address]], "he is told when he can be");
    provider.stop().await;
}
