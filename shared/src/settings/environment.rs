//! The names of environment variables: those of settings, and those that Kubernetes adds for a service whose name
//! starts with `fhircast`, which are not ours.

use std::ffi::OsString;

use super::mistakes::Mistake;

const PREFIX: &str = "FHIRCAST_";

/// The variable that gives the setting `name`: `FHIRCAST_LEASE__MAX_SECS` for `lease.max_secs`.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_uppercase())
}

/// The setting that a variable of the hub would give, whether or not there is one.
pub(super) fn setting(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    Some(name.replace("__", ".").to_lowercase())
}

/// Sorts out the variables that are not text. Only the hub's own matter.
pub(super) fn as_text(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Vec<(String, String)>, Vec<Mistake>) {
    let mut texts = Vec::new();
    let mut mistakes = Vec::new();
    for (name, value) in variables {
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            (name, _) => mistakes.push(Mistake::NotText {
                name: name.unwrap_or_else(|name| name.to_string_lossy().into_owned()),
            }),
        }
    }
    (texts, mistakes)
}

/// Whether Kubernetes puts such a variable into a pod for a service: `*_SERVICE_HOST`, `*_SERVICE_PORT`,
/// `*_SERVICE_PORT_<NAME>`, `*_PORT`, `*_PORT_<n>_TCP` and `*_PORT_<n>_TCP_(PROTO|PORT|ADDR)`. A `*_PORT` of
/// Kubernetes holds `tcp://…`: any other was meant as a setting.
pub(super) fn is_from_kubernetes(variable: &str, value: &str) -> bool {
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.split_once("_SERVICE_PORT_").is_some_and(|(_, port_name)| !port_name.is_empty())
        || (variable.ends_with("_PORT") && value.contains("://"))
        || variable.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_a_port_of_a_service(rest))
}

/// `<n>_TCP` or `<n>_TCP_(PROTO|PORT|ADDR)`, for any of the protocols.
fn is_a_port_of_a_service(rest: &str) -> bool {
    let mut parts = rest.splitn(3, '_');
    let number = parts.next().is_some_and(|n| n.parse::<u16>().is_ok());
    let protocol = matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
    let detail = matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"));
    number && protocol && detail
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_variable_and_its_setting_name_each_other() {
        assert_eq!(variable("lease.max_secs"), "FHIRCAST_LEASE__MAX_SECS");
        assert_eq!(setting("FHIRCAST_LEASE__MAX_SECS").unwrap(), "lease.max_secs");
        assert_eq!(setting("PATH"), None);
    }

    #[test]
    fn what_kubernetes_injects_for_a_service_is_recognised() {
        for (variable, value) in [
            ("FHIRCAST_HUB_SERVICE_HOST", "10.0.0.1"),
            ("FHIRCAST_SERVICE_HOST", "10.0.0.1"),
            ("FHIRCAST_HUB_SERVICE_PORT", "8080"),
            ("FHIRCAST_HUB_SERVICE_PORT_HTTP_METRICS", "9100"),
            ("FHIRCAST_HUB_PORT", "tcp://10.0.0.1:8080"),
            ("FHIRCAST_PORT", "tcp://10.0.0.1:8080"),
            ("FHIRCAST_HUB_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("FHIRCAST_HUB_PORT_8080_TCP_PROTO", "tcp"),
            ("FHIRCAST_HUB_PORT_8080_UDP_PORT", "8080"),
            ("FHIRCAST_PORT_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_from_kubernetes(variable, value), "{variable}");
        }
    }

    #[test]
    fn what_only_resembles_it_is_not() {
        for (variable, value) in [
            ("FHIRCAST_LISTEN", "127.0.0.1:80"),
            ("FHIRCAST_PORT", "8080"),
            ("FHIRCAST_HUB_SERVICE_PORT_", "8080"),
            ("FHIRCAST_HUB_PORT_HTTP_TCP", "x"),
            ("FHIRCAST_HUB_PORT_8080_TCP_NAME", "x"),
            ("FHIRCAST_HUB_PORT_8080", "x"),
        ] {
            assert!(!is_from_kubernetes(variable, value), "{variable}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_a_mistake_only_if_it_is_ours() {
        use std::os::unix::ffi::OsStringExt;

        let bad = || OsString::from_vec(vec![0xff]);
        let (texts, mistakes) = as_text([
            ("OTHER".into(), bad()),
            ("FHIRCAST_LISTEN".into(), bad()),
            ("FHIRCAST_LOG__LEVEL".into(), "warn".into()),
        ]);
        assert_eq!(texts, [("FHIRCAST_LOG__LEVEL".to_owned(), "warn".to_owned())]);
        assert_eq!(mistakes, [Mistake::NotText { name: "FHIRCAST_LISTEN".to_owned() }]);
    }
}
