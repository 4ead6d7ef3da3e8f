//! Logical, physical and saved octets, of one account and of all.

use super::house::{ANNA, House, request};
use crate::{
    figures::Shares,
    ids::{AccountId, MailboxId},
    mailbox::view::MailboxView as _,
};

const INBOX: MailboxId = MailboxId(1);
const BRUNO: AccountId = AccountId(8);

/// A message whose attachment, 40,000 octets that do not compress, follows from `seed`.
fn letter(subject: &str, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let noise: Vec<u8> = (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"
                [(state >> 26) as usize]
        })
        .collect();
    let header = format!(
        "Subject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [header.as_bytes(), &noise, b"\r\n--b--\r\n"].concat()
}

#[tokio::test]
async fn shared_chunks_count_for_each_account_and_once_for_the_store() {
    let (house, anna) = House::with_anna().await;
    let bruno = house.create(BRUNO, "bruno@pec.example", None).await;
    let (first, second) = (letter("uno", 1), letter("due", 2));
    for octets in [&first, &second] {
        let staged = house.stage(octets).await;
        anna.append(request(INBOX, &staged)).await.expect("append");
    }
    let staged = house.stage(&first).await;
    bruno.append(request(INBOX, &staged)).await.expect("append");
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let uid = inbox.rows().await.expect("rows").1[0].uid;
    inbox.copy(&[uid], inbox.id()).await.expect("copy");

    let of_anna = house.store.figures(ANNA).await.expect("figures");
    let of_bruno = house.store.figures(BRUNO).await.expect("figures");
    let total = house.store.figures_total().await.expect("figures");
    let (one, two) = (first.len() as u64, second.len() as u64);
    assert_eq!((of_anna.rows, of_anna.messages), (3, 2));
    assert_eq!((of_anna.logical_octets, of_bruno.logical_octets), (2 * one + two, one));
    assert_eq!(of_anna.charged_octets, of_anna.logical_octets);
    assert_eq!((total.accounts, total.rows), (2, 4));
    assert_eq!(total.logical_octets, 3 * one + two);
    assert_eq!(total.physical_octets, of_anna.physical_octets, "Bruno has nothing of his own");
    assert!(of_bruno.physical_octets < of_anna.physical_octets);
    assert_eq!(of_anna.saved_octets(), of_anna.logical_octets - of_anna.physical_octets);
    assert!(total.saved_octets() > 2 * 40_000 * 3 / 4, "{total:?}");

    let shares_of = |id| house.store.shares(id);
    let (anna_has, bruno_has) =
        (shares_of(ANNA).await.expect("shares"), shares_of(BRUNO).await.expect("shares"));
    assert_eq!(bruno_has.exclusive_octets, 0);
    assert_eq!(anna_has.exclusive_octets, of_anna.physical_octets - of_bruno.physical_octets);
    let sum = anna_has.proportional_octets + bruno_has.proportional_octets;
    assert!(sum <= total.physical_octets && sum + of_bruno.chunks >= total.physical_octets);
    assert_ne!(anna_has, Shares::default());
    house.is_sound().await;
}
