//! LOGIN (RFC 3501 §6.2.3), and what every login ends with.

use crate::{
    access::{Identity, LoginError, Protocol},
    imap::{
        command::capability,
        completion::{Completion, Failure, refusal},
        session::{Authenticated, Context, Done, NotAuthenticated, Transition},
    },
    lines::{Disconnect, Stream},
    sasl::Credentials,
};

pub(crate) async fn login<S: Stream>(
    context: &mut Context<S>,
    state: &mut NotAuthenticated,
    login: &str,
    password: &str,
) -> Done {
    if !context.encrypted {
        return Err(privacy_required().into());
    }
    let verified = match Credentials::new(login.as_bytes(), password.as_bytes()) {
        Some(given) => {
            let (login, password) = (given.login(), given.password());
            let authenticator = &context.server.authenticator;
            authenticator.verify_password(Protocol::Imap, context.peer, login, password).await
        }
        // What cannot be right is refused like what is wrong.
        None => Err(LoginError::BadCredentials),
    };
    enter(context, state, verified).await
}

/// No password travels in the clear (RFC 5530 §3).
pub(crate) fn privacy_required() -> Completion {
    Completion::no("PRIVACYREQUIRED", "Serve una connessione TLS / Use TLS first")
}

/// Opens the mail of somebody whose login was checked.
pub(crate) async fn enter<S: Stream>(
    context: &mut Context<S>,
    state: &mut NotAuthenticated,
    verified: Result<Identity, LoginError>,
) -> Done {
    let identity = match verified {
        Ok(identity) => identity,
        Err(error) => return Err(refused(context, state, &error).await),
    };
    let counted = match context.server.settings.sessions.admit(identity.account_id, context.peer) {
        Ok(counted) => counted,
        Err(refused) => {
            let (peer, address) = (context.peer, &identity.address);
            tracing::info!(%peer, address, %refused, "IMAP login refused");
            let (italian, english) = refused.texts();
            return Err(Completion::no("LIMIT", format!("{italian} / {english}")).into());
        }
    };
    let account = context.server.mail.open(&identity).await?;
    let changes = account.changes();
    tracing::info!(peer = %context.peer, address = %identity.address, "IMAP login");
    let code = format!("CAPABILITY {}", capability::list(context, true));
    let completion = Completion::ok_with(code, "Accesso effettuato / Logged in");
    context.address = Some(identity.address);
    Ok((completion, Transition::LogIn(Authenticated { account, changes, _counted: counted })))
}

async fn refused<S: Stream>(
    context: &mut Context<S>,
    state: &mut NotAuthenticated,
    error: &LoginError,
) -> Failure {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::info!(peer = %context.peer, %error, cause, "IMAP login refused");
    let completion = match error {
        LoginError::BadCredentials => Completion::no(
            "AUTHENTICATIONFAILED",
            "Nome utente o password errati / Wrong user name or password",
        ),
        LoginError::Blocked => Completion::no(
            "CONTACTADMIN",
            "Casella bloccata: contattare l'assistenza / Account blocked: write to the help desk",
        ),
        LoginError::TooManyFailures => Completion::no(
            "LIMIT",
            "Troppi tentativi: attendere alcuni minuti / Too many failures: wait some minutes",
        ),
        LoginError::Unavailable(_) => refusal(&storage::error::StoreError::Closed),
    };
    state.failed_logins += 1;
    if state.failed_logins < context.server.settings.limits.failed_logins_max {
        return completion.into();
    }
    // The answer that the last attempt still gets has no tag: the connection ends with it.
    match context.frame.put(completion.line("*").as_bytes()).await {
        Ok(()) => Disconnect::TooManyErrors.into(),
        Err(disconnect) => disconnect.into(),
    }
}
