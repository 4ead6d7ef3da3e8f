//! `check`: rows that `ceralacca store check` looks at per second, in a store of small messages, packed.
//! Every message is rebuilt and digested, every chunk verified.
//!
//! The limit is the least that any check must do: all rows of the catalog read once, every stored chunk
//! read, decompressed and digested, in one thread, as the check does it.

use std::{path::PathBuf, time::Instant};

use storage::{catalog::pages::Pages, octets::OctetStoreConfig, store::Store};

use crate::{
    Failure,
    house::{self, House},
    line::{Goal, Line},
    messages,
};

const ACCOUNTS: usize = 4;
const MESSAGES: usize = 500;
const ROUNDS: usize = 3;
const PAGE: usize = 1_000;

/// Fills a store and checks it.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    // Nothing is answered from memory: the check reads what is stored.
    let config = OctetStoreConfig {
        cache_octets_max: 0,
        pack_patience_calls: 0,
        ..OctetStoreConfig::default()
    };
    let house = House::open(&folder, config, ACCOUNTS).await?;
    let mut octets = Vec::new();
    for account in 0..ACCOUNTS {
        let (handle, inbox) = house::inbox(&house.store, account).await?;
        for message in messages::make(u64::try_from(account)?, MESSAGES) {
            let staged = house::stage(&house.store, &message).await?;
            house::append(&handle, inbox, &staged).await?;
            octets.push(zstd::bulk::compress(&message, 1)?);
        }
    }
    house.pack_all().await?;
    let (mut checking, mut limit) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let report = house.store.check(&|_| ()).await?;
        checking += began.elapsed().as_secs_f64();
        if !report.violations.is_empty() {
            return Err(format!("the check found {:?}", report.violations.first()).into());
        }
        let began = Instant::now();
        scan_all(&house).await?;
        for frame in &octets {
            let plain = zstd::stream::decode_all(frame.as_slice())?;
            std::hint::black_box((blake3::hash(&plain), openssl::sha::sha256(&plain)));
        }
        limit += began.elapsed().as_secs_f64();
    }
    house.close("check").await?;
    let rows = f64::from(u32::try_from(ACCOUNTS * MESSAGES * ROUNDS)?);
    let (value, limit) = (rows / checking, rows / limit);
    Ok(Line { name: "check", unit: "rows/s", value, limit, goal: Goal::AtLeast(0.3) })
}

/// Reads every entry of every family once.
async fn scan_all(house: &House) -> Result<(), Failure> {
    for family in Store::families(&[]) {
        let mut pages = Pages::prefix(family, &[], PAGE);
        while pages.next(&*house.engine).await?.is_some() {}
    }
    Ok(())
}
