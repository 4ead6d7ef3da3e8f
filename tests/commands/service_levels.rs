//! `ceralacca service-levels`.

use serde_json::Value;

use super::{
    run,
    service::{serve, site, wait_for_socket},
    stderr, stdout,
};

#[test]
fn service_levels_are_told_beside_the_server_and_without_it() {
    let folder = site();
    let mut server = serve(folder.path(), &[]);
    wait_for_socket(folder.path());
    let beside = run(folder.path(), &["service-levels"], "", "it_IT.UTF-8");
    assert!(beside.status.success(), "{}", stderr(&beside));
    // A server of some seconds was not there for a whole minute.
    assert!(stdout(&beside).contains("Nessuna osservazione"), "{}", stdout(&beside));
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let alone = run(folder.path(), &["service-levels", "--json", "--period", "2026-3"], "", "en");
    let told: Value = serde_json::from_str(&stdout(&alone)).expect("JSON");
    assert_eq!((&told["period"], &told["delays"]), (&"2026-3".into(), &Value::Array(Vec::new())));
    let wrong = run(folder.path(), &["service-levels", "--period", "2026-4"], "", "it_IT.UTF-8");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("scriverlo come 2026-3"), "{}", stderr(&wrong));
}
