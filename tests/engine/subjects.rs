//! Subjects that somebody writes long: they are quoted for each recipient, and kept for thirty months.

use ceralacca::pec::{
    daticert::{Event, RefusalCause},
    facts::{SUBJECT_CHARACTERS_MAX, TransmissionFacts},
    header::Header,
};

use crate::{
    letter::{Letter, written},
    network::{ALFA, ANNA, Foreign},
    provider::{BRUNO, CARLA, Provider},
};

/// The subject of a message exchanged for one of `words` words of eight characters each.
fn with_subject(message: &[u8], words: usize) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).expect("text");
    let subject = format!("Subject: parola0{}\r\n", "\r\n parola1".repeat(words - 1));
    text.replacen("Subject: Offerta\r\n", &subject, 1).into_bytes()
}

/// Nothing in the journal is longer; something was cut there.
async fn journal_is_cut(provider: &Provider) {
    let subjects = provider.journal().await.into_iter().map(|(_, record)| record.subject);
    let lengths: Vec<usize> = subjects.map(|subject| subject.chars().count()).collect();
    assert_eq!(lengths.iter().max(), Some(&SUBJECT_CHARACTERS_MAX), "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_above_the_limit_is_a_formal_fault_that_names_it() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, ANNA, "", "ciao");
    // 1,000 characters with the blanks between, and one word more.
    provider.submit(BRUNO, &[ANNA], &with_subject(&message, 125)).await.expect("taken");
    provider.settle().await;
    assert_eq!(provider.newest(BRUNO).await.kind(), "accettazione");
    provider.submit(BRUNO, &[ANNA], &with_subject(&message, 126)).await.expect("taken");
    provider.settle().await;
    let notice = provider.newest(BRUNO).await;
    let Event::NonAcceptance { cause: RefusalCause::Formal, detail: Some(detail) } =
        &notice.data().event
    else {
        panic!("{:?}", notice.data().event)
    };
    assert!(detail.contains("supera il limite di 1000 caratteri"), "{detail}");
    assert_eq!(provider.queued().await.len(), 1);
    journal_is_cut(&provider).await;
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_of_another_providers_message_is_cut_in_what_is_issued_about_it() {
    let provider = Provider::start().await;
    let alfa = Foreign::alfa();
    let template = alfa.envelope(&[BRUNO.address], "ciao");
    let template = Letter::open(template, provider.engine.verifier(), provider.engine.now());
    let original = written(ANNA, BRUNO.address, "", "ciao");
    let (header, _) = Header::parse(&original).expect("a header");
    let facts = TransmissionFacts {
        subject: Some("parola ".repeat(10_000)),
        message_id: Some(format!("<{}@client.example>", "1".repeat(10_000))),
        ..template.data().facts.clone()
    };
    let envelope = alfa.issuer.transport_envelope(&facts, &alfa.now(), &header, None, &[&original]);
    let envelope = alfa.seal(&envelope);
    provider.relay(&ALFA.service_address(), &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    let answers = provider.queued_letters().await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let subject = answer.data().facts.subject.clone().expect("a subject");
        assert_eq!(subject.chars().count(), SUBJECT_CHARACTERS_MAX);
        assert!(
            subject.ends_with('…')
                && facts
                    .subject
                    .as_ref()
                    .is_some_and(|all| { all.starts_with(subject.trim_end_matches('…')) })
        );
        assert_eq!(answer.data().facts.message_id, None);
        assert!(answer.octets.len() < 64 << 10, "{}", answer.octets.len());
    }
    journal_is_cut(&provider).await;
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_of_ordinary_mail_is_cut_in_its_envelope_and_in_the_journal() {
    let provider = Provider::start().await;
    let both = [BRUNO.address, CARLA.address];
    let message = written("ospite@posta.example", &both.join(", "), "", "ciao");
    let message = with_subject(&message, 10_000);
    provider.relay("ospite@posta.example", &both, &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.newest(BRUNO).await;
    assert!(envelope.subject().chars().count() < SUBJECT_CHARACTERS_MAX + 64);
    let included = envelope.included().expect("the message");
    assert!(included.ends_with(&message), "it is as it came, under the trace field");
    journal_is_cut(&provider).await;
    provider.stop().await;
}
