//! Argon2 in memory that is used again.
//!
//! A hash fills 19 MB. Given back after each, they stay with the thread arenas of the C library's
//! allocator, several times in each of them: hundreds of MB for one hash at a time. So as many are kept
//! as hashes may be made at a time, for those to come.
//!
//! What a hash leaves in its memory is no easier to turn back into the password than the hash is, so it
//! is not wiped.
//!
//! Not here: how many are made at a time (`authenticator`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, CustomizedPasswordHasher, Error, Params, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};

/// Blocks of 1 KiB that a stored hash may want: 1 GiB, half of what RFC 9106 §4 recommends where memory
/// is plenty.
const BLOCKS_MAX: usize = 1 << 20;

/// Memories of hashes that ended.
#[derive(Debug)]
pub(super) struct HashingMemory {
    kept: Mutex<Vec<Vec<Block>>>,
    kept_max: usize,
}

/// Hashes and verifies as [`Argon2`] does.
pub(super) struct ReusingArgon2<'m>(pub(super) &'m HashingMemory);

impl CustomizedPasswordHasher<PasswordHash> for ReusingArgon2<'_> {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let octets = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut output = [0; Output::MAX_LENGTH];
        let output = output.get_mut(..octets).ok_or(password_hash::Error::OutputSize)?;
        let mut memory = self.0.take(params.block_count())?;
        let argon2 = Argon2::new(algorithm, version, params.clone());
        argon2.hash_password_into_with_memory(password, salt, output, &mut memory.blocks)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(output)?),
        })
    }
}

/// Memory for one hash, which is kept behind it.
struct Memory<'m> {
    blocks: Vec<Block>,
    from: &'m HashingMemory,
}

impl HashingMemory {
    /// Keeps so many memories, each of 19 MB.
    pub(super) fn keeping(kept_max: usize) -> Self {
        Self { kept: Mutex::default(), kept_max }
    }

    fn take(&self, count: usize) -> Result<Memory<'_>, Error> {
        if count > BLOCKS_MAX {
            return Err(Error::OutOfMemory);
        }
        let mut kept = self.kept();
        let place = kept.iter().position(|memory| memory.len() == count);
        let mut blocks = place.map(|place| kept.swap_remove(place)).unwrap_or_default();
        drop(kept);
        blocks.try_reserve_exact(count - blocks.len()).map_err(|_| Error::OutOfMemory)?;
        blocks.resize(count, Block::new());
        Ok(Memory { blocks, from: self })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        let mut kept = self.from.kept();
        // An imported hash may want another size: only that of new ones is kept.
        if self.blocks.len() == Params::DEFAULT.block_count() && kept.len() < self.from.kept_max {
            kept.push(std::mem::take(&mut self.blocks));
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn it_hashes_and_verifies_as_argon2_does_in_memory_used_before() {
        let (argon2, salt) = (Argon2::default(), [7; 16]);
        let memory = HashingMemory::keeping(1);
        let reusing = ReusingArgon2(&memory);
        for password in [b"tavolo lampada", b"lampada tavolo"] {
            let expected = argon2.hash_password_with_salt(password, &salt).expect("a hash");
            let made = reusing
                .hash_password_customized(password, &salt, None, None, Params::DEFAULT)
                .expect("a hash");
            assert_eq!(made.to_string(), expected.to_string());
            assert!(reusing.verify_password(password, &made).is_ok());
            assert!(reusing.verify_password(b"another one", &made).is_err());
        }
    }

    #[test]
    fn memory_of_the_usual_size_is_used_again_and_only_so_much_is_kept() {
        let memory = HashingMemory::keeping(2);
        let usual = Params::DEFAULT.block_count();
        let take = |count| memory.take(count).expect("memory");
        let first = take(usual).blocks.as_ptr();
        assert_eq!(take(usual).blocks.as_ptr(), first);
        drop(take(8));
        let many: Vec<Memory<'_>> = (0..4).map(|_| take(usual)).collect();
        assert!(memory.kept().is_empty());
        drop(many);
        assert_eq!(memory.kept().len(), 2);
    }

    #[test]
    fn hashes_of_other_sizes_and_kinds_verify_and_one_beyond_the_bound_is_refused() {
        let params = Params::new(64, 3, 2, Some(24)).expect("fine");
        let argon2 = Argon2::new(Algorithm::Argon2i, Version::V0x10, params);
        let hash = argon2.hash_password_with_salt(b"importata", &[1; 16]).expect("a hash");
        let memory = HashingMemory::keeping(1);
        let verify = |password: &[u8], hash: &PasswordHash| {
            ReusingArgon2(&memory).verify_password(password, hash)
        };
        assert_eq!(verify(b"importata", &hash), Ok(()));
        assert_eq!(verify(b"importato", &hash), Err(password_hash::Error::PasswordInvalid));
        let large = hash.to_string().replace("m=64", "m=4000000000");
        let large = PasswordHash::new(&large).expect("a hash");
        assert_eq!(verify(b"importata", &large), Err(password_hash::Error::OutOfMemory));
    }
}
