//! Mailboxes that cannot take a message (RFC 6109 §3.3.3).

use storage::account::settings::AccountState;

use crate::{
    letter::{Letter, kinds, written},
    network::{ANNA, Foreign},
    provider::{BRUNO, CARLA, DARIO, NOBODY, Provider},
};

/// Carla's mailbox is full, Dario's is in `state`; Bruno has no room left himself.
async fn with_troubles(state: AccountState) -> Provider {
    let provider = Provider::start_without_looks().await;
    provider.set(BRUNO, |settings| settings.quota_octets = Some(1)).await;
    provider.set(CARLA, |settings| settings.quota_octets = Some(1_000)).await;
    provider.set(DARIO, |settings| settings.state = state).await;
    provider
}

/// What Bruno was answered. That his mailbox is full he is told as well, whenever a worker looks.
async fn answers(provider: &Provider) -> Vec<Letter> {
    let mut letters = provider.inbox(BRUNO).await;
    letters.retain(|letter| letter.header.text("X-Ricevuta").is_some());
    letters
}

fn assert_fault(letter: &Letter, recipient: &str, fault: &str) {
    assert_eq!(letter.kind(), "errore-consegna");
    assert_eq!(letter.data().event.kind(), "errore-consegna");
    assert_eq!(letter.data().event.recipient(), Some(recipient));
    assert_eq!(letter.data().event.error(), fault, "{recipient}");
    assert_eq!(letter.included(), None);
    assert_eq!(letter.subject(), "AVVISO DI MANCATA CONSEGNA: Offerta");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mailbox_cannot_take_comes_back_as_a_notice_to_our_own_sender() {
    for state in [AccountState::Blocked, AccountState::Closed] {
        let provider = with_troubles(state).await;
        for (number, (recipient, fault)) in
            [(NOBODY, "no-dest"), (DARIO.address, "no-dest"), (CARLA.address, "altro")]
                .into_iter()
                .enumerate()
        {
            let message = written(BRUNO.address, recipient, "", &"x".repeat(900));
            provider.submit(BRUNO, &[recipient], &message).await.expect("taken");
            provider.settle().await;
            let letters = answers(&provider).await;
            assert_eq!(letters.len(), 2 * (number + 1), "answers are stored over quota");
            assert_eq!(letters[2 * number].kind(), "accettazione");
            assert_fault(&letters[2 * number + 1], recipient, fault);
        }
        for holder in [CARLA, DARIO] {
            assert_eq!(provider.used_octets(holder).await, 0);
            assert!(provider.rows(holder).await.is_empty());
        }
        let detail = |letter: &Letter| letter.data().event.detail().map(str::to_owned);
        let letters = answers(&provider).await;
        assert_eq!(detail(&letters[1]), detail(&letters[3]), "{state:?} reads like unknown");
        assert!(provider.used_octets(BRUNO).await > 1);
        assert!(provider.queued().await.is_empty());
        provider.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mailbox_cannot_take_comes_back_as_a_notice_to_another_providers_sender() {
    for state in [AccountState::Blocked, AccountState::Closed] {
        let provider = with_troubles(state).await;
        let alfa = Foreign::alfa();
        for (number, (recipient, fault)) in
            [(NOBODY, "no-dest"), (DARIO.address, "no-dest"), (CARLA.address, "altro")]
                .into_iter()
                .enumerate()
        {
            let envelope = alfa.envelope(&[recipient], "ciao");
            if number == 2 || (number == 1 && state == AccountState::Blocked) {
                provider.relay(ANNA, &[recipient], &envelope).await.expect("taken");
            } else {
                provider.relay_to_the_gone(recipient, &envelope).await;
            }
            provider.settle().await;
            let queued = provider.queued().await;
            let notices: Vec<_> = queued
                .iter()
                .filter(|(_, letter)| letter.data().event.recipient() == Some(recipient))
                .collect();
            let [(record, notice)] = notices[..] else { panic!("one notice: {queued:?}") };
            assert_fault(notice, recipient, fault);
            assert_eq!(record.recipients[0].address, ANNA);
        }
        let mut expected = vec!["errore-consegna"; 3];
        expected.extend(["presa-in-carico"; 3]);
        assert_eq!(kinds(&provider.queued_letters().await), expected);
        for holder in [CARLA, DARIO] {
            assert_eq!(provider.used_octets(holder).await, 0);
        }
        provider.stop().await;
    }
}
