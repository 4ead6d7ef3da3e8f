//! A real balancer in front: HAProxy with `send-proxy-v2`.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    provider::{ANNA, BRUNO, PASSWORD, Provider, run},
    submission::LETTER,
    support::ports,
};

/// Where the balancer comes from, and where the client does.
const BALANCER: &str = "127.0.0.9";
const CLIENT: &str = "127.0.0.77";

struct Balancer {
    process: Child,
    submissions: u16,
    relay: u16,
}

impl Balancer {
    /// Starts HAProxy in front of `provider`.
    fn start(provider: &Provider) -> Self {
        let [submissions, relay] = ports::free();
        let in_front = |name: &str, front: u16, back: u16| {
            format!(
                "listen {name}\n bind 127.0.0.1:{front}\n \
                 server alfa 127.0.0.1:{back} send-proxy-v2 check check-send-proxy source {BALANCER}\n"
            )
        };
        let configuration = [
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n",
            &in_front("submissions", submissions, provider.ports.submissions),
            &in_front("relay", relay, provider.ports.relay),
        ]
        .concat();
        let file = provider.file("haproxy.cfg", &configuration);
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn();
        let process = process
            .unwrap_or_else(|error| panic!("haproxy: {error}: run `scripts/bootstrap test`"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", relay)).is_err() {
            assert!(Instant::now() < deadline, "haproxy does not listen");
            sleep(Duration::from_millis(20));
        }
        Self { process, submissions, relay }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn behind_haproxy_the_clients_own_address_is_in_logs_and_trace_fields() {
    let provider = Provider::start_with(&format!("proxy_from = [\"{BALANCER}/32\"]\n"));
    let balancer = Balancer::start(&provider);
    let file = provider.file("letter.eml", LETTER);
    let url = format!("smtps://localhost:{}", balancer.submissions);
    let file = file.to_string_lossy();
    let arguments =
        ["--interface", CLIENT, "--url", &url, "--mail-from", ANNA, "--mail-rcpt", BRUNO];
    let sent = provider.curl(ANNA, PASSWORD, &[&arguments[..], &["--upload-file", &file]].concat());
    assert_eq!(sent.status, 0, "{}", sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 1), 1);
    let log = provider.log();
    assert!(log.contains(&format!("peer={CLIENT}")), "{log}");

    // The trace field that the incoming point writes names him too.
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &balancer.relay.to_string()]);
    command.args(["--local-interface", CLIENT, "--ehlo", "mail.altrove.example"]);
    command.args(["--from", "io@altrove.example", "--to", BRUNO, "--header", "Subject: Prova"]);
    let sent = run(command);
    assert_eq!(sent.status, 0, "{}{}", sent.text, sent.complaint);
    assert_eq!(provider.wait_for_messages(BRUNO, 2), 2);
    let url = format!("imaps://localhost:{}/INBOX/;UID=2", provider.ports.imaps);
    let read = provider.curl(BRUNO, PASSWORD, &["--url", &url]);
    assert!(
        read.text.contains(&format!("({CLIENT})")) || read.text.contains(&format!("([{CLIENT}])")),
        "{}",
        read.text
    );

    // Whoever comes past the balancer in its name without a header is closed.
    let direct = format!("smtps://localhost:{}", provider.ports.submissions);
    let arguments =
        ["--interface", BALANCER, "--url", &direct, "--mail-from", ANNA, "--mail-rcpt", BRUNO];
    let refused =
        provider.curl(ANNA, PASSWORD, &[&arguments[..], &["--upload-file", &file]].concat());
    assert_ne!(refused.status, 0);
}
