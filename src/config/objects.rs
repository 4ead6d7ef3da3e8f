//! `[objects]`: where packs lie, and the bounds of requests to a remote store.
//!
//! The secret key is never in the configuration: a file of its own has it, so that the
//! configuration can be shown to others.

use std::{path::PathBuf, time::Duration};

use storage::objects::{
    RemoteSettings, parts::PartSettings, retry::RetrySettings, timeout::TimeSettings,
};

use super::{
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::texts::Text;

/// Where packs lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ObjectSettings {
    /// In a local folder; `None`: in the data folder.
    Folder(Option<PathBuf>),
    /// In a bucket of a server that speaks S3.
    Bucket(Box<BucketSettings>),
}

/// A bucket, and how it is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BucketSettings {
    /// The server's address; `None`: Amazon's own for the region.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The region.
    pub region: String,
    /// What the names of all objects begin with.
    pub prefix: Option<String>,
    /// The key's public part.
    pub access_key: String,
    /// The file with the key's secret part.
    pub secret_key_file: PathBuf,
    /// Lets octets and signatures go in clear.
    pub allow_http: bool,
    /// The bucket is part of the host name.
    pub virtual_hosted: bool,
    /// PEM of the authority that signed the server's certificate.
    pub authority_file: Option<PathBuf>,
    /// Bounds of requests.
    pub remote: RemoteSettings,
    /// Uploads in parts that are open longer than this are aborted.
    pub leftover_age: Millis,
    /// Disk for chunks read lately; 0: none.
    pub cache_octets_max: Octets,
    /// The folder of that; `None`: in the data folder.
    pub cache_folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Folder,
    S3,
}

impl Setting for Kind {
    fn expected() -> Text {
        Text::fixed("\"folder\" oppure \"s3\"", "\"folder\" or \"s3\"")
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "folder" => Some(Self::Folder),
            "s3" => Some(Self::S3),
            _ => None,
        }
    }

    fn render(&self) -> String {
        quoted(match self {
            Self::Folder => "folder",
            Self::S3 => "s3",
        })
    }
}

/// A server's address: scheme, host, port where wanted, no path.
struct Endpoint(String);

impl Endpoint {
    fn in_clear(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl Setting for Endpoint {
    fn expected() -> Text {
        Text::fixed(
            "un indirizzo senza percorso, come \"https://s3.example\"",
            "an address without path, such as \"https://s3.example\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        let text = String::from_raw(raw)?;
        let text = text.trim_end_matches('/');
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
        (!host.is_empty() && host.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

/// What the names of objects begin with: parts of letters, digits, `-`, `_`, `.` between slashes.
struct Prefix(String);

impl Setting for Prefix {
    fn expected() -> Text {
        Text::fixed(
            "un prefisso di lettere, cifre, trattini e barre, come \"ceralacca/posta\"",
            "a prefix of letters, digits, hyphens and slashes, such as \"ceralacca/posta\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        let text = String::from_raw(raw)?;
        let text = text.trim_matches('/');
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        let part =
            |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
        text.split('/').all(part).then(|| Self(text.to_owned()))
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

/// What the section gives, before it is known whether it fits together.
struct Given {
    kind: Kind,
    folder: Option<PathBuf>,
    endpoint: Option<Endpoint>,
    bucket: Option<String>,
    region: String,
    prefix: Option<Prefix>,
    access_key: Option<String>,
    secret_key_file: Option<PathBuf>,
    allow_http: bool,
    virtual_hosted: bool,
    authority_file: Option<PathBuf>,
    remote: RemoteSettings,
    leftover_age: Millis,
    cache_octets_max: Octets,
    cache_folder: Option<PathBuf>,
}

impl ObjectSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "objects",
            Text::fixed(
                "Dove stanno i pack: una cartella di questa macchina, o un bucket di un server S3.",
                "Where packs lie: a folder of this machine, or a bucket of an S3 server.",
            ),
        );
        let given = Given::read(&mut section);
        given.fit_together(reader)
    }
}

impl Given {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let mut given = Self::read_place(section);
        given.remote = RemoteSettings {
            requests_max: section.within(
                "requests_max",
                32,
                (1, 1_000),
                Text::fixed(
                    "Richieste contemporanee al server.",
                    "Requests to the server at once.",
                ),
            ),
            retry: read_retry(section),
            time: read_time(section),
            parts: read_parts(section),
        };
        given.leftover_age = section.within(
            "leftover_age",
            Millis::hours(24),
            (Millis::hours(1), Millis::hours(24 * 30)),
            Text::fixed(
                "Un invio a parti rimasto aperto più a lungo di così viene annullato all'avvio e ogni giorno.",
                "An upload in parts that has been open longer than this is aborted at start and daily.",
            ),
        );
        given.cache_octets_max = section.within(
            "cache_octets_max",
            Octets::gigabytes(10),
            (Octets(0), Octets::gigabytes(100_000)),
            Text::fixed(
                "Disco locale per i chunk letti di recente da un bucket; \"0 octets\" per farne a meno.",
                "Local disk for chunks read lately from a bucket; \"0 octets\" does without.",
            ),
        );
        given.cache_folder = section.optional_path(
            "cache_folder",
            "/var/cache/ceralacca",
            Text::fixed(
                "Cartella di quei chunk, di cui nessun altro si serve; se manca, object_cache nella cartella dei dati.",
                "Folder of those chunks, which nobody else uses; when absent, object_cache in the data folder.",
            ),
        );
        given
    }

    fn read_place(section: &mut Section<'_, '_>) -> Self {
        Self {
            kind: section.key(
                "kind",
                Kind::Folder,
                Text::fixed(
                    "\"folder\": una cartella locale. \"s3\": un bucket; all'avvio il server viene messo alla prova.",
                    "\"folder\": a local folder. \"s3\": a bucket; the server is put to the test at start.",
                ),
            ),
            folder: section.optional_path(
                "folder",
                "/srv/ceralacca/objects",
                Text::fixed(
                    "La cartella, quando kind è folder; se manca, objects nella cartella dei dati.",
                    "The folder, when kind is folder; when absent, objects in the data folder.",
                ),
            ),
            ..Self::read_server(section)
        }
    }

    fn read_server(section: &mut Section<'_, '_>) -> Self {
        Self {
            kind: Kind::S3,
            folder: None,
            endpoint: section.optional(
                "endpoint",
                &Endpoint("https://s3.example".to_owned()),
                Text::fixed(
                    "Indirizzo del server S3; se manca, quello di Amazon per la regione.",
                    "Address of the S3 server; when absent, Amazon's own for the region.",
                ),
            ),
            bucket: section.optional(
                "bucket",
                &"posta".to_owned(),
                Text::fixed("Il bucket, che esiste già.", "The bucket, which exists already."),
            ),
            region: section.key(
                "region",
                "us-east-1".to_owned(),
                Text::fixed(
                    "Regione per cui si firmano le richieste.",
                    "Region that requests are signed for.",
                ),
            ),
            prefix: section.optional(
                "prefix",
                &Prefix("ceralacca".to_owned()),
                Text::fixed(
                    "Inizio del nome di ogni oggetto, per dividere il bucket con altri.",
                    "What the name of each object begins with, to share the bucket with others.",
                ),
            ),
            access_key: section.optional(
                "access_key",
                &"AKIAEXAMPLE".to_owned(),
                Text::fixed("Parte pubblica della chiave.", "Public part of the key."),
            ),
            secret_key_file: section.optional_path(
                "secret_key_file",
                "/etc/ceralacca/s3-secret",
                Text::fixed(
                    "File con la parte segreta della chiave, su una riga; leggibile solo dal servizio.",
                    "File with the secret part of the key, on one line; only the service may read it.",
                ),
            ),
            ..Self::read_line(section)
        }
    }

    fn read_line(section: &mut Section<'_, '_>) -> Self {
        Self {
            kind: Kind::S3,
            folder: None,
            endpoint: None,
            bucket: None,
            region: String::new(),
            prefix: None,
            access_key: None,
            secret_key_file: None,
            allow_http: section.key(
                "allow_http",
                false,
                Text::fixed(
                    "Permette un endpoint http://: ottetti e firme viaggiano in chiaro.",
                    "Lets endpoint be http://: octets and signatures go in clear.",
                ),
            ),
            virtual_hosted: section.key(
                "virtual_hosted",
                false,
                Text::fixed(
                    "true: il bucket è nel nome del server (bucket.s3.example); false: nel percorso.",
                    "true: the bucket is in the server's name (bucket.s3.example); false: in the path.",
                ),
            ),
            authority_file: section.optional_path(
                "authority_file",
                "/etc/ceralacca/s3-authority.pem",
                Text::fixed(
                    "PEM dell'autorità che ha firmato il certificato del server, oltre a quelle del sistema.",
                    "PEM of the authority that signed the server's certificate, beside the system's own.",
                ),
            ),
            remote: RemoteSettings::default(),
            leftover_age: Millis::hours(24),
            cache_octets_max: Octets(0),
            cache_folder: None,
        }
    }

    /// Refuses what contradicts itself.
    fn fit_together(self, reader: &mut Reader<'_>) -> ObjectSettings {
        match self.kind {
            Kind::Folder => {
                self.refuse_bucket_settings(reader);
                ObjectSettings::Folder(self.folder)
            }
            Kind::S3 => self.bucket(reader),
        }
    }

    fn refuse_bucket_settings(&self, reader: &mut Reader<'_>) {
        let given = [
            ("endpoint", self.endpoint.is_some()),
            ("bucket", self.bucket.is_some()),
            ("prefix", self.prefix.is_some()),
            ("access_key", self.access_key.is_some()),
            ("secret_key_file", self.secret_key_file.is_some()),
            ("authority_file", self.authority_file.is_some()),
            ("cache_folder", self.cache_folder.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let text = Text::filled(
                format!("\"{key}\" vale solo con kind = \"s3\": togliere l'uno o cambiare l'altro"),
                format!(
                    "\"{key}\" counts with kind = \"s3\" only: remove the one or change the other"
                ),
            );
            reader.refuse(&format!("objects.{key}"), text);
        }
    }

    fn bucket(self, reader: &mut Reader<'_>) -> ObjectSettings {
        if self.folder.is_some() {
            reader.refuse(
                "objects.folder",
                Text::fixed(
                    "\"folder\" vale solo con kind = \"folder\": togliere l'uno o cambiare l'altro",
                    "\"folder\" counts with kind = \"folder\" only: remove the one or change the other",
                ),
            );
        }
        if self.endpoint.as_ref().is_some_and(Endpoint::in_clear) && !self.allow_http {
            reader.refuse(
                "objects.endpoint",
                Text::fixed(
                    "http:// manda ottetti e firme in chiaro: usare https://, oppure allow_http = true se la rete è fidata",
                    "http:// sends octets and signatures in clear: use https://, or allow_http = true where the network is trusted",
                ),
            );
        }
        let PartSettings { object_octets_min, part_octets, .. } = self.remote.parts;
        if part_octets > object_octets_min {
            reader.refuse(
                "objects.part_octets",
                Text::fixed(
                    "una parte non può superare parts_above: ridurre part_octets",
                    "a part cannot exceed parts_above: make part_octets smaller",
                ),
            );
        }
        let missing = [
            ("bucket", self.bucket.is_none()),
            ("access_key", self.access_key.is_none()),
            ("secret_key_file", self.secret_key_file.is_none()),
        ];
        for (key, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            let text = Text::filled(
                format!("con kind = \"s3\" serve \"{key}\": aggiungerlo"),
                format!("kind = \"s3\" needs \"{key}\": add it"),
            );
            reader.refuse(&format!("objects.{key}"), text);
        }
        ObjectSettings::Bucket(Box::new(BucketSettings {
            endpoint: self.endpoint.map(|endpoint| endpoint.0),
            bucket: self.bucket.unwrap_or_default(),
            region: self.region,
            prefix: self.prefix.map(|prefix| prefix.0),
            access_key: self.access_key.unwrap_or_default(),
            secret_key_file: self.secret_key_file.unwrap_or_default(),
            allow_http: self.allow_http,
            virtual_hosted: self.virtual_hosted,
            authority_file: self.authority_file,
            remote: self.remote,
            leftover_age: self.leftover_age,
            cache_octets_max: self.cache_octets_max,
            cache_folder: self.cache_folder,
        }))
    }
}

fn read_retry(section: &mut Section<'_, '_>) -> RetrySettings {
    let default = RetrySettings::default();
    RetrySettings {
        tries_max: section.within(
            "tries_max",
            default.tries_max,
            (1, 100),
            Text::fixed(
                "Tentativi di una richiesta, il primo compreso.",
                "Tries of one request, the first one counted.",
            ),
        ),
        total_max: duration(
            section,
            "tries_time_max",
            default.total_max,
            (Millis(100), Millis::minutes(10)),
            Text::fixed(
                "Oltre questo tempo dal primo non se ne fanno altri.",
                "No further one begins later than this after the first.",
            ),
        ),
        pause_first: duration(
            section,
            "tries_pause_first",
            default.pause_first,
            (Millis(1), Millis::seconds(10)),
            Text::fixed(
                "Pausa prima del secondo; poi raddoppia, con una parte a caso.",
                "Pause before the second; doubled after that, a part of it at random.",
            ),
        ),
        pause_max: duration(
            section,
            "tries_pause_max",
            default.pause_max,
            (Millis(1), Millis::minutes(1)),
            Text::fixed("Pausa più lunga.", "Longest pause."),
        ),
    }
}

fn read_time(section: &mut Section<'_, '_>) -> TimeSettings {
    let default = TimeSettings::default();
    TimeSettings {
        connect_max: duration(
            section,
            "connect_timeout",
            default.connect_max,
            (Millis(10), Millis::minutes(1)),
            Text::fixed("Attesa di una connessione.", "Wait for a connection."),
        ),
        answer_max: duration(
            section,
            "answer_timeout",
            default.answer_max,
            (Millis(10), Millis::minutes(10)),
            Text::fixed(
                "Attesa di una risposta, oltre al tempo per gli ottetti.",
                "Wait for an answer, beside the time for the octets.",
            ),
        ),
        octets_per_second_min: section
            .within(
                "octets_per_second_min",
                Octets(default.octets_per_second_min),
                (Octets::kilobytes(1), Octets::gigabytes(1)),
                Text::fixed(
                    "Un trasferimento più lento di così (ottetti al secondo) viene abbandonato.",
                    "A transfer slower than this (octets a second) is given up.",
                ),
            )
            .0,
    }
}

fn read_parts(section: &mut Section<'_, '_>) -> PartSettings {
    let default = PartSettings::default();
    let octets = |octets: usize| Octets(octets as u64);
    let size = |octets: Octets| usize::try_from(octets.0).unwrap_or(usize::MAX);
    PartSettings {
        object_octets_min: size(section.within(
            "parts_above",
            octets(default.object_octets_min),
            (Octets::megabytes(5), Octets::gigabytes(4)),
            Text::fixed(
                "Gli oggetti più grandi di così si inviano a parti.",
                "Objects larger than this go up in parts.",
            ),
        )),
        part_octets: size(section.within(
            "part_octets",
            octets(default.part_octets),
            (Octets::megabytes(5), Octets::gigabytes(1)),
            Text::fixed("Dimensione di una parte.", "Size of a part."),
        )),
        parts_at_once: section.within(
            "parts_at_once",
            default.parts_at_once,
            (1, 64),
            Text::fixed(
                "Parti di un oggetto in viaggio insieme.",
                "Parts of one object that are sent at once.",
            ),
        ),
    }
}

fn duration(
    section: &mut Section<'_, '_>,
    key: &str,
    default: Duration,
    range: (Millis, Millis),
    explanation: Text,
) -> Duration {
    let default = Millis(u64::try_from(default.as_millis()).unwrap_or(u64::MAX));
    section.within(key, default, range, explanation).duration()
}
