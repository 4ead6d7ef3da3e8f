//! `[backup]`: where checkpoints go, how often, how long they stay.

use std::path::PathBuf;

use super::{
    reader::{Reader, Section},
    source::Raw,
    units::{Millis, Octets},
    value::{Setting, quoted},
};
use crate::texts::Text;

/// Where a back-up lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BackupTarget {
    /// In a folder of another disk or machine; packs are copied to it.
    Folder(PathBuf),
    /// In the object store of the packs themselves, which then must not be in the data folder.
    Objects,
}

/// `[backup]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackupSettings {
    /// Where it lies; `None`: there is no back-up.
    pub target: Option<BackupTarget>,
    /// The certificate of the recovery key.
    pub recovery_certificate_file: Option<PathBuf>,
    /// A file whose first line is a pass phrase.
    pub passphrase_file: Option<PathBuf>,
    /// How often, how fast, for how long.
    pub timing: BackupTiming,
    /// Files that go with each checkpoint besides those that the program knows.
    pub also_files: Vec<PathBuf>,
}

/// How often checkpoints are taken, how fast they are shipped, how long they stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackupTiming {
    /// Pause between two increments.
    pub interval: Millis,
    /// Age of the last complete increment that is an alarm.
    pub window_max: Millis,
    /// Octets moved in a second, at most.
    pub octets_per_second: Octets,
    /// How long every checkpoint stays.
    pub keep_all: Millis,
    /// How long the last one of each hour stays.
    pub keep_hourly: Millis,
    /// How long the last one of each day stays.
    pub keep_daily: Millis,
}

impl Setting for BackupTarget {
    fn expected() -> Text {
        Text::fixed(
            "una cartella, come \"/mnt/backup/ceralacca\", oppure \"objects\"",
            "a folder, such as \"/mnt/backup/ceralacca\", or \"objects\"",
        )
    }

    fn from_raw(raw: &Raw) -> Option<Self> {
        match String::from_raw(raw)?.as_str() {
            "objects" => Some(Self::Objects),
            folder => Some(Self::Folder(folder.into())),
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Folder(folder) => quoted(&folder.to_string_lossy()),
            Self::Objects => quoted("objects"),
        }
    }
}

const DAY: Millis = Millis::hours(24);

impl BackupSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "backup",
            Text::fixed(
                "Copie continue di catalogo, anagrafica e chiavi fuori da questa macchina.",
                "Continuous copies of catalog, registry and keys outside of this machine.",
            ),
        );
        let example = BackupTarget::Folder("/mnt/backup/ceralacca".into());
        let target = section.optional(
            "target",
            &example,
            Text::fixed(
                "Dove: una cartella di un altro disco o di un'altra macchina, oppure \"objects\": accanto ai pack, se non sono nella cartella dei dati. Se manca, nessuna copia.",
                "Where: a folder of another disk or machine, or \"objects\": beside the packs, when those are not in the data folder. When absent, no copies.",
            ),
        );
        let settings = Self {
            target: target.map(|target| match target {
                BackupTarget::Folder(folder) => {
                    BackupTarget::Folder(section.resolved("target", folder))
                }
                BackupTarget::Objects => BackupTarget::Objects,
            }),
            recovery_certificate_file: section.optional_path(
                "recovery_certificate_file",
                "recovery.pem",
                Text::fixed(
                    "Certificato della chiave di recupero, che si custodisce altrove: solo quella apre le copie.",
                    "Certificate of the recovery key, which is kept elsewhere: only that opens the copies.",
                ),
            ),
            passphrase_file: section.optional_path(
                "passphrase_file",
                "backup.passphrase",
                Text::fixed(
                    "File con una frase segreta nella prima riga; al posto del certificato, o insieme.",
                    "File with a pass phrase in its first line; instead of the certificate, or with it.",
                ),
            ),
            timing: BackupTiming::read(&mut section),
            also_files: section.paths(
                "also_files",
                Text::fixed(
                    "Altri file da copiare, oltre a configurazione, chiavi e certificati.",
                    "Further files to copy, besides configuration, keys and certificates.",
                ),
            ),
        };
        let sealed =
            settings.recovery_certificate_file.is_some() || settings.passphrase_file.is_some();
        if settings.target.is_some() && !sealed {
            reader.refuse(
                "backup.target",
                Text::fixed(
                    "senza recovery_certificate_file o passphrase_file nessuno potrebbe aprire le copie: indicarne uno",
                    "without recovery_certificate_file or passphrase_file nobody could open the copies: give one",
                ),
            );
        }
        settings
    }
}

impl BackupTiming {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            interval: section.within(
                "interval",
                Millis::seconds(30),
                (Millis(200), DAY),
                Text::fixed(
                    "Pausa tra due incrementi: con la durata di uno è quanto si può perdere.",
                    "Pause between two increments: with the time that one takes, what can be lost.",
                ),
            ),
            window_max: section.within(
                "window_max",
                Millis::minutes(2),
                (Millis::seconds(1), Millis(7 * DAY.0)),
                Text::fixed(
                    "Età dell'ultimo incremento completo oltre la quale è un allarme.",
                    "Age of the last complete increment from which on it is an alarm.",
                ),
            ),
            octets_per_second: section.within(
                "octets_per_second",
                Octets::megabytes(64),
                (Octets::kilobytes(64), Octets::gigabytes(1024)),
                Text::fixed("Ottetti al secondo, al massimo.", "Octets a second, at most."),
            ),
            keep_all: section.within(
                "keep_all",
                Millis::hours(2),
                (Millis(0), Millis(3_650 * DAY.0)),
                Text::fixed("Per quanto si tiene ogni copia.", "How long every checkpoint stays."),
            ),
            keep_hourly: section.within(
                "keep_hourly",
                Millis(2 * DAY.0),
                (Millis(0), Millis(3_650 * DAY.0)),
                Text::fixed(
                    "Per quanto si tiene l'ultima di ogni ora.",
                    "How long the last one of each hour stays.",
                ),
            ),
            keep_daily: section.within(
                "keep_daily",
                Millis(14 * DAY.0),
                (Millis(0), Millis(3_650 * DAY.0)),
                Text::fixed(
                    "Per quanto si tiene l'ultima di ogni giorno.",
                    "How long the last one of each day stays.",
                ),
            ),
        }
    }
}
