//! Subscribe and unsubscribe requests (FC-SUB-01…06, FC-SUB-09, FC-WHK-01).

use serde::{Deserialize, Serialize};
use url::Url;

use super::{EndpointId, EventFilter, Invalid, Topic, form::Form, subscription_id::NotAnId};

/// The longest `hub.secret`, in bytes: "under 200 bytes".
const MAX_SECRET_BYTES: usize = 199;
/// The longest `hub.callback`, in bytes.
const MAX_CALLBACK_BYTES: usize = 2048;
/// The longest `subscriber.name`, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What the hub's settings say of requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// The most names and wildcards in `hub.events`.
    pub max_events: usize,
    /// May a callback be `http:`? For the embedded hub and for tests.
    pub allow_http: bool,
    /// The lease of who asks for none, in seconds.
    pub default_lease_secs: u64,
    /// The longest lease, in seconds; more is shortened to it.
    pub max_lease_secs: u64,
}

/// Where the subscriber is, or says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An endpoint that the hub gave out before.
    Known(EndpointId),
    /// Something that the hub never gave out: 404.
    Unknown,
}

/// A valid request to `hub.url`.
#[derive(Debug)]
pub enum SubscriptionRequest {
    /// `hub.mode=subscribe`, `hub.channel.type=websocket`
    SubscribeWebsocket {
        /// The session.
        topic: Topic,
        /// What, for how long, and under which name.
        terms: Terms,
        /// The endpoint of the subscription that this one replaces, if it is no new one.
        endpoint: Option<Endpoint>,
    },
    /// `hub.mode=subscribe`, `hub.channel.type=webhook`
    SubscribeWebhook {
        /// The session.
        topic: Topic,
        /// What, for how long, and under which name.
        terms: Terms,
        /// Where notifications are posted.
        callback: Callback,
        /// The key of the signatures.
        secret: Option<Secret>,
    },
    /// `hub.mode=unsubscribe`, `hub.channel.type=websocket`
    UnsubscribeWebsocket {
        /// The session.
        topic: Topic,
        /// Which subscription ends.
        endpoint: Endpoint,
    },
    /// `hub.mode=unsubscribe`, `hub.channel.type=webhook`
    UnsubscribeWebhook {
        /// The session.
        topic: Topic,
        /// Which subscription ends.
        callback: Callback,
    },
}

/// What a subscriber asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// `hub.events`
    pub events: EventFilter,
    /// `hub.lease_seconds`, as far as it is granted.
    pub lease_secs: u64,
    /// `subscriber.name`: what SyncErrors call this subscriber (FC-SUB-06).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber_name: Option<String>,
}

/// `hub.callback`: an absolute URL without fragment and user, https unless http is allowed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Callback(Url);

impl Callback {
    fn parse(text: &str, allow_http: bool) -> Result<Self, Invalid> {
        let problem = |problem: &'static str| Err(Invalid::value("hub.callback", problem));
        if text.len() > MAX_CALLBACK_BYTES {
            return problem("must not be longer than 2048 bytes");
        }
        // A URL parser drops some of them without a word.
        if text.chars().any(char::is_control) {
            return problem("must not hold control characters, unless percent-encoded");
        }
        let Ok(url) = Url::parse(text) else { return problem("must be an absolute URL") };
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => return problem("must be an https URL (callbacks.allow_http is off)"),
            _ => return problem("must be an https URL"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return problem("must not hold a user or password");
        }
        if url.fragment().is_some() {
            return problem("must not have a fragment");
        }
        Ok(Self(url))
    }

    /// The URL to post to.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// Shows where it leads, and not its query, which may hold a token.
impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.origin().ascii_serialization())
    }
}

/// `hub.secret`: never shown (FC-SEC-03).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The bytes that key the signature.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl SubscriptionRequest {
    /// The session that it is about.
    pub fn topic(&self) -> &Topic {
        match self {
            Self::SubscribeWebsocket { topic, .. }
            | Self::SubscribeWebhook { topic, .. }
            | Self::UnsubscribeWebsocket { topic, .. }
            | Self::UnsubscribeWebhook { topic, .. } => topic,
        }
    }

    /// Reads a form.
    pub fn read(form: &Form<'_>, limits: &RequestLimits) -> Result<Self, Invalid> {
        let channel =
            one_of(form, "hub.channel.type", ["websocket", "webhook"], "must be websocket or webhook")?;
        let mode =
            one_of(form, "hub.mode", ["subscribe", "unsubscribe"], "must be subscribe or unsubscribe")?;
        let topic: Topic = form.required("hub.topic")?.parse()?;
        Ok(match (channel, mode) {
            ("websocket", "subscribe") => {
                Self::SubscribeWebsocket { topic, terms: terms(form, limits)?, endpoint: endpoint(form) }
            }
            ("websocket", _) => {
                let endpoint = endpoint(form).ok_or(Invalid::missing("hub.channel.endpoint"))?;
                Self::UnsubscribeWebsocket { topic, endpoint }
            }
            (_, "subscribe") => {
                let callback = callback(form, limits)?;
                Self::SubscribeWebhook { topic, terms: terms(form, limits)?, callback, secret: secret(form)? }
            }
            _ => Self::UnsubscribeWebhook { topic, callback: callback(form, limits)? },
        })
    }
}

fn one_of(
    form: &Form<'_>,
    name: &'static str,
    allowed: [&'static str; 2],
    problem: &'static str,
) -> Result<&'static str, Invalid> {
    let value = form.required(name)?;
    allowed.into_iter().find(|allowed| *allowed == value).ok_or(Invalid::value(name, problem))
}

fn terms(form: &Form<'_>, limits: &RequestLimits) -> Result<Terms, Invalid> {
    let events = EventFilter::parse(form.required("hub.events")?, limits.max_events)?;
    let asked: Option<u64> = form.positive("hub.lease_seconds")?;
    let lease_secs = asked.unwrap_or(limits.default_lease_secs).min(limits.max_lease_secs);
    let subscriber_name = form.get("subscriber.name").map(str::to_owned);
    if subscriber_name
        .as_ref()
        .is_some_and(|name| name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control))
    {
        return Err(Invalid::value("subscriber.name", "must be printable and not longer than 256 bytes"));
    }
    Ok(Terms { events, lease_secs, subscriber_name })
}

/// Clients in the field write `endpoint` for `hub.channel.endpoint` (FC-SUB-09).
fn endpoint(form: &Form<'_>) -> Option<Endpoint> {
    let url = form.get("hub.channel.endpoint").or_else(|| form.get("endpoint"))?;
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    let id: Result<EndpointId, NotAnId> = path.rsplit('/').next().unwrap_or(path).parse();
    Some(id.map_or(Endpoint::Unknown, Endpoint::Known))
}

fn callback(form: &Form<'_>, limits: &RequestLimits) -> Result<Callback, Invalid> {
    Callback::parse(form.required("hub.callback")?, limits.allow_http)
}

fn secret(form: &Form<'_>) -> Result<Option<Secret>, Invalid> {
    match form.get("hub.secret") {
        Some(secret) if secret.len() > MAX_SECRET_BYTES => {
            Err(Invalid::value("hub.secret", "must be shorter than 200 bytes"))
        }
        secret => Ok(secret.map(|secret| Secret(secret.to_owned()))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::webhook::{Mode, verification_url};

    const LIMITS: RequestLimits = RequestLimits {
        max_events: 100,
        allow_http: false,
        default_lease_secs: 7200,
        max_lease_secs: 86_400,
    };
    const WEBSOCKET: &str =
        "hub.channel.type=websocket&hub.mode=subscribe&hub.topic=t&hub.events=Patient-open";
    const WEBHOOK: &str = "hub.channel.type=webhook&hub.mode=subscribe&hub.topic=t&hub.events=Patient-open&hub.callback=https://app.example/cb?x=1";

    fn read(body: &str) -> Result<SubscriptionRequest, String> {
        SubscriptionRequest::read(&Form::read(body.as_bytes()).unwrap(), &LIMITS)
            .map_err(|invalid| invalid.to_string())
    }

    fn terms_of(body: &str) -> Terms {
        match read(body).unwrap() {
            SubscriptionRequest::SubscribeWebsocket { terms, .. }
            | SubscriptionRequest::SubscribeWebhook { terms, .. } => terms,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_missing_or_unknown_parameter_is_named() {
        for (body, expected) in [
            ("", "hub.channel.type is missing"),
            ("hub.channel.type=carrier-pigeon", "hub.channel.type must be websocket or webhook"),
            ("hub.channel.type=websocket", "hub.mode is missing"),
            ("hub.channel.type=websocket&hub.mode=Subscribe", "hub.mode must be subscribe or unsubscribe"),
            ("hub.channel.type=websocket&hub.mode=subscribe", "hub.topic is missing"),
            ("hub.channel.type=websocket&hub.mode=subscribe&hub.topic=t", "hub.events is missing"),
            (
                "hub.channel.type=websocket&hub.mode=unsubscribe&hub.topic=t",
                "hub.channel.endpoint is missing",
            ),
            ("hub.channel.type=webhook&hub.mode=subscribe&hub.topic=t", "hub.callback is missing"),
        ] {
            assert_eq!(read(body).unwrap_err(), expected, "FC-SUB-01: {body}");
        }
    }

    #[test]
    fn no_control_character_gets_into_a_callback_and_encoded_ones_stay_encoded() {
        let with = |path: &str| read(&WEBHOOK.replace("cb?x=1", path));
        for path in ["cb%0d%0aX:1", "c%09b", "cb?x=%00", "cb?x=%0A", "cb?x=%C2%85", "%7f"] {
            let refused = with(path).unwrap_err();
            assert!(refused.contains("hub.callback must not hold control"), "FC-SEC-02: {path}: {refused}");
        }
        let Ok(SubscriptionRequest::SubscribeWebhook { callback, topic, terms, .. }) =
            with("cb%250d%250aX:1?x=%250d%250aHost:%2520evil")
        else {
            panic!("FC-SEC-02: it is only text")
        };
        let url = verification_url(&callback, Mode::Subscribe, &topic, &terms.events, "c", 1);
        assert!(
            url.as_str()
                .starts_with("https://app.example/cb%0d%0aX:1?x=%0d%0aHost:%20evil&hub.mode=subscribe&"),
            "FC-SEC-02, FC-WHK-02: {url}"
        );
    }

    #[test]
    fn callbacks_are_https_urls_without_user_and_fragment_and_secrets_are_short() {
        assert!(read(WEBHOOK).is_ok(), "FC-WHK-01");
        for callback in [
            "http://app.example/",
            "ftp://app.example/",
            "/cb",
            "https://u:p@app.example/",
            "https://app.example/%23x#y",
        ] {
            let body = WEBHOOK.replace("https://app.example/cb?x=1", callback);
            assert!(read(&body).unwrap_err().starts_with("hub.callback must"), "FC-WHK-01: {callback}");
        }
        assert!(read(&format!("{WEBHOOK}&hub.secret={}", "s".repeat(199))).is_ok(), "FC-WHK-01");
        let refused = read(&format!("{WEBHOOK}&hub.secret={}", "s".repeat(200))).unwrap_err();
        assert_eq!(refused, "hub.secret must be shorter than 200 bytes", "FC-WHK-01");
    }

    #[test]
    fn leases_are_bounded_and_have_a_default() {
        assert_eq!(terms_of(WEBSOCKET).lease_secs, 7200, "FC-SUB-05");
        assert_eq!(terms_of(&format!("{WEBSOCKET}&hub.lease_seconds=10")).lease_secs, 10, "FC-SUB-05");
        assert_eq!(
            terms_of(&format!("{WEBSOCKET}&hub.lease_seconds=999999999")).lease_secs,
            86_400,
            "FC-SUB-05"
        );
        assert!(read(&format!("{WEBSOCKET}&hub.lease_seconds=0")).is_err(), "FC-SUB-05");
    }

    #[test]
    fn an_endpoint_is_read_from_either_parameter_and_any_spelling_of_its_url() {
        let id = EndpointId::random(3);
        for url in [format!("wss://hub.example/api/hub/ws/{id}"), format!("ws://x/{id}/?a=b"), id.to_string()]
        {
            for parameter in ["hub.channel.endpoint", "endpoint"] {
                let body = format!(
                    "hub.channel.type=websocket&hub.mode=unsubscribe&hub.topic=t&{parameter}={}",
                    url.replace('?', "%3F")
                );
                let SubscriptionRequest::UnsubscribeWebsocket { endpoint, .. } = read(&body).unwrap() else {
                    panic!("{body}")
                };
                assert_eq!(endpoint, Endpoint::Known(id), "FC-SUB-09: {body}");
            }
        }
        let body = "hub.channel.type=websocket&hub.mode=unsubscribe&hub.topic=t&endpoint=wss://x/never";
        assert!(matches!(
            read(body).unwrap(),
            SubscriptionRequest::UnsubscribeWebsocket { endpoint: Endpoint::Unknown, .. }
        ));
    }

    #[test]
    fn neither_secrets_nor_queries_show_in_debug_output() {
        let shown = format!("{:?}", read(&format!("{WEBHOOK}&hub.secret=hush")).unwrap());
        assert!(!shown.contains("hush") && !shown.contains("x=1"), "FC-SEC-03: {shown}");
    }

    proptest! {
        #[test]
        fn arbitrary_parameters_never_panic(values in proptest::collection::vec("[^&]{0,30}", 7)) {
            let names = ["hub.channel.type", "hub.mode", "hub.topic", "hub.events", "hub.callback", "endpoint", "hub.lease_seconds"];
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in names.iter().zip(&values) {
                form.append_pair(name, value);
            }
            let _ = read(&form.finish());
            let _ = read(&format!("hub.channel.type=webhook&hub.mode=subscribe&hub.topic=t&hub.events={}&hub.callback={}", values[3].replace('%', ""), values[4].replace('%', "")));
        }
    }
}
