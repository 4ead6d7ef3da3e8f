//! Why a command failed, and the exit code that says so.

use std::error::Error;

use crate::{
    config::ConfigErrors,
    control::{Kind, OperationError},
    registry::{
        ErrorKind, RegistryError, address::AddressError, codes::CodeError,
        credential::CredentialError, password::PasswordError,
    },
    texts::{Language, Text, store},
};

/// A failure, for people and for programs.
#[derive(Debug)]
pub(super) struct Failure {
    kind: &'static str,
    code: u8,
    text: Text,
}

impl Failure {
    /// Something did not work.
    pub(super) fn failed(text: Text) -> Self {
        Self { kind: "failed", code: 1, text }
    }

    /// The request is wrong.
    pub(super) fn invalid(text: Text) -> Self {
        Self { kind: "invalid", code: 2, text }
    }

    /// Somebody else has what was asked for.
    pub(super) fn conflict(text: Text) -> Self {
        Self { kind: "conflict", code: 4, text }
    }

    /// There is no such thing.
    pub(super) fn not_found(text: Text) -> Self {
        Self { kind: "not_found", code: 3, text }
    }

    /// The machine refused something; the message is the cause's: of the store in both languages, else in
    /// English.
    pub(super) fn of_machine(error: &(dyn Error + 'static)) -> Self {
        Self::failed(store::of_machine(error))
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let (kind, code) = match error.kind() {
            ErrorKind::Invalid => ("invalid", 2),
            ErrorKind::NotFound => ("not_found", 3),
            ErrorKind::Conflict => ("conflict", 4),
            ErrorKind::Temporary => ("temporary", 75),
        };
        Self { kind, code, text: error.text() }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let lines = |language: Language| {
            let lines: Vec<String> =
                errors.list().iter().map(|error| error.line(language)).collect();
            lines.join("\n")
        };
        Self {
            kind: "configuration",
            code: 2,
            text: Text::filled(lines(Language::Italian), lines(Language::English)),
        }
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let (kind, code) = match error.kind {
            Kind::Failed => ("failed", 1),
            Kind::Invalid => ("invalid", 2),
            Kind::NotFound => ("not_found", 3),
            Kind::Conflict => ("conflict", 4),
            Kind::Temporary => ("temporary", 75),
            Kind::Cancelled => ("cancelled", 130),
        };
        Self { kind, code, text: error.text }
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        RegistryError::from(error).into()
    }
}

impl From<CodeError> for Failure {
    fn from(error: CodeError) -> Self {
        RegistryError::from(error).into()
    }
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        RegistryError::from(error).into()
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::of_machine(&error)
    }
}
