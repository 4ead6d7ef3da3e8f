//! How much memory a large message needs. Not part of the normal run: it takes long unoptimised,
//! and the figure is that of the whole process.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

/// The most memory the process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "takes a minute without optimisation"]
async fn a_message_of_100_mb_needs_no_more_than_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let engine = SimulatedEngine::new(OctetStore::families());
    let house = House::open(engine, local_objects(folder.path()).unwrap(), uncached()).await;
    house.add(&message_with_text(&random(1 << 20, 30))).await;
    let before = peak_kib();
    let mut writer = house.store.writer();
    writer
        .write(b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
        .await
        .unwrap();
    let mut seed = 31;
    while writer.size() < 100 << 20 {
        let text = STANDARD.encode(random(57 * 1_000, seed));
        for line in text.as_bytes().chunks(76) {
            writer.write(line).await.unwrap();
            writer.write(b"\r\n").await.unwrap();
        }
        seed += 1;
    }
    let staged = writer.finish().await.unwrap();
    let extra_kib = peak_kib() - before;
    assert!(staged.size() >= 100 << 20);
    assert!(extra_kib < 32 << 10, "{extra_kib} KiB more than before");
}
