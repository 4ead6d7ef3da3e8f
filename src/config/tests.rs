//! What a configuration reads as, and what is said about a wrong one.

use std::fs;

use super::*;

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(text, &[])
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ceralacca.toml");
    fs::write(&file, text).expect("the file is written");
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let config = Config::load(Some(&file), variables.iter().map(own))?;
    assert_eq!(config.file, Some(file));
    Ok(Config { file: None, ..config })
}

/// `line: text` of every error, in English.
fn complaints(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let errors = load_with(text, variables).expect_err("the configuration is wrong");
    errors
        .list()
        .iter()
        .map(|error| {
            let place = match error.place() {
                Place::Line { line, .. } => line.to_string(),
                other => other.to_string(),
            };
            format!("{place}: {}", error.text().get(Language::English))
        })
        .collect()
}

#[test]
fn the_example_reads_as_the_defaults_in_both_languages() {
    for language in [Language::Italian, Language::English] {
        let example = Config::example(language);
        assert_eq!(load(&example).map_err(|errors| errors.to_string()), Ok(Config::default()));
        assert!(example.contains("\n[limits]\n"), "{example}");
    }
}

#[test]
fn settings_that_the_example_shows_as_comments_are_accepted_when_uncommented() {
    let uncommented: String = Config::example(Language::Italian)
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            // A key has no spaces; in what explains it " = " may stand as well.
            Some(setting)
                if setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                setting
            }
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // Settings of a folder and of a bucket exclude each other.
    let uncommented = uncommented
        .replace("kind = \"folder\"", "kind = \"s3\"")
        .replace("folder = \"/srv/ceralacca/objects\"\n", "")
        // So do the two places of an issuer's keys.
        .replace("keys_file = \"chiavi-emittente.json\"\n", "");
    let config = load(&uncommented).expect("every shown setting is accepted");
    assert!(config.tls.is_some());
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.provider.host_name.as_str(), "mail.gestore.example");
}

#[test]
fn a_wrong_setting_is_named_with_its_line_and_a_remedy() {
    let rows = [
        ("[provider]\nnome = \"x\"\n", "2: unknown key \"nome\": did you mean \"name\"?"),
        (
            "[listen]\nimapss = \"127.0.0.1:993\"\n",
            "2: unknown key \"imapss\": did you mean \"imaps\"?",
        ),
        ("[lisen]\n", "1: unknown section \"lisen\": did you mean \"listen\"?"),
        ("[journal]\nkept_months = 29\n", "2: \"kept_months\" must be from 30 to 1200"),
        (
            "[journal]\ntimestamp_url = \"ftp://tsa.example\"\n",
            "2: \"timestamp_url\" is wrong: write an address, such as \"https://tsa.example/tsr\"",
        ),
        ("\n\n[data]\nfolder = 3\n", "4: \"folder\" is wrong: write a quoted path"),
        (
            "[listen]\nsmtp_relay = \"25\"\n",
            "2: \"smtp_relay\" is wrong: write \"host:port\", such as \"127.0.0.1:25\", or \"off\"",
        ),
        (
            "[limits]\nconnections_max = \"9\"\n",
            "2: \"connections_max\" is wrong: write a whole number without quotes, such as 50",
        ),
        ("[limits]\nconnections_max = 0\n", "2: \"connections_max\" must be from 1 to 10000000"),
        (
            "[limits]\nmessage_octets_max = 52428800\n",
            "2: \"message_octets_max\" is wrong: write a quantity with its unit, such as \"50 MB\"",
        ),
        (
            "[plans.base]\nspace = \"1 MB\"\n",
            "2: \"space\" must be from \"1 GB\" to \"1048576 GB\"",
        ),
        ("[plans.bas]\n", "1: unknown section \"plans.bas\": did you mean \"plans.base\"?"),
        (
            "[tls]\nkey_file = \"k.pem\"\n",
            "2: certificate_file and key_file go together: add the other one",
        ),
        (
            "[routes]\n\"b.example\" = \"nowhere\"\n",
            "2: \"b.example\" is wrong: write \"host:port\", such as \"127.0.0.1:2525\" or \"[::1]:2525\"",
        ),
        (
            "[registry]\nfilter = \"info\"\n",
            "2: unknown key \"filter\": did you mean \"[log] filter\"?",
        ),
        (
            "[data]\nzzzzzzzz = 1\n",
            "2: unknown key \"zzzzzzzz\": `ceralacca config example` shows those there are",
        ),
        (
            "folder = \"x\"\n",
            "1: \"folder\" stands outside every section: move it below its [section]",
        ),
        (
            "[log]\nfilter = \"ceralacca=loud\"\n",
            "2: \"filter\" is wrong: write error, warn, info, debug or trace, such as \"info,ceralacca=debug\"",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(complaints(text, &[]), [expected], "{text}");
    }
    let broken = complaints("[data]\nfolder = \"x\"\n[data\n", &[]);
    assert!(broken[0].starts_with("3: not valid TOML"), "{broken:?}");
}

#[test]
fn snapshots_are_taken_no_more_often_than_runs_come_by() {
    let settings = |text: &str| load_with(text, &[]).expect("it is right").snapshots;
    let hours = |hours| Millis::hours(hours);
    // Without a word of its own an account has one at each run.
    let slow = settings("[snapshots]\ninterval = \"3 h\"\n");
    assert_eq!((slow.general.every, slow.times("base").every), (hours(3), hours(3)));
    let quick = settings("[snapshots]\ninterval = \"1 min\"\n[snapshots.base]\nevery = \"2 h\"\n");
    assert_eq!((quick.general.every, quick.times("base").every), (hours(1), hours(2)));
    for (text, line) in [
        ("[snapshots]\nevery = \"30 min\"\n", 2),
        ("[snapshots]\ninterval = \"3 h\"\n[snapshots.base]\nevery = \"2 h\"\n", 4),
    ] {
        let complaints = complaints(text, &[]);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        let named = complaints[0].contains(&format!("{line}: \"every\""));
        assert!(named && complaints[0].contains("less than snapshots.interval"), "{complaints:?}");
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let text = "[data]\nfolder = 1\n[login]\nhashings_max = 0\nx_y_z = 1\n";
    assert_eq!(complaints(text, &[("CERALACCA_LOG_JSON", "maybe")]).len(), 4);
}

#[test]
fn a_missing_file_is_named_with_the_way_to_make_one() {
    let errors = Config::load(Some(Path::new("/nonexistent/c.toml")), []).expect_err("no file");
    let text = errors.to_string();
    assert!(text.starts_with("/nonexistent/c.toml: "), "{text}");
    assert!(text.contains("ceralacca config example"), "{text}");
}

#[test]
fn a_variable_overrides_the_file_and_a_misspelt_one_is_refused() {
    let config = load_with(
        "[listen]\nimaps = \"127.0.0.1:1\"\n",
        &[
            ("CERALACCA_LISTEN_IMAPS", "off"),
            ("CERALACCA_LIMITS_CONNECTIONS_MAX", "7"),
            ("CERALACCA_PROVIDER_PEC_DOMAINS", "a.example, b.example"),
            ("CERALACCA_ROUTES", "c.example=127.0.0.1:2525"),
            ("CERALACCA_PLANS_MASSIVA_BASE_RECIPIENTS_MAX", "300"),
            ("CERALACCA_CACHE", "somebody else's"),
        ],
    )
    .expect("the variables are right");
    assert_eq!(config.listen.imaps, ListenAddress::Off);
    assert_eq!(config.limits.connections_max, 7);
    assert_eq!(config.provider.pec_domains.len(), 2);
    assert_eq!(config.routes.values().next(), Some(&HostPort::new("127.0.0.1", 2525)));
    let massive = config.plans.limits(crate::registry::plan::Plan::MassivaBase);
    assert_eq!(massive.recipients_max, 300);
    assert_eq!(
        complaints("", &[("CERALACCA_LISTEN_IMAPSS", "off")]),
        [
            "CERALACCA_LISTEN_IMAPSS: unknown variable \"CERALACCA_LISTEN_IMAPSS\": did you mean \"CERALACCA_LISTEN_IMAPS\"?"
        ]
    );
}

#[test]
fn the_service_address_follows_the_mail_domain() {
    let config = load("[provider]\nmail_domain = \"Uno.Example\"\n").expect("right");
    assert_eq!(config.provider.service_address, "posta-certificata@uno.example");
    assert_eq!(config.provider.host_name.as_str(), "uno.example");
}

#[test]
fn a_relative_path_of_the_file_starts_at_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("c.toml");
    fs::write(&file, "[data]\nfolder = \"data\"\n").expect("the file is written");
    let config = Config::load(Some(&file), []).expect("right");
    assert_eq!(config.data.folder, folder.path().join("data"));
}

#[test]
fn host_and_port_are_read_and_printed_alike() {
    for text in ["127.0.0.1:25", "[::1]:25", "mail.example:0"] {
        assert_eq!(text.parse::<HostPort>().map(|address| address.to_string()), Ok(text.into()));
    }
    for text in ["25", ":25", "::1:25", "a:70000", "[::1:25", "[x]:25", "a b:25"] {
        assert_eq!(text.parse::<HostPort>(), Err(NotHostPort), "{text}");
    }
}

#[test]
fn settings_of_a_bucket_fit_together_or_are_refused() {
    let rows = [
        ("[objects]\nbucket = \"b\"\n", "\"bucket\" counts with kind = \"s3\" only"),
        ("[objects]\nkind = \"nfs\"\n", "write \"folder\" or \"s3\""),
        ("[objects]\nendpoint = \"s3.example\"\n", "an address without path"),
        ("[objects]\nprefix = \"a/../b\"\n", "a prefix of letters"),
    ];
    for (text, expected) in rows {
        let complaints = complaints(text, &[]);
        assert!(complaints[0].contains(expected), "{complaints:?}");
    }
    let bare = complaints("[objects]\nkind = \"s3\"\nfolder = \"x\"\n", &[]);
    assert_eq!(bare.len(), 4, "{bare:?}");
    let keys = "bucket = \"b\"\naccess_key = \"k\"\nsecret_key_file = \"s\"\n";
    let clear = format!("[objects]\nkind = \"s3\"\nendpoint = \"http://127.0.0.1:1/\"\n{keys}");
    let complaint = complaints(&clear, &[]);
    assert!(complaint[0].starts_with("3: http:// sends octets"), "{complaint:?}");
    let large = format!("[objects]\nkind = \"s3\"\npart_octets = \"32 MB\"\n{keys}");
    assert!(complaints(&large, &[])[0].starts_with("3: a part cannot exceed"));
    let config = load(&format!("{clear}allow_http = true\n")).expect("right");
    let ObjectSettings::Bucket(bucket) = config.objects else { panic!("a bucket") };
    assert_eq!(bucket.endpoint.as_deref(), Some("http://127.0.0.1:1"));
    assert_eq!(bucket.remote, storage::objects::RemoteSettings::default());
    assert!(bucket.secret_key_file.is_absolute(), "it starts at the file");
}

#[test]
fn servers_of_names_are_addresses_and_words_are_words() {
    let rows = [
        ("[dns]\nservers = [\"localhost\"]\n", "\"address:port\""),
        ("[dns]\nservers = [\"127.0.0.1\"]\n", "\"address:port\""),
        ("[dns]\ndnssec = \"yes\"\n", "\"trust\", \"validate\" or \"off\""),
        ("[dns]\ntries = 0\n", "must be from 1 to 10"),
        ("[ordinary_mail]\naccept = true\n", "\"wrap\" or \"refuse\""),
        ("[receipts]\nbrief_hash = \"md5\"\n", "\"encoded\" or \"decoded\""),
        ("[ordinary_mail]\narc_trusted = [\"lista\"]\n", "a domain"),
    ];
    for (text, expected) in rows {
        let complaints = complaints(text, &[]);
        assert!(complaints[0].contains(expected), "{complaints:?}");
    }
    let config =
        load_with("[dns]\ndnssec = \"validate\"\n", &[("CERALACCA_DNS_SERVERS", "[::1]:53")]);
    let dns = config.expect("right").dns;
    assert_eq!((dns.servers, dns.dnssec), (vec!["[::1]:53".parse().unwrap()], Dnssec::Validate));
}

#[test]
fn each_issuer_and_address_has_a_copy_of_its_keys_of_its_own() {
    let data = Config::default().data;
    let of = |issuer, url| data.issuer_keys_file(issuer, url);
    let one = of("https://a.example", "https://a.example/jwks");
    assert_ne!(one, of("https://b.example", "https://a.example/jwks"));
    assert_ne!(one, of("https://a.example", "https://a.example/other"));
}

#[test]
fn bounds_of_snapshots_and_the_pace_of_restores_are_read_and_held() {
    let config = load(
        "[snapshots.limits]\npage_octets_held_max = \"1 MB\"\ndifferences_held_max = 5000\n\
         compression_level = 9\n[snapshots.restore]\nmessages_per_second_max = 70\njobs_open_max = 3\n",
    );
    let snapshots = config.expect("they are right").snapshots;
    let (limits, restore) = (snapshots.limits, snapshots.restore);
    assert_eq!((limits.page_octets_held_max, limits.differences_held_max), (1 << 20, 5_000));
    assert_eq!((limits.compression_level, limits.rows_in_queue_max), (9, 2_000));
    assert_eq!((restore.messages_per_second_max, restore.busy_percent_max), (70, 50));
    assert_eq!((restore.limits.jobs_open_max, restore.limits.rows_per_step_max), (3, 500));
    let wrong =
        "[snapshots.limits]\ncompression_level = 20\n[snapshots.restore]\nbusy_percent_max = 0\n";
    assert_eq!(
        complaints(wrong, &[("CERALACCA_SNAPSHOTS_RESTORE_BATCH_MESSAGES_MAX", "0")]),
        [
            "2: \"compression_level\" must be from 1 to 19",
            "4: \"busy_percent_max\" must be from 1 to 100",
            "CERALACCA_SNAPSHOTS_RESTORE_BATCH_MESSAGES_MAX: \"batch_messages_max\" must be from 1 to 10000",
        ]
    );
}
