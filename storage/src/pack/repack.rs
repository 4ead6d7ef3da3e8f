//! Verifies stored forms before they are moved, and compresses them again where it pays.
//!
//! A damaged stored form is never moved: where it lies now is where an operator looks for it.

use bytes::Bytes;

use super::{
    index::Place,
    stored::{self, StoreSecret},
};
use crate::{
    error::StoreError,
    ids::StoredId,
    octets::store::{describe, off_thread},
};

/// A stored form that is to be moved.
#[derive(Clone, Debug)]
pub(crate) struct Repack {
    pub(crate) stored: StoredId,
    pub(crate) place: Place,
    pub(crate) plain_octets: u32,
    pub(crate) octets: Bytes,
    /// Level of zstd to try; `None` = leave it as it is.
    pub(crate) level: Option<i32>,
}

/// Verifies each, and returns the smaller of its old and new stored form, or
/// [`StoreError::Damaged`].
pub(crate) async fn repack_all(
    secret: &StoreSecret,
    forms: Vec<Repack>,
) -> Result<Vec<Result<Bytes, StoreError>>, StoreError> {
    let octets = forms.iter().map(|form| form.octets.len()).sum();
    let secret = secret.clone();
    off_thread(octets, move || Ok(forms.into_iter().map(|form| repack(&secret, form)).collect()))
        .await
}

fn repack(secret: &StoreSecret, form: Repack) -> Result<Bytes, StoreError> {
    let Repack { stored, place, plain_octets, octets, level } = form;
    let object = || describe(stored, place);
    let plain = stored::decode_stored(&octets, plain_octets, stored, secret, &object)?;
    let Some(level) = level else { return Ok(octets) };
    // The old form is sound: it stays when the new one is longer, or does not give the octets back.
    match stored::encode_verified(&plain, level) {
        Ok(again) if again.len() < octets.len() => Ok(again),
        Ok(_) | Err(StoreError::Damaged { .. }) => Ok(octets),
        Err(error) => Err(error),
    }
}
