//! Settings, as the operator gives them, and the URL of Redis among them. No message shows a password.

use shared::settings::{Defaults, Flags, RedisUrl, Settings};

use super::text;
use crate::{Target, seeds::texts};

pub const SETTINGS: Target =
    Target { name: "settings", check: check_settings, seeds: settings, words: WORDS };
pub const REDIS_URL: Target = Target { name: "redis-url", check: check_redis_url, seeds: urls, words: WORDS };

const WORDS: &[&str] = &[
    "FHIRCAST_",
    "__",
    "REDIS__URL",
    "LEASE__MAX_SECS",
    "LIMITS__BODY_BYTES",
    "LISTEN",
    "CORS__ALLOWED_ORIGINS",
    "=",
    "\n",
    "listen",
    "redis.url",
    "redis://",
    "rediss+sentinel://",
    "redis+cluster://",
    "@",
    ":",
    "/",
    ",",
    "[::1]",
    "%40",
    "%ff",
    "true",
    "replicas=",
    "1e9",
    "0",
    "-1",
    "18446744073709551616",
    "[\"a\"]",
    "10.0.0.0/8",
    "https://a",
];

/// Nobody but who writes it into a password does.
const PASSWORD: &str = "pA55w0rd-that-nobody-sees";

fn settings() -> Vec<Vec<u8>> {
    texts([
        "FHIRCAST_LISTEN=127.0.0.1:0\nFHIRCAST_REDIS__URL=redis://h\nFHIRCAST_LEASE__MAX_SECS=3600",
        "lease.max_secs=0\nlimits.body_bytes=-1\nredis.durability=replicas=2\nredis.url=redis+sentinel://a,b/s",
        "callbacks.allowed_networks=10.0.0.0/8,::1\ncors.allowed_origins=https://a,*\nbase_paths=/a,/b",
        "FHIRCAST_REDIS_URL=tcp://10.0.0.1:6379\nFHIRCAST_NOBODY=1\nlisten\n=\nretry.jitter=2\nlisten=0.0.0.0:80\ninsecure=true",
        "tls.cert=/nowhere\nping_secs=1e999\nlog.level=a=b=c\nsyncerror.severity=fatal",
    ])
}

/// Each line is a variable, or the value of a `--set`.
fn check_settings(bytes: &[u8]) {
    let text = text(bytes);
    let (mut flags, mut env) = (Flags::default(), Vec::new());
    for line in text.split('\n').take(20) {
        match line.split_once('=') {
            Some((name, value)) if name.starts_with("FHIRCAST_") => {
                env.push((name.to_owned(), value.to_owned()))
            }
            _ => flags.set.push(line.to_owned()),
        }
    }
    env.push(("FHIRCAST_REDIS__PASSWORD".to_owned(), PASSWORD.to_owned()));
    env.push(("FHIRCAST_REDIS__URL".to_owned(), format!("redis://u:{PASSWORD}@h")));
    for defaults in [Defaults::Standard, Defaults::Embedded] {
        let said = match Settings::load(defaults, &flags, env.clone()) {
            Ok(settings) => settings.to_toml(),
            Err(mistakes) => {
                assert!(!mistakes.0.is_empty());
                let said = mistakes.to_string();
                assert_eq!(said.lines().count(), mistakes.0.len(), "each mistake is a line");
                said
            }
        };
        assert!(!said.contains(PASSWORD), "FC-TRN-03: {said}");
    }
}

fn urls() -> Vec<Vec<u8>> {
    texts([
        "redis\nh:6379/0",
        "rediss+sentinel\na,10.0.0.1:7,[::1]/my%20service",
        "redis+cluster\n[fe80::1]:8,b/",
        "http\nh",
        "redis\nh/x",
        "redis\na,b",
        "redis\nh:70000",
        "redis\n:x",
        "redis\na b",
        "redis\n",
        "redis\nh?x",
        "redis\nh@i/1",
    ])
}

/// The first line is the scheme, the second what follows `://`, without or with a user and password.
fn check_redis_url(bytes: &[u8]) {
    let text = text(bytes);
    let (scheme, rest) = text.split_once('\n').unwrap_or(("redis", &text));
    if scheme.contains("://") || text.to_ascii_lowercase().contains(&PASSWORD.to_ascii_lowercase()) {
        return;
    }
    if let Ok(url) = RedisUrl::try_from(format!("{scheme}://{rest}")) {
        assert!(!url.hosts().is_empty() && url.hosts().iter().all(|host| !host.host.is_empty()));
        for host in url.hosts() {
            let again = RedisUrl::try_from(format!("redis://{host}")).map(|url| url.hosts().to_vec());
            assert_eq!(again.ok().as_deref(), Some(std::slice::from_ref(host)), "a host reads as itself");
        }
        if url.password().is_none() {
            let again = RedisUrl::try_from(String::from(url.clone()));
            assert_eq!(again.as_ref(), Ok(&url));
        }
    }
    let said = match RedisUrl::try_from(format!("{scheme}://me:{PASSWORD}@{rest}")) {
        Ok(url) => {
            assert!(url.password().is_some_and(|password| password.starts_with(PASSWORD)));
            format!("{url} {url:?} {}", String::from(url.clone()))
        }
        Err(reason) => reason,
    };
    assert!(!said.contains(PASSWORD), "no message shows a password: {said}");
}
