//! The types of single settings that are more than numbers and text, and the checks that look at one value alone.
//! What two settings say about each other is in [`super::checks`].

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use url::Url;

/// How the hub knows who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// It does not: everyone may do everything.
    Off,
    /// It verifies the signature of the token (RFC 7519, RFC 9068).
    Jwt,
    /// It asks the authorization server about the token (RFC 7662).
    Introspection,
}

impl AuthMode {
    /// As it is set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
        }
    }
}

/// Whether the clients of a listener show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// None is asked for.
    Off,
    /// One is asked for; one that is shown must be good.
    Optional,
    /// Who shows none is sent away.
    Required,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line of text an event.
    Pretty,
    /// For machines: one JSON object an event.
    Json,
}

/// A password. `Debug` and `Serialize` show `***` in its place.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub struct Password(String);

impl Password {
    /// The password itself: for the connection only, never for a log line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Password> for String {
    fn from(_: Password) -> Self {
        "***".to_owned()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// A number of at least `least`. Every number also ends at 2³²-1, so that no sum, time or TOML integer overflows.
pub(super) fn at_least<T>(least: u32) -> impl Fn(&T) -> Result<(), String>
where
    T: Copy + fmt::Display + TryInto<u64>,
{
    between(least, u32::MAX)
}

/// A number from `least` to `most`, both included.
pub(super) fn between<T>(least: u32, most: u32) -> impl Fn(&T) -> Result<(), String>
where
    T: Copy + fmt::Display + TryInto<u64>,
{
    move |&number| match number.try_into() {
        Ok(wide) if (u64::from(least)..=u64::from(most)).contains(&wide) => Ok(()),
        _ => Err(format!("must be from {least} to {most}, not {number}")),
    }
}

/// Seconds with a fraction: more than nothing, at most a day.
pub(super) fn seconds(secs: &f64) -> Result<(), String> {
    if secs.is_finite() && (0.001..=86_400.0).contains(secs) {
        Ok(())
    } else {
        Err(format!("must be from 0.001 to 86400 seconds, not {secs}"))
    }
}

/// A share of a whole.
pub(super) fn fraction(part: &f64) -> Result<(), String> {
    if (0.0..=1.0).contains(part) { Ok(()) } else { Err(format!("must be from 0 to 1, not {part}")) }
}

/// The hub's own address as others see it, from which endpoint URLs are made.
pub(super) fn public_url(url: &Option<Url>) -> Result<(), String> {
    let Some(url) = url else { return Ok(()) };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme must be http or https, not {}", url.scheme()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither a query nor a fragment".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold neither a user name nor a password".to_owned());
    }
    Ok(())
}

/// Paths at which the hub is served side by side, so none may lie within another.
pub(super) fn base_paths(paths: &[String]) -> Result<(), String> {
    if paths.is_empty() {
        return Err("must hold at least one path".to_owned());
    }
    for path in paths {
        base_path(path)?;
    }
    for (at, inner) in paths.iter().enumerate() {
        for (other, outer) in paths.iter().enumerate() {
            let rest = inner.strip_prefix(outer.as_str());
            if at != other && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Err(format!("{inner:?} lies within {outer:?}"));
            }
        }
    }
    Ok(())
}

fn base_path(path: &str) -> Result<(), String> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err(format!("{path:?} does not start with '/'"));
    };
    for segment in relative.split('/') {
        if segment.is_empty() {
            return Err(format!("{path:?} has an empty segment or ends with a slash"));
        }
        if matches!(segment, "." | "..") {
            return Err(format!("{path:?} has a segment of dots"));
        }
        // What a router or a URL would read as something else than these very characters stays out.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if !segment.chars().all(plain) {
            return Err(format!(
                "{path:?} may hold only letters, digits and any of - . _ ~ between its slashes"
            ));
        }
    }
    Ok(())
}

/// Origins exactly as browsers send them.
pub(super) fn origins(origins: &[String]) -> Result<(), String> {
    origins.iter().try_for_each(|origin| exact_origin(origin))
}

fn exact_origin(origin: &str) -> Result<(), String> {
    if origin == "*" {
        return Err(
            "\"*\" would let any page act with its visitor's rights: name each origin exactly".to_owned()
        );
    }
    if origin.ends_with('/') {
        return Err(format!("{origin:?} ends with a slash, an origin does not"));
    }
    let not_one = || format!("{origin:?} is not an origin of the form scheme://host[:port]");
    let url = Url::parse(origin).map_err(|_| not_one())?;
    let host = url.host_str().ok_or_else(not_one)?;
    let mut exact = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        exact.push_str(&format!(":{port}"));
    }
    if exact == origin {
        Ok(())
    } else {
        Err(format!("{origin:?} is not what a browser sends, which is {exact:?}"))
    }
}

/// A directive for the log filter.
pub(super) fn log_level(directive: &str) -> Result<(), String> {
    match EnvFilter::builder().parse(directive) {
        Ok(_) => Ok(()),
        Err(reason) => Err(format!("{directive:?} is not a level or a list of target=level: {reason}")),
    }
}
