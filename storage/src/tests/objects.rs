//! Which object store the tests of this crate run over.
//!
//! In memory, unless `CERALACCA_TEST_OBJECTS` says `folder` or `s3`: `make test` runs the suite
//! over those two. `s3` is a SeaweedFS cluster that the first test starts; every test gets a prefix of
//! its own in it.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use object_store::{ObjectStore, memory::InMemory};
use trust::random::SystemRandom;

use crate::{
    objects::{
        PrefixedObjects, RemoteSettings, local::local_objects, metrics::NoObserver, open_s3,
        s3::S3Settings,
    },
    seaweedfs::{ACCESS_KEY, BUCKET, Cluster, SECRET_KEY},
};

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
/// The folder, and the shell that removes it when this process ends.
static FOLDER: OnceLock<(PathBuf, Child)> = OnceLock::new();
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// An empty object store.
pub(crate) fn fresh() -> Arc<dyn ObjectStore> {
    match std::env::var("CERALACCA_TEST_OBJECTS").as_deref() {
        Err(_) | Ok("memory") => Arc::new(InMemory::new()),
        Ok("folder") => {
            let (folder, _) = FOLDER.get_or_init(passing_folder);
            local_objects(&folder.join(next())).expect("a folder of objects")
        }
        Ok("s3") => {
            let cluster = CLUSTER.get_or_init(|| Cluster::start(2));
            let settings = S3Settings {
                endpoint: Some(format!("http://127.0.0.1:{}", cluster.port())),
                bucket: BUCKET.to_owned(),
                region: "us-east-1".to_owned(),
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                allow_http: true,
                virtual_hosted: false,
                authority_pem: None,
            };
            // A client belongs to the runtime that made it, and each test has its own.
            let remote = RemoteSettings::default();
            let store = open_s3(&settings, &remote, Arc::new(SystemRandom), Arc::new(NoObserver));
            Arc::new(PrefixedObjects::new(store.expect("settings that are right"), next()))
        }
        Ok(other) => panic!("CERALACCA_TEST_OBJECTS: {other} is neither memory, folder nor s3"),
    }
}

fn passing_folder() -> (PathBuf, Child) {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let mut shell = Command::new("sh");
    shell.args(["-c", "read -r _; rm -rf \"$0\""]).arg(&folder).stdin(Stdio::piped());
    (folder, shell.spawn().expect("a shell"))
}

fn next() -> String {
    format!("test-{}", GIVEN.fetch_add(1, Ordering::Relaxed))
}
