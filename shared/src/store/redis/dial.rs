//! How a server is connected to: credentials, TLS, TCP options and time-outs, in one place.
//!
//! Names are resolved at every connect, so a server that comes back at another address is found; and it is made with the
//! certificates that the files hold then ([`crate::tls`]).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsCertificates,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{
    lock::lock,
    settings::{HostPort, Password, Redis as Settings, RedisUrl, Shape},
    store::{Result, StoreError},
    telemetry::metrics::{Certificate, Connecting, METRICS, RedisConnection},
    tls::{self, Followed, Trust},
};

/// A connection on which nothing is heard for this long is asked by the kernel, every second.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Knows how servers are connected to.
#[derive(Clone)]
pub struct Dialer {
    tls: Option<Followed<Trust>>,
    tcp: TcpSettings,
    redis: RedisConnectionInfo,
    sentinel: RedisConnectionInfo,
    timeout: Duration,
    connect_timeout: Duration,
}

impl Dialer {
    /// Follows the certificates that the settings name, in a task.
    pub fn new(url: &RedisUrl, settings: &Settings) -> Result<Self> {
        let database = match url.shape() {
            Shape::Single { database: Some(database) } => *database,
            _ => settings.database,
        };
        let username = url.username().or(settings.username.as_deref());
        let password = url.password().or(settings.password.as_ref().map(Password::expose));
        let sentinel_password = settings.sentinel_password.as_ref().map(Password::expose);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(Duration::from_secs(1));
        Ok(Self {
            tls: if url.is_tls() { Some(certificates(settings)?) } else { None },
            tcp: TcpSettings::default()
                .set_nodelay(true)
                .set_keepalive(keepalive)
                .set_user_timeout(2 * settings.timeout()),
            redis: credentials(username, password).set_db(database.into()),
            sentinel: credentials(settings.sentinel_username.as_deref(), sentinel_password),
            timeout: settings.timeout(),
            connect_timeout: settings.connect_timeout(),
        })
    }

    /// The way to a Redis server.
    pub fn redis(&self, server: &HostPort, purpose: RedisConnection) -> Door {
        self.door(server, self.redis.clone(), purpose)
    }

    /// The way to a Redis server, on connections that can be told of what is published.
    pub fn subscriber(&self, server: &HostPort) -> Door {
        let login = self.redis.clone().set_protocol(ProtocolVersion::RESP3);
        self.door(server, login, RedisConnection::Bells)
    }

    /// The way to a Sentinel.
    pub fn sentinel(&self, server: &HostPort) -> Door {
        self.door(server, self.sentinel.clone(), RedisConnection::Topology)
    }

    /// The time-outs of a connection.
    pub fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.timeout))
            .set_connection_timeout(Some(self.connect_timeout))
    }

    /// How long a call may take, with all its tries.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long it may take to connect.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn door(&self, server: &HostPort, login: RedisConnectionInfo, purpose: RedisConnection) -> Door {
        let (tls, tcp) = (self.tls.clone(), self.tcp.clone());
        Door { server: server.clone(), login, purpose, tls, tcp, made: Mutex::default() }
    }
}

/// The way to one server.
pub struct Door {
    server: HostPort,
    login: RedisConnectionInfo,
    purpose: RedisConnection,
    tls: Option<Followed<Trust>>,
    tcp: TcpSettings,
    made: Mutex<Option<Made>>,
}

/// The last client, and what its connections trust and show.
struct Made {
    trust: Option<Arc<Trust>>,
    client: Arc<Client>,
}

/// Counts itself when it is over, also when nobody waits for it any more.
struct Attempt {
    purpose: RedisConnection,
    outcome: Connecting,
}

impl Attempt {
    fn succeeded(mut self) {
        self.outcome = Connecting::Made;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        METRICS.redis_connect(self.purpose, self.outcome);
    }
}

impl Door {
    /// Connects.
    pub async fn open(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let attempt = Attempt { purpose: self.purpose, outcome: Connecting::Failed };
        let connection = self.client()?.get_multiplexed_async_connection_with_config(config).await?;
        attempt.succeeded();
        Ok(connection)
    }

    /// What connections are made with now: the same for as long as the certificates are the same.
    pub fn client(&self) -> RedisResult<Arc<Client>> {
        let trust = self.tls.as_ref().map(Followed::now);
        let mut made = lock(&self.made);
        if let Some(made) = &*made
            && made.trust.as_ref().map(Arc::as_ptr) == trust.as_ref().map(Arc::as_ptr)
        {
            return Ok(made.client.clone());
        }
        let client = Arc::new(self.make(trust.as_deref())?);
        *made = Some(Made { trust, client: client.clone() });
        Ok(client)
    }

    fn make(&self, trust: Option<&Trust>) -> RedisResult<Client> {
        let HostPort { host, port } = self.server.clone();
        let address = match trust {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let (tcp, login) = (self.tcp.clone(), self.login.clone());
        let server = address.into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(login);
        let Some(Trust { authorities, identity }) = trust else { return Client::open(server) };
        let shown = |(client_cert, client_key): &(Vec<u8>, Vec<u8>)| ClientTlsConfig {
            client_cert: client_cert.clone(),
            client_key: client_key.clone(),
        };
        let client_tls = identity.as_ref().map(shown);
        Client::build_with_tls(server, TlsCertificates { client_tls, root_cert: authorities.clone() })
    }
}

fn credentials(username: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_lib_name("fhircast-hub", env!("CARGO_PKG_VERSION"));
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password);
    }
    info
}

fn certificates(settings: &Settings) -> Result<Followed<Trust>> {
    let files = tls::Client {
        of: Certificate::Redis,
        ca_file: settings.ca_file.as_deref(),
        cert: settings.cert.as_deref(),
        key: settings.key.as_deref(),
        reload_every: settings.reload_every(),
    };
    files.trust().map_err(|problem| StoreError::Misconfigured(problem.to_string()))
}
