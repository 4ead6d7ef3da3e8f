//! Argon2 in memory that is used again.
//!
//! A hash fills 19 MB. Given back after each, they stay with the thread arenas of the C library's
//! allocator, several times in each of them: hundreds of MB for one hash at a time. So the last
//! [`KEPT_MAX`] of them are kept for the next hashes.
//!
//! Not here: how many are made at a time (`authenticator`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, CustomizedPasswordHasher, Params, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};

/// Memories kept at most: more hashes than these at a time are rare.
const KEPT_MAX: usize = 4;

static POOL: MemoryPool = MemoryPool(Mutex::new(Vec::new()));

/// Hashes and verifies as [`Argon2`] does.
pub(super) struct ReusingArgon2;

impl CustomizedPasswordHasher<PasswordHash> for ReusingArgon2 {
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
        let mut memory = POOL.memory(params.block_count());
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

/// Memories of hashes that ended.
struct MemoryPool(Mutex<Vec<Vec<Block>>>);

/// Memory for one hash; the pool gets it back.
struct Memory<'p> {
    blocks: Vec<Block>,
    pool: &'p MemoryPool,
}

impl MemoryPool {
    fn memory(&self, blocks: usize) -> Memory<'_> {
        let mut kept = self.kept();
        let place = kept.iter().position(|memory| memory.len() == blocks);
        let memory = place.map(|place| kept.swap_remove(place));
        drop(kept);
        let blocks = memory.unwrap_or_else(|| vec![Block::new(); blocks]);
        Memory { blocks, pool: self }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        let mut kept = self.pool.kept();
        // An imported hash may want another size: only that of new ones is kept.
        if self.blocks.len() == Params::DEFAULT.block_count() && kept.len() < KEPT_MAX {
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
        for password in [b"tavolo lampada", b"lampada tavolo"] {
            let expected = argon2.hash_password_with_salt(password, &salt).expect("a hash");
            let made = ReusingArgon2
                .hash_password_customized(password, &salt, None, None, Params::DEFAULT)
                .expect("a hash");
            assert_eq!(made.to_string(), expected.to_string());
            assert!(ReusingArgon2.verify_password(password, &made).is_ok());
            assert!(ReusingArgon2.verify_password(b"another one", &made).is_err());
        }
    }

    #[test]
    fn memory_of_the_usual_size_is_used_again_and_only_so_much_is_kept() {
        let pool = MemoryPool(Mutex::new(Vec::new()));
        let usual = Params::DEFAULT.block_count();
        let first = pool.memory(usual).blocks.as_ptr();
        assert_eq!(pool.memory(usual).blocks.as_ptr(), first);
        drop(pool.memory(8));
        let many: Vec<Memory<'_>> = (0..KEPT_MAX + 2).map(|_| pool.memory(usual)).collect();
        assert!(pool.kept().is_empty());
        drop(many);
        assert_eq!(pool.kept().len(), KEPT_MAX);
    }

    #[test]
    fn hashes_of_other_sizes_and_kinds_verify_too() {
        let params = Params::new(64, 3, 2, Some(24)).expect("fine");
        let argon2 = Argon2::new(Algorithm::Argon2i, Version::V0x10, params);
        let hash = argon2.hash_password_with_salt(b"importata", &[1; 16]).expect("a hash");
        assert!(ReusingArgon2.verify_password(b"importata", &hash).is_ok());
        assert!(ReusingArgon2.verify_password(b"importato", &hash).is_err());
    }
}
