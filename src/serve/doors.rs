//! The doors: one listener for each configured address, each with its protocol behind it.
//!
//! Invariant: every address is bound before any session is served, so that a wrong or taken port
//! is told at once and nothing runs by halves.
//!
//! Not here: sessions (`protocols`), what they may do (`pec`, `mail_access`).

use std::{fmt, future::Future, num::NonZeroU32, pin::Pin, sync::Arc};

use anyhow::Context as _;
use protocols::{
    access::{Authenticator, MailAccess},
    imap,
    net::{
        Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        proxy::Proxies,
        serve,
        start_tls::StartTls,
        tls::TlsContext,
    },
    pop3,
    sessions::{SessionLimits, SessionLimitsSettings},
    smtp::{
        server::{ServerSettings, SmtpServer},
        transport::Transport,
    },
};
use snapshots::run::Runs;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trust::clock::SystemClock;

use crate::{
    config::{AppendSettings, Config, ListenAddress, Pop3Settings},
    mail_access::StoreMailAccess,
    registry::{Registry, address::AccountAddress},
};

/// What stands behind the doors.
pub struct Rooms {
    /// Who somebody is.
    pub authenticator: Arc<dyn Authenticator>,
    /// What his mail is.
    pub mail: Arc<dyn MailAccess>,
    /// Takes submitted messages.
    pub access_point: Arc<dyn Transport>,
    /// Takes messages from other servers.
    pub incoming_point: Arc<dyn Transport>,
}

/// The mail of holders as it is and as snapshots of `runs` show it, with the operators that `[imap]` names.
///
/// # Errors
///
/// When what is named is no address.
pub fn mail_access(
    config: &Config,
    registry: &Arc<Registry>,
    runs: &Arc<Runs>,
) -> anyhow::Result<StoreMailAccess> {
    let operators: Result<Vec<AccountAddress>, _> =
        config.imap.quota_operators.iter().map(|address| address.parse()).collect();
    let operators = operators.context("imap.quota_operators has what is no address")?;
    let append_octets_max = config.limits.relay_message_octets_max.0;
    let snapshots = runs.snapshots();
    let mut mail = StoreMailAccess::new(Arc::clone(snapshots.store()), append_octets_max)
        .with_snapshots(Arc::clone(snapshots), config.imap.snapshots.open_max);
    // Without runs nothing thins what holders would ask for.
    if config.snapshots.enabled {
        let (settings, clock) = (config.snapshots.clone(), Arc::new(SystemClock));
        mail = mail.with_requests(Arc::clone(runs), settings, clock);
    }
    Ok(mail.with_operators(Arc::clone(registry), &operators))
}

impl fmt::Debug for Rooms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rooms").finish_non_exhaustive()
    }
}

type Door = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Bound listeners, not yet served.
pub struct Doors {
    open: Vec<Door>,
    limits: Arc<ConnectionLimits>,
    proxies: Arc<Proxies>,
    config: Arc<Config>,
    stopping: CancellationToken,
}

impl fmt::Debug for Doors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Doors").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

impl Doors {
    /// Binds every configured address.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound; the message names it and says what to look at.
    pub async fn open(
        config: &Arc<Config>,
        tls: &Arc<TlsContext>,
        rooms: Rooms,
        stopping: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let limits = ConnectionLimits::new(connection_limits(config));
        let proxies = Arc::new(Proxies {
            networks: config.listen.proxy_from.clone(),
            header_time_max: config.limits.proxy_timeout.duration(),
        });
        let mut doors = Self {
            open: Vec::new(),
            limits,
            proxies,
            config: Arc::clone(config),
            stopping: stopping.clone(),
        };
        let Rooms { authenticator, mail, access_point, incoming_point } = rooms;
        let submission = |start_tls| {
            SmtpServer::submission(
                smtp_settings(config),
                Arc::clone(&access_point),
                Arc::clone(&authenticator),
                start_tls,
            )
        };
        let listen = &config.listen;
        let relay = SmtpServer::relay(smtp_settings(config), incoming_point, Some(Arc::clone(tls)));
        doors.add("listen.smtp_relay", &listen.smtp_relay, None, relay).await?;
        doors
            .add("listen.submission", &listen.submission, None, submission(Some(Arc::clone(tls))))
            .await?;
        doors.add("listen.submissions", &listen.submissions, Some(tls), submission(None)).await?;
        doors.open_reading(tls, authenticator, mail).await?;
        Ok(doors)
    }

    /// Binds the doors of IMAP and POP3, which count their sessions together.
    async fn open_reading(
        &mut self,
        tls: &Arc<TlsContext>,
        authenticator: Arc<dyn Authenticator>,
        mail: Arc<dyn MailAccess>,
    ) -> anyhow::Result<()> {
        let config = Arc::clone(&self.config);
        let listen = &config.listen;
        let sessions = SessionLimits::new(SessionLimitsSettings {
            per_account_max: config.limits.sessions_per_account_max,
            per_source_max: config.limits.sessions_per_address_max,
        });
        let start_tls = || StartTls {
            tls: Arc::clone(tls),
            handshake_time_max: config.limits.tls_handshake_timeout.duration(),
        };
        let settings = imap_settings(&config, Arc::clone(&sessions));
        let imap = imap::Server::new(settings, Arc::clone(&authenticator), Arc::clone(&mail));
        let in_the_clear = Arc::new(imap.with_start_tls(start_tls()));
        self.add("listen.imap", &listen.imap, None, in_the_clear).await?;
        self.add("listen.imaps", &listen.imaps, Some(tls), Arc::new(imap)).await?;
        let pop3 = pop3::Server::new(pop3_limits(&config), authenticator, mail, sessions);
        let in_the_clear = Arc::new(pop3.with_start_tls(start_tls()));
        self.add("listen.pop3", &listen.pop3, None, in_the_clear).await?;
        self.add("listen.pop3s", &listen.pop3s, Some(tls), Arc::new(pop3)).await
    }

    /// Binds one more address with `handler` behind it.
    ///
    /// # Errors
    ///
    /// When it cannot be bound.
    pub async fn add<H: SessionHandler>(
        &mut self,
        key: &str,
        address: &ListenAddress,
        tls: Option<&Arc<TlsContext>>,
        handler: Arc<H>,
    ) -> anyhow::Result<()> {
        let Some(socket) = bind(key, address).await? else { return Ok(()) };
        let mut listener = Listener::new(socket, tls.cloned());
        listener.handshake_time_max = self.config.limits.tls_handshake_timeout.duration();
        listener.grace_time = self.config.limits.shutdown_timeout.duration();
        listener.proxies = Arc::clone(&self.proxies);
        let (limits, stopping) = (Arc::clone(&self.limits), self.stopping.clone());
        self.open.push(Box::pin(serve(listener, limits, stopping, handler)));
        Ok(())
    }

    /// Serves until the stop, then until every session has ended.
    pub async fn serve(self) {
        let mut served = tokio::task::JoinSet::new();
        for door in self.open {
            served.spawn(door);
        }
        while let Some(ended) = served.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a listener failed: its port is closed until the next start");
            }
        }
    }
}

/// Binds one configured address; `None` when it is off.
///
/// # Errors
///
/// When it cannot be bound.
pub async fn bind(key: &str, address: &ListenAddress) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address.address() else { return Ok(None) };
    let socket = TcpListener::bind((address.host.as_str(), address.port)).await.with_context(|| {
        format!("{key}: cannot listen on {address}: is another program there, or are rights missing for the port?")
    })?;
    tracing::info!(%address, "{key} is open");
    Ok(Some(socket))
}

fn connection_limits(config: &Config) -> ConnectionLimitsSettings {
    let limits = &config.limits;
    let share = limits.connections_max * limits.connections_per_port_percent_max as usize / 100;
    ConnectionLimitsSettings {
        connections_max: limits.connections_max,
        connections_per_door_max: share.max(1),
        connections_per_source_max: limits.connections_per_address_max,
        connections_per_network_max: limits.connections_per_network_max,
        arrivals_per_source_max: limits.connections_per_minute_per_address_max,
        arrivals_per_network_max: limits.connections_per_minute_per_network_max,
        sources_max: limits.connection_addresses_max,
    }
}

fn smtp_settings(config: &Config) -> ServerSettings {
    let limits = &config.limits;
    let mut settings = ServerSettings::new(config.provider.host_name.as_str());
    settings.command_time_max = limits.smtp_idle_timeout.duration();
    settings.data_block_time_max = limits.smtp_data_timeout.duration();
    settings.message_time_max = limits.smtp_message_timeout.duration();
    settings.message_grace = limits.smtp_data_grace.duration();
    settings.message_octets_per_second_min = limits.smtp_data_octets_per_second_min.0;
    settings.handshake_time_max = limits.tls_handshake_timeout.duration();
    settings.login_time_max = limits.login_timeout.duration();
    settings.header_octets_max = limits.header_octets_max.0;
    settings.errors_max = limits.smtp_errors_max as usize;
    settings.recipients_refused_max = limits.smtp_recipients_refused_max as usize;
    settings.commands_max = limits.smtp_commands_max as usize;
    settings.transactions_max = limits.smtp_transactions_max as usize;
    settings.failed_logins_max = config.login.failures_per_session_max as usize;
    settings.command_octets_max =
        usize::try_from(limits.smtp_line_octets_max.0).unwrap_or(usize::MAX);
    settings
}

fn imap_settings(config: &Config, sessions: Arc<SessionLimits>) -> imap::ServerSettings {
    let mut settings = imap::ServerSettings { sessions, ..imap::ServerSettings::default() };
    settings.limits.line_octets_max =
        usize::try_from(config.limits.imap_line_octets_max.0).unwrap_or(usize::MAX);
    settings.limits.idle_time_max = config.limits.imap_idle_timeout.duration();
    settings.limits.login_time_max = config.limits.login_timeout.duration();
    settings.limits.failed_logins_max = config.login.failures_per_session_max;
    settings.limits.literal_octets_max =
        usize::try_from(config.limits.imap_literal_octets_max.0).unwrap_or(usize::MAX);
    settings.limits.message_limit = NonZeroU32::new(config.limits.imap_message_limit);
    settings.limits.save_limit =
        NonZeroU32::new(config.limits.imap_save_limit).unwrap_or(settings.limits.save_limit);
    settings.limits.sort_octets_max =
        usize::try_from(config.limits.imap_sort_octets_max.0).unwrap_or(usize::MAX);
    settings.limits.search_mailboxes_max = config.limits.imap_search_mailboxes_max;
    settings.limits.search_saved_max = config.limits.imap_search_saved_max;
    settings.limits.contexts_max = config.limits.imap_contexts_max;
    settings.limits.notify_mailboxes_max = config.limits.imap_notify_mailboxes_max;
    settings.limits.notify_pause = config.limits.imap_notify_pause.duration();
    settings.limits.progress_period = config.limits.imap_progress_interval.duration();
    settings.limits.append_octets_max = config.limits.relay_message_octets_max.0;
    settings.limits.header_octets_max = config.limits.header_octets_max.0;
    settings.limits.list_patterns_max = config.imap.list_patterns_max;
    settings.limits.list_pattern_octets_max =
        usize::try_from(config.imap.list_pattern_octets_max.0).unwrap_or(usize::MAX);
    settings.limits.items_max = config.imap.items_max;
    settings.limits.snapshots_listed = config.imap.snapshots.listed;
    settings.limits.snapshots_listed_max = config.imap.snapshots.listed_max;
    settings.limits.compress = config.imap.compress;
    settings.limits.compressed_sessions_max = config.imap.compressed_sessions_max;
    set_append(&mut settings.limits, &config.imap.append);
    settings.time_zone = jiff::tz::get!("Europe/Rome");
    settings
}

fn set_append(limits: &mut imap::ImapLimits, append: &AppendSettings) {
    limits.append_messages_max = append.messages_max;
    limits.append_parts_max = append.parts_max;
    limits.append_urls_max = append.urls_max;
    limits.append_time_max = append.timeout.duration();
    limits.append_grace = append.grace.duration();
    limits.append_octets_per_second_min = append.octets_per_second_min.0;
}

fn pop3_limits(config: &Config) -> pop3::Pop3Limits {
    let Pop3Settings { login_delay, logins_remembered_max, expire_days } = config.pop3;
    pop3::Pop3Limits {
        line_octets_max: usize::try_from(config.limits.pop3_line_octets_max.0)
            .unwrap_or(usize::MAX),
        idle_time_max: config.limits.pop3_idle_timeout.duration(),
        login_time_max: config.limits.login_timeout.duration(),
        bad_commands_max: config.limits.pop3_wrong_commands_max,
        failed_logins_max: config.login.failures_per_session_max,
        login_delay: login_delay.duration(),
        logins_remembered_max,
        expire_days: Some(expire_days).filter(|days| *days > 0),
        ..pop3::Pop3Limits::default()
    }
}
