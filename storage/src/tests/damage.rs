//! An octet of a pack changes on disk: whoever reads the message hears which message, of which
//! account, and never gets wrong octets.

use object_store::{ObjectStoreExt as _, path::Path};

use super::house::{House, message, request};
use crate::{
    error::StoreError,
    ids::MailboxId,
    mailbox::view::MailboxView as _,
    octets::{ChunkPlace, OctetStoreConfig},
};

const INBOX: MailboxId = MailboxId(1);

#[tokio::test]
async fn a_flipped_octet_of_a_pack_is_an_error_that_names_message_and_account() {
    let (house, _) = House::with_anna().await;
    let config = OctetStoreConfig {
        cache_octets_max: 0,
        pack_patience_calls: 0,
        ..OctetStoreConfig::default()
    };
    let house = house.with_octets(config).await;
    let anna = house.store.account(super::house::ANNA).await.expect("the account");
    let mut numbers = Vec::new();
    for number in 0..3 {
        let staged = house.stage(&message(number)).await;
        numbers.push(anna.append(request(INBOX, &staged)).await.expect("append").email_number);
    }
    house.store.octets().pack_once().await.expect("pack");
    let stored = anna.stored(numbers[1]).await.expect("the message");
    let uses = house.store.octets().physical(&stored).await.expect("its chunks");
    let ChunkPlace::Pack { path, offset } = &uses[0].place else { panic!("packed") };
    let object = Path::from(path.as_str());
    let whole = house.objects.get(&object).await.expect("get").bytes().await.expect("read");
    let mut changed = whole.to_vec();
    changed[usize::try_from(*offset).expect("small") + 20] ^= 0x40;
    house.objects.put(&object, changed.into()).await.expect("put");
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let error = inbox.read(numbers[1], 0..9_999).await.expect_err("damaged");
    let StoreError::Damaged { object, detail } = &error else { panic!("{error}") };
    assert_eq!(object, &format!("message {} of account {}", numbers[1], anna.id()));
    assert!(detail.contains(path.as_str()), "{detail}");
    for (number, email_number) in numbers.iter().enumerate().filter(|(number, _)| *number != 1) {
        let read = inbox.read(*email_number, 0..9_999).await.expect("read");
        assert_eq!(read, message(number));
    }
    let report = house.store.check(&|_| {}).await.expect("check");
    let named = report.violations.iter().any(|violation| {
        violation.object == format!("message {} of account {}", numbers[1], anna.id())
    });
    assert!(named, "{:?}", report.violations);
}
