//! Redis is reached with TLS, a certificate of the hub's own and a user who may do no more than the hub needs; and when
//! one of these is wrong, or the URL is, the error names the setting.

use std::{sync::Arc, time::Duration};

use harness::{
    certs::Certificates,
    redis_server::{Durability, RedisServer, ServerOptions},
    wait::PATIENCE,
};
use shared::{
    settings::{DataKeys, Redis, RedisUrl},
    store::{Rung, Store, StoreError, redis::RedisStore},
};
use tokio::time::timeout;

use crate::stores::{ALL_PARTITIONS, PARTITIONS, RETENTION, log, publish, say, topic};

/// Makes the user that the hub can be on a server: with the rights that the secure cluster gives it, and no more.
pub fn set_user() -> Vec<&'static str> {
    let script = include_str!("../../../deploy/local/secure-cluster");
    let user = script.lines().find_map(|line| line.strip_prefix("user fhircast on >$REDISCLI_AUTH "));
    let rights = user.expect("the script gives the user its rights").split(' ');
    ["ACL", "SETUSER", "hub", "on", ">s3cret@1"].into_iter().chain(rights).collect()
}

/// How long a bell may take that may also be lost.
const A_MOMENT: Duration = Duration::from_millis(500);

struct Secured {
    server: RedisServer,
    certificates: Arc<Certificates>,
}

impl Secured {
    /// A server that takes TLS, and knows the user `hub` with the password `s3cret@1`.
    async fn start() -> Secured {
        let certificates = Arc::new(Certificates::new().unwrap());
        let mut options = ServerOptions::from(Durability::None);
        options.certificates = Some(certificates.clone());
        let server = RedisServer::start(options).await.unwrap();
        server.ask::<()>(&set_user()).await.unwrap();
        Secured { server, certificates }
    }

    fn settings(&self, user: &str) -> Redis {
        let url = format!("rediss://{user}@127.0.0.1:{}", self.server.tls_port());
        Redis {
            url: Some(RedisUrl::try_from(url).unwrap()),
            ca_file: Some(self.certificates.ca()),
            cert: Some(self.certificates.client_cert()),
            key: Some(self.certificates.client_key()),
            partitions: PARTITIONS,
            ..Redis::default()
        }
    }
}

async fn problem(settings: &Redis) -> StoreError {
    match timeout(PATIENCE, RedisStore::connect(settings, DataKeys::default(), RETENTION)).await.unwrap() {
        Err(problem) => problem,
        Ok(_) => panic!("it is let in"),
    }
}

/// What no patience cures.
async fn refusal(settings: &Redis) -> String {
    match problem(settings).await {
        StoreError::Misconfigured(problem) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_user_who_may_do_what_the_hub_needs_is_let_in_with_a_certificate_and_tls() {
    let redis = Secured::start().await;
    let store =
        RedisStore::connect(&redis.settings("hub:s3cret%401"), DataKeys::default(), RETENTION).await.unwrap();
    let topic = topic("t");
    let mut listener = store.listen(topic.key()).await.unwrap();
    // While the bells' connection is made, bells may be lost.
    let mut published = 0;
    loop {
        published += 1;
        publish(&*store, &topic, &published.to_string()).await;
        if let Ok(Rung::Entry(_)) = timeout(A_MOMENT, listener.next()).await {
            break;
        }
    }
    assert_eq!(say(&log(&*store, topic.key()).await).len(), published);
    assert!(store.due(&ALL_PARTITIONS, 9).await.unwrap().is_empty());
    store.now().await.unwrap();
    let clients: String = redis.server.ask(&["CLIENT", "LIST"]).await.unwrap();
    assert!(clients.matches("user=hub").count() >= 3, "{clients}");
}

#[tokio::test]
async fn a_wrong_user_or_password_is_refused_and_the_setting_named() {
    let redis = Secured::start().await;
    for user in ["hub:wrong", "nobody:s3cret%401"] {
        let problem = refusal(&redis.settings(user)).await;
        assert!(problem.contains("redis.username, redis.password"), "{problem}");
        assert!(!problem.contains("wrong") && !problem.contains("s3cret"), "{problem}");
    }
    redis.server.ask::<()>(&["ACL", "SETUSER", "default", "off"]).await.unwrap();
    let mut settings = redis.settings("hub");
    settings.url = Some(format!("rediss://127.0.0.1:{}", redis.server.tls_port()).try_into().unwrap());
    let problem = refusal(&settings).await;
    assert!(problem.contains("redis.username, redis.password"), "{problem}");
}

#[tokio::test]
async fn a_user_who_may_not_do_what_the_hub_needs_is_refused_and_the_setting_named() {
    let redis = Secured::start().await;
    redis.server.ask::<()>(&["ACL", "SETUSER", "hub", "-@scripting"]).await.unwrap();
    let problem = refusal(&redis.settings("hub:s3cret%401")).await;
    assert!(problem.contains("redis.username"), "{problem}");
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_refused_and_the_setting_named() {
    let redis = Secured::start().await;
    let others = Certificates::new().unwrap();
    let settings = redis.settings("hub:s3cret%401");
    let wrong_ca = Redis { ca_file: Some(others.ca()), ..settings.clone() };
    let refused = refusal(&wrong_ca).await;
    assert!(refused.contains("redis.ca_file"), "{refused}");
    // A server that wants a certificate may hang up without a word, and that may also have other causes.
    let none = Redis { cert: None, key: None, ..settings.clone() };
    let of_others =
        Redis { cert: Some(others.client_cert()), key: Some(others.client_key()), ..settings.clone() };
    for settings in [none, of_others] {
        let refused = problem(&settings).await.to_string();
        assert!(refused.contains("redis.cert"), "{refused}");
    }
    let no_file = Redis { ca_file: Some("/nowhere/ca.pem".into()), ..settings };
    let refused = refusal(&no_file).await;
    assert!(refused.contains("redis.ca_file: /nowhere/ca.pem"), "{refused}");
}

#[tokio::test]
async fn a_redis_of_another_shape_than_the_url_says_is_refused() {
    let mut options = ServerOptions::from(Durability::None);
    let single = RedisServer::start(options.clone()).await.unwrap();
    options.node_timeout = Some(Duration::from_secs(1));
    let node = RedisServer::start(options).await.unwrap();
    for (scheme, server, reason) in
        [("redis", &node, "redis+cluster"), ("redis+cluster", &single, "there is no cluster")]
    {
        let url = format!("{scheme}://127.0.0.1:{}", server.port());
        let settings = Redis { url: Some(url.try_into().unwrap()), ..Redis::default() };
        let refused = refusal(&settings).await;
        assert!(refused.contains("redis.url: ") && refused.contains(reason), "{refused}");
    }
}
