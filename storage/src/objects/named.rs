//! Objects that a floor above names itself: created once, read whole, listed, deleted.
//!
//! * [`create`] never replaces: an object that is there already stays, and the caller hears so.
//! * What [`read`] returns is bounded by the caller: an object of somebody else's size is refused.
//!
//! Not here: packs (`pack::store`), whose names are random; claims (`claim`).

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path,
};

use crate::error::StoreError;

/// What became of a creation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    /// The object is there now, durable.
    New,
    /// An object of that name was there before; it is as it was.
    Existed,
}

fn failed(operation: &'static str, name: &str, source: Error) -> StoreError {
    StoreError::Objects { operation, object: name.to_owned(), source: Box::new(source) }
}

/// Creates the object `name`.
pub async fn create(
    objects: &dyn ObjectStore,
    name: &str,
    octets: Bytes,
) -> Result<Created, StoreError> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let path = Path::from(name);
    match objects.put_opts(&path, PutPayload::from_bytes(octets), options).await {
        Ok(_) => Ok(Created::New),
        Err(Error::AlreadyExists { .. }) => Ok(Created::Existed),
        Err(error) => Err(failed("put", name, error)),
    }
}

/// Reads the object `name`, which has at most `octets_max` octets. `None` when there is none.
pub async fn read(
    objects: &dyn ObjectStore,
    name: &str,
    octets_max: u64,
) -> Result<Option<Bytes>, StoreError> {
    let found = match objects.get(&Path::from(name)).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        found => found.map_err(|error| failed("get", name, error))?,
    };
    if found.meta.size > octets_max {
        return Err(StoreError::Damaged {
            object: name.to_owned(),
            detail: format!("{} octets, at most {octets_max} expected", found.meta.size),
        });
    }
    found.bytes().await.map(Some).map_err(|error| failed("get", name, error))
}

/// Returns the names of all objects below `folder`, in order.
pub async fn list(objects: &dyn ObjectStore, folder: &str) -> Result<Vec<String>, StoreError> {
    let listed = objects.list(Some(&Path::from(folder)));
    let names = listed.map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>().await;
    let mut names = names.map_err(|error| failed("list", folder, error))?;
    names.sort_unstable();
    Ok(names)
}

/// Deletes the object `name`; one that is gone already is no error.
pub async fn delete(objects: &dyn ObjectStore, name: &str) -> Result<(), StoreError> {
    match objects.delete(&Path::from(name)).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed("delete", name, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_created_once_and_the_second_creation_changes_nothing() {
        let objects = object_store::memory::InMemory::new();
        let one = Bytes::from_static(b"one");
        assert_eq!(create(&objects, "journal/1/a", one.clone()).await.expect("put"), Created::New);
        let again = create(&objects, "journal/1/a", Bytes::from_static(b"two")).await;
        assert_eq!(again.expect("answered"), Created::Existed);
        assert_eq!(read(&objects, "journal/1/a", 3).await.expect("read"), Some(one));
        let larger = read(&objects, "journal/1/a", 2).await;
        assert!(matches!(larger, Err(StoreError::Damaged { .. })), "{larger:?}");
        assert_eq!(list(&objects, "journal").await.expect("listed"), ["journal/1/a"]);
        delete(&objects, "journal/1/a").await.expect("deleted");
        delete(&objects, "journal/1/a").await.expect("gone already");
        assert_eq!(read(&objects, "journal/1/a", 3).await.expect("read"), None);
    }
}
