//! `ceralacca queue` beside the running server and without it.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{run, service, stderr, stdout};

/// What every way of asking says of an empty queue.
fn ask(folder: &std::path::Path) {
    let unknown = "0193617f2a4088e1d2c3b4a596877869";
    for (arguments, code, says) in [
        (&["queue", "list", "--json"][..], 0, "[]"),
        (&["queue", "list"], 0, "last answer"),
        (&["queue", "list", "--domain", "b.example", "--older-than", "4 h"], 0, "recipients"),
        (&["queue", "list", "--older-than", "4"], 2, "such as \"4 h\""),
        (&["queue", "list", "--state", "lost"], 2, "sending, ready, waiting"),
        (&["queue", "show", unknown], 3, "is not in the queue"),
        (&["queue", "show", "1"], 2, "32 digits"),
        (&["queue", "retry"], 2, "say which messages"),
        (&["queue", "retry", "--all"], 0, "changed  0"),
        (&["queue", "hold", unknown, "--why", "prova"], 3, "1 were not in the queue"),
        (&["queue", "release", "--sender", "a@b.example"], 0, "changed  0"),
        (&["queue", "release", unknown, "--all"], 2, "cannot be used with"),
        (&["queue", "drop", "--all"], 2, "--why"),
        (&["queue", "drop", "--all", "--why", " "], 2, "must not be empty"),
        (&["queue", "drop", "--all", "--why", "prova", "--json"], 0, "\"changed\": 0"),
    ] {
        let output = run(folder, arguments, "", "en_GB.UTF-8");
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let italian = run(folder, &["queue", "list"], "", "it_IT.UTF-8");
    assert!(stdout(&italian).contains("ultima risposta"), "{}", stdout(&italian));
}

#[test]
fn the_queue_is_asked_of_a_running_server_and_of_a_stopped_one() {
    let folder = service::site();
    let mut server = service::serve(folder.path(), &[]);
    service::wait_for_socket(folder.path());
    ask(folder.path());
    kill(Pid::from_raw(i32::try_from(server.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
    ask(folder.path());
}
