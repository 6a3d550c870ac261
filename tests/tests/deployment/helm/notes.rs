//! What is said after an install: what to do next, and what is not secure yet.

use super::chart::{KUBERNETES, path_of, template, text, try_template};
use crate::tools::{attempt, yaml_documents};

/// What is said of these values beside those of a file.
fn notes(values: &str, more: &str) -> String {
    let manifest = r#"
extraManifests:
  - '{kind: Notes, text: {{ include (print $.Template.BasePath "/NOTES.txt") . | quote }}}'
"#;
    let made = try_template(values, &format!("{more}{manifest}")).unwrap();
    text(&made.iter().find(|made| made["kind"] == "Notes").unwrap()["text"]).to_owned()
}

/// What is said that is not secure, or not well.
fn warnings(notes: &str) -> Vec<&str> {
    notes.lines().filter_map(|line| line.strip_prefix("  - ")).collect()
}

#[test]
fn a_trial_is_told_how_to_reach_it_and_all_that_it_lacks() {
    let notes = notes("trial", "");
    for part in [
        "hub.url: http://hub-hub.fhir.svc:80/api/hub",
        "port-forward service/hub-hub 8080:80",
        "helm --namespace fhir test hub",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let warnings = warnings(&notes);
    for part in [
        "Authentication is off",
        "Pods speak no TLS",
        "for trials",
        "not sealed",
        "no audit trail",
        "networkPolicy.enabled",
        "one hub",
        "image.repository",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 8, "{warnings:?}");
}

#[test]
fn what_is_run_in_earnest_is_told_of_nothing_that_it_has() {
    let notes = notes("sentinel", "");
    assert!(notes.contains("hub.url: https://fhircast.example.org/api/hub"), "{notes}");
    assert_eq!(warnings(&notes), [""; 0]);
}

#[test]
fn what_an_older_kubernetes_lacks_and_what_dashboards_would_not_show_is_told() {
    let said = |kubernetes: &str| {
        let manifest = r#"{extraManifests: ['{kind: Notes, text: {{ include (print $.Template.BasePath "/NOTES.txt") . | quote }}}'], monitoring: {prometheusRule: {enabled: false}}}"#;
        let mut command = template(kubernetes);
        let (success, made) = attempt(command.args(["-f", &path_of("monitoring"), "-f", "-"]), manifest);
        assert!(success, "{made}");
        let notes = yaml_documents(&made).into_iter().find(|made| made["kind"] == "Notes").unwrap();
        text(&notes["text"]).to_owned()
    };
    let [old, new] = KUBERNETES.map(said);
    let has = |notes: &str, part: &str| warnings(notes).iter().any(|warning| warning.contains(part));
    assert!(has(&old, "has no pause before a pod stops (hub.preStopSleepSeconds"), "{old}");
    assert!(!has(&new, "hub.preStopSleepSeconds"), "{new}");
    assert!(has(&new, "fhircast-records"), "{new}");
    assert!(!has(&notes("monitoring", ""), "fhircast-records"));
}

#[test]
fn what_is_open_to_the_outside_or_counts_all_clients_as_one_is_told() {
    let more = "settings: {trusted_proxies: []}\ningress: {tls: {enabled: false}}\nexposeInsecure: true\n\
                secrets: {redis: {password: {existingSecret: \"\"}}}\n";
    let notes = notes("sentinel", more);
    for part in
        ["exposeInsecure is set", "settings.trusted_proxies is empty", "without a password or a certificate"]
    {
        assert!(warnings(&notes).iter().any(|warning| warning.contains(part)), "{part}: {notes}");
    }
}
