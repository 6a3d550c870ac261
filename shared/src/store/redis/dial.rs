//! How a server is connected to: credentials, TLS, TCP options and time-outs, in one place.
//!
//! Names are resolved at every connect, so a server that comes back at another address is found.

use std::{path::Path, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsCertificates,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{
    settings::{HostPort, Password, Redis as Settings, RedisUrl, Shape},
    store::{Result, StoreError},
};

/// A connection on which nothing is heard for this long is asked by the kernel, every second.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Makes clients of servers.
#[derive(Clone)]
pub struct Dialer {
    tls: Option<TlsCertificates>,
    tcp: TcpSettings,
    redis: RedisConnectionInfo,
    sentinel: RedisConnectionInfo,
    timeout: Duration,
    connect_timeout: Duration,
}

impl Dialer {
    /// Reads the certificates that the settings name.
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

    /// A client of a Redis server.
    pub fn redis(&self, server: &HostPort) -> RedisResult<Client> {
        self.client(server, self.redis.clone())
    }

    /// A client of a Redis server whose connections can be told of what is published.
    pub fn subscriber(&self, server: &HostPort) -> RedisResult<Client> {
        self.client(server, self.redis.clone().set_protocol(ProtocolVersion::RESP3))
    }

    /// A client of a Sentinel.
    pub fn sentinel(&self, server: &HostPort) -> RedisResult<Client> {
        self.client(server, self.sentinel.clone())
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

    fn client(&self, server: &HostPort, redis: RedisConnectionInfo) -> RedisResult<Client> {
        let HostPort { host, port } = server.clone();
        let address = match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let server =
            address.into_connection_info()?.set_tcp_settings(self.tcp.clone()).set_redis_settings(redis);
        match &self.tls {
            None => Client::open(server),
            Some(certificates) => Client::build_with_tls(server, certificates.clone()),
        }
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

fn certificates(settings: &Settings) -> Result<TlsCertificates> {
    let root_cert = settings.ca_file.as_deref().map(|path| read("redis.ca_file", path)).transpose()?;
    let client_tls = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("redis.cert", cert)?,
            client_key: read("redis.key", key)?,
        }),
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| StoreError::Misconfigured(format!("{setting}: {}: {error}", path.display())))
}
