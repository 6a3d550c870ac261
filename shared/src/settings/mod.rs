//! One typed tree of settings for both programs.
//!
//! Each setting comes from the last of these that names it: its default, the TOML file (`--config FILE`), the
//! environment (`FHIRCAST_LEASE__MAX_SECS` for `lease.max_secs`), the flags ([`Flags`]). [`Settings::load`] reports
//! every mistake at once, each by the setting's name and where its value came from, and refuses contradictions.
//! [`Settings::to_toml`] shows the result with secrets hidden.
//!
//! - `tree`: how settings are declared and visited · `audit`, `auth`, `callbacks`, `tracing`: groups with types of their own
//! - `values`, `redis_url`, `durability`, `data_keys`: types and checks of single values
//! - `load`, `environment`, `flags`: where values come from · `mistakes`: what was wrong with them
//! - `limits`: the group that bounds everything · `checks`: what settings say about each other · `print`: the result as TOML
//! - `reference`: all of them as a page
//!
//! Units are in the names: `_secs`, `_ms`, `_bytes`, `_per_sec`, `_per_min`; whatever has none is a count.

mod audit;
mod auth;
mod callbacks;
mod checks;
mod data_keys;
mod durability;
mod environment;
mod flags;
mod limits;
mod load;
mod mistakes;
mod print;
mod redis_url;
mod reference;
mod tracing;
mod tree;
mod values;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use url::Url;

pub use audit::{Audit, AuditFormat, AuditTarget};
pub use auth::{Auth, KeySource};
pub use callbacks::{Callbacks, PortRange};
pub use checks::Exposure;
pub use data_keys::{DataKey, DataKeys, KeyId};
pub use durability::Durability;
pub use flags::Flags;
pub use ipnet::IpNet;
pub use limits::Limits;
pub use mistakes::{Mistake, Mistakes};
pub use redis_url::{HostPort, RedisUrl, Shape};
pub use tracing::{CollectorHeaders, Tracing};
pub use values::{AuthMode, ClientAuth, LogFormat, Password};

use crate::{format::Format, protocol::sync_error::Severity};
use tree::settings;
use values::{at_least, base_paths, between, fraction, log_level, origins, public_url, seconds};

/// As a setting has it.
const NEWEST_FORMAT: u32 = Format::NEWEST.number() as u32;

/// After which a loop that has not turned stands still, unless calls to Redis may take longer: soon enough for whoever
/// looks every few seconds to notice within ten.
const STUCK_AFTER: Duration = Duration::from_secs(8);

/// Which defaults a program starts from; everything else works the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// A node beside others.
    Standard,
    /// One process that needs nothing else: callbacks to this machine over http are allowed, and Redis is refused.
    Embedded,
}

settings! {
    /// Everything that can be set.
    pub struct Settings {
        /// Address and port that the hub serves.
        listen: SocketAddr = loopback(8080);
        /// The hub's URL as its clients see it, from which the URLs in its answers are made; absent: made from
        /// the host that a request names.
        public_url: Option<Url> = None, public_url;
        /// Paths at which the hub is served.
        base_paths: Vec<String> = texts(["/api/hub", "/fhircast/STU3", "/fhircast/STU2"]), base_paths;
        /// Address and port that serve health and metrics, which say nothing of topics or patients.
        admin_listen: SocketAddr = loopback(9100);
        /// Networks of the proxies in front of the hub, whose X-Forwarded-For, -Proto and -Host are believed; nobody
        /// else's are.
        trusted_proxies: Vec<IpNet> = Vec::new();
        /// Keys that seal what Redis keeps, each as id:base64 of 32 bytes; the first one seals, all open. The word
        /// unsealed as the first element: seal nothing from now on, and still open.
        data_keys: DataKeys = DataKeys::default();
        /// File of such keys, one on each line, in place of data_keys; a line that begins with # says nothing.
        data_keys_file: Option<PathBuf> = None;
        /// Whether what should be sealed in Redis and is not is refused: to be set once fhircast-hub reseal has said
        /// that nothing uses another key. Until then, what was written before there were keys is taken.
        data_keys_required: bool = false;
        /// Whether the hub may be reached from other machines without authentication or TLS.
        insecure: bool = false;
        /// Threads that serve requests and sockets; default: one for each core.
        threads: usize = cores(), between(1, 256);
        /// Seconds that a program takes to let go of its work when it is asked to stop.
        drain_secs: u64 = 10, at_least(0);
        /// Seconds within which a subscriber must answer a notification.
        ack_timeout_secs: u64 = 10, at_least(1);
        /// Seconds for which a subscriber whose socket dropped may come back without subscribing again.
        reconnect_grace_secs: u64 = 30, at_least(0);
        /// Seconds between two pings on an idle socket; a peer that misses two in a row is dropped.
        ping_secs: u64 = 20, at_least(1);
        /// Seconds within which a subscriber that asked for heartbeats gets the next one.
        heartbeat_secs: u64 = 10, at_least(1);

        groups {
            /// The store that the nodes share.
            redis: Redis;
            /// Who may do what.
            auth: Auth;
            /// Where callbacks may go.
            callbacks: Callbacks;
            /// The hub's own certificate.
            tls: Tls;
            /// The certificate of the listener for health and metrics.
            admin_tls: Tls;
            /// How long subscriptions live.
            lease: Lease;
            /// A bound on everything that could grow.
            limits: Limits;
            /// How failed callbacks are tried again.
            retry: Retry;
            /// What the hub reports when a subscriber did not follow.
            syncerror: SyncError;
            /// Browsers that may use the hub.
            cors: Cors;
            /// What the programs write about themselves.
            log: Log;
            /// Where spans go, and of which requests.
            tracing: Tracing;
            /// The record of who did what.
            audit: Audit;
        }
    }
}

settings! {
    /// The store that the nodes share.
    pub struct Redis {
        /// URL of Redis: redis://host:port, redis+sentinel://host:port,host:port/service or
        /// redis+cluster://host:port,host:port, with rediss in place of redis for TLS.
        url: Option<RedisUrl> = None;
        /// User of Redis, unless the URL names one; absent: Redis's default user.
        username: Option<String> = None;
        /// Password for Redis, unless the URL holds one.
        password: Option<Password> = None;
        /// Number of the database, unless the URL names one; a cluster has only 0.
        database: u16 = 0;
        /// User of the Sentinels.
        sentinel_username: Option<String> = None;
        /// Password for the Sentinels.
        sentinel_password: Option<Password> = None;
        /// PEM file of certificate authorities that are trusted for Redis, in place of the system's.
        ca_file: Option<PathBuf> = None;
        /// PEM file of the certificate that the hub shows to Redis.
        cert: Option<PathBuf> = None;
        /// PEM file of that certificate's private key.
        key: Option<PathBuf> = None;
        /// Seconds between two looks at these files; what has changed is taken when two looks in a row find the same.
        reload_secs: u64 = 5, between(1, 86_400);
        /// Number of parts that topics are spread over; every node must say the same, for as long as the data lives.
        partitions: u16 = 256, between(1, 4096);
        /// Newest format of what Redis keeps that this process writes; lower than the program's own only to be like an
        /// older one, when an upgrade is tried out.
        max_format: u32 = NEWEST_FORMAT, between(1, NEWEST_FORMAT);
        /// Milliseconds after which a call to Redis has failed.
        timeout_ms: u64 = 2000, at_least(1);
        /// Milliseconds after which an attempt to connect to Redis has failed.
        connect_timeout_ms: u64 = 2000, at_least(1);
        /// Who must have an event before it is accepted: "primary", or "replicas=N" for N of its replicas as well.
        durability: Durability = Durability::Primary;
        /// Milliseconds after which an event that too few replicas have is answered with 503; a resend of it is known
        /// for 5 s after that.
        durability_timeout_ms: u64 = 1000, between(1, 4000);
    }
}

settings! {
    /// How a listener speaks TLS.
    pub struct Tls {
        /// PEM file of the listener's certificate chain; with its key: it speaks TLS alone.
        cert: Option<PathBuf> = None;
        /// PEM file of the certificate's private key.
        key: Option<PathBuf> = None;
        /// Whether clients show a certificate: "off", "optional" (one that is shown must be good) or "required".
        client_auth: ClientAuth = ClientAuth::Off;
        /// PEM file of certificate authorities that are trusted for clients.
        client_ca_file: Option<PathBuf> = None;
        /// Seconds between two looks at these files; what has changed is taken when two looks in a row find the same.
        reload_secs: u64 = 5, between(1, 86_400);
    }
}

settings! {
    /// How long subscriptions live.
    pub struct Lease {
        /// Seconds of a subscription that asks for no lease.
        default_secs: u64 = 7200, at_least(1);
        /// Seconds of a subscription at most, whatever it asks for.
        max_secs: u64 = 86_400, at_least(1);
    }
}

settings! {
    /// How failed callbacks are tried again.
    pub struct Retry {
        /// Seconds before the second attempt; each wait after that is twice as long.
        initial_secs: f64 = 1.0, seconds;
        /// Seconds between two attempts at most.
        max_secs: f64 = 30.0, seconds;
        /// Part of a wait, from 0 to 1, by which chance makes it longer or shorter.
        jitter: f64 = 0.2, fraction;
        /// Attempts after which an event is given up.
        max_attempts: u32 = 10, at_least(1);
        /// Seconds after which an event is given up.
        give_up_secs: u64 = 300, at_least(1);
        /// Seconds for which a worker's claim on a subscription holds before another may take it.
        claim_secs: u64 = 6, at_least(2);
    }
}

settings! {
    /// What the hub reports when a subscriber did not follow (FC-NOT-03).
    pub struct SyncError {
        /// Severity of the hub's SyncErrors: "warning" (FHIRcast 3.0) or "error" (2.1).
        severity: Severity = Severity::Warning;
        /// Whether a subscriber that has never answered a notification is reported for not answering.
        strict: bool = false;
        /// Notifications in a row that a subscriber may leave unanswered before it is unsubscribed.
        unanswered_in_a_row: u32 = 3, at_least(1);
        /// Reconnect graces in a row that a subscriber may miss before it is unsubscribed.
        absences_in_a_row: u32 = 1, at_least(1);
    }
}

settings! {
    /// Browsers that may use the hub (FC-TRN-07).
    pub struct Cors {
        /// Origins (scheme, host and port alone, no slash after them) whose pages may call the hub.
        allowed_origins: Vec<String> = Vec::new(), origins;
    }
}

settings! {
    /// What the programs write about themselves.
    pub struct Log {
        /// Form of log lines: "pretty" or "json".
        format: LogFormat = LogFormat::Pretty;
        /// Least important level that is logged, or a list of target=level; libraries that the hub is made of are
        /// never asked for more than "info", since what they say beyond it holds what they carry.
        level: String = "info,actix_server=warn,actix_http=off".to_owned(), log_level;
    }
}

impl Settings {
    /// The settings of a program for which nothing was set.
    pub fn new(defaults: Defaults) -> Self {
        let mut settings = Self::default();
        if defaults == Defaults::Embedded {
            settings.callbacks.allow_http = true;
            settings.callbacks.allowed_networks = loopback_networks();
        }
        settings
    }

    /// After which a loop that has not turned stands still: longer than its calls to Redis may take.
    pub fn stuck_after(&self) -> Duration {
        STUCK_AFTER.max(3 * self.redis.timeout())
    }

    /// `drain_secs` as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }

    /// `ack_timeout_secs` as a duration.
    pub fn ack_timeout(&self) -> Duration {
        Duration::from_secs(self.ack_timeout_secs)
    }

    /// `reconnect_grace_secs` as a duration.
    pub fn reconnect_grace(&self) -> Duration {
        Duration::from_secs(self.reconnect_grace_secs)
    }

    /// `heartbeat_secs` as a duration.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_secs)
    }

    /// `ping_secs` as a duration.
    pub fn ping(&self) -> Duration {
        Duration::from_secs(self.ping_secs)
    }
}

impl Redis {
    /// `redis.reload_secs` as a duration.
    pub fn reload_every(&self) -> Duration {
        Duration::from_secs(self.reload_secs)
    }

    /// `redis.max_format`, and no more than this program knows.
    pub fn newest_format(&self) -> Format {
        u8::try_from(self.max_format).map_or(Format::NEWEST, |number| Format::new(number).min(Format::NEWEST))
    }

    /// `redis.timeout_ms` as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// `redis.connect_timeout_ms` as a duration.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

impl Redis {
    /// The longest time after which a publish is answered that waits for replicas.
    pub fn confirmed_within(&self) -> Duration {
        3 * (Duration::from_millis(self.durability_timeout_ms) + CONFIRMATION_MARGIN)
    }
}

impl Tls {
    /// `reload_secs` as a duration.
    pub fn reload_every(&self) -> Duration {
        Duration::from_secs(self.reload_secs)
    }
}

impl Retry {
    /// `retry.give_up_secs` as a duration.
    pub fn give_up(&self) -> Duration {
        Duration::from_secs(self.give_up_secs)
    }

    /// `retry.claim_secs` as a duration.
    pub fn claim(&self) -> Duration {
        Duration::from_secs(self.claim_secs)
    }
}

/// How much longer a confirmation may take than the replicas are given.
pub const CONFIRMATION_MARGIN: Duration = Duration::from_millis(500);

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn loopback_networks() -> Vec<IpNet> {
    vec![
        Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
    ]
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn cores() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().min(256))
}
