//! `memory`: MiB that taking in a message of 100 MB adds to the most memory that a process ever had, after
//! it took in one of 1 MB. Measured in a process of its own.
//!
//! The limit is the 16 MiB that are allowed.

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use storage::octets::OctetStoreConfig;
use trust::random::{RandomSource as _, SeededRandom};

use crate::{
    Failure,
    house::{self, House},
    line::{Goal, Line},
    messages,
};

const MESSAGE_OCTETS: u64 = 100 << 20;
const ALLOWED_MIB: f64 = 16.0;
const LINES_AT_A_TIME: usize = 1_000;

/// The word that makes this program take in the message and print what it needed.
pub(crate) const CHILD: &str = "memory-child";

/// Starts a process that takes in the message.
pub(crate) fn measure() -> Result<Line, Failure> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stdout).into_owned().into());
    }
    let kib: u32 = String::from_utf8(output.stdout)?.trim().parse()?;
    let value = f64::from(kib) / 1_024.0;
    Ok(Line { name: "memory", unit: "MiB", value, limit: ALLOWED_MIB, goal: Goal::AtMost(1.0) })
}

/// Takes in the message and prints the KiB.
pub(crate) fn child() -> Result<(), Failure> {
    let kib = house::in_folder(take_in)?;
    crate::tell(&kib.to_string());
    Ok(())
}

async fn take_in(folder: PathBuf) -> Result<u64, Failure> {
    // Without a cache of chunks: that one has a bound of its own and is not the message's.
    let config = OctetStoreConfig { cache_octets_max: 0, ..OctetStoreConfig::default() };
    let house = House::open(&folder, config, 1).await?;
    let (account, inbox) = house::inbox(&house.store, 0).await?;
    for large in messages::make_large(1, 1, "anna@pec.alfa.example", "bruno@pec.alfa.example") {
        let staged = house::stage(&house.store, &large.message).await?;
        house::append(&account, inbox, &staged).await?;
    }
    let before = peak_kib()?;
    let random = SeededRandom::new(31);
    let mut writer = house.store.message_writer();
    writer
        .write(b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
        .await?;
    let mut plain = vec![0; 57 * LINES_AT_A_TIME];
    while writer.size() < MESSAGE_OCTETS {
        random.fill(&mut plain);
        for line in plain.chunks(57) {
            writer.write(format!("{}\r\n", STANDARD.encode(line)).as_bytes()).await?;
        }
    }
    let staged = writer.finish().await?;
    house::append(&account, inbox, &staged).await?;
    let extra = peak_kib()?.saturating_sub(before);
    house.store.close().await?;
    Ok(extra)
}

/// Begins to measure the most memory anew, where the kernel offers it.
pub(crate) fn forget_peak() {
    // Where it does not the peak is that of the whole run: stricter.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory the process ever had, in KiB.
pub(crate) fn peak_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no VmHWM")?;
    Ok(line.split_ascii_whitespace().nth(1).ok_or("no figure")?.parse()?)
}
