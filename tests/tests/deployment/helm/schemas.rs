//! What is made is what Kubernetes and its operators know.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::chart::{KUBERNETES, Rendered, name_of, rendered, text};
use crate::tools::{repository, run_with, tool};

const HERE: &str = "tests/tests/deployment/helm";
/// Whose kinds are not Kubernetes's own.
const OPERATORS: [&str; 3] = ["gateway.networking.k8s.io/", "cert-manager.io/", "monitoring.coreos.com/"];

fn is_an_operators(manifest: &Value) -> bool {
    OPERATORS.iter().any(|operator| text(&manifest["apiVersion"]).starts_with(operator))
}

fn with_places<'a>(rendered: impl Iterator<Item = &'a Rendered>, of_operators: bool) -> Value {
    let places = rendered.flat_map(|rendered| {
        let manifests =
            rendered.manifests.iter().filter(|manifest| is_an_operators(manifest) == of_operators);
        manifests.map(|manifest| json!([rendered.values, manifest]))
    });
    places.collect()
}

/// What Kubernetes's schemas say of manifests, by version.
fn mistakes(manifests: Value) -> String {
    let script = format!("{HERE}/schemas.py");
    run_with(Command::new(tool("python3")).arg(script), &manifests.to_string())
}

/// What the operators' schemas say.
fn operators_mistakes(manifests: Value) -> String {
    let packages = repository().join("target/tools/node/node_modules/@kubernetes-models");
    let mut command = Command::new("node");
    run_with(command.arg(format!("{HERE}/resources.mjs")).arg(packages), &manifests.to_string())
}

#[test]
fn all_that_is_made_is_in_the_schemas_of_the_oldest_and_the_newest_kubernetes() {
    let of =
        |version| with_places(rendered().iter().filter(|rendered| rendered.kubernetes == version), false);
    let manifests: Map<String, Value> =
        KUBERNETES.into_iter().map(|version| (version.to_owned(), of(version))).collect();
    assert_eq!(mistakes(Value::Object(manifests)), "");
}

#[test]
fn all_that_is_made_for_operators_is_in_their_schemas() {
    let manifests = with_places(rendered().iter(), true);
    let kinds = ["HTTPRoute", "BackendTLSPolicy", "Certificate", "ServiceMonitor", "PrometheusRule"];
    for kind in kinds {
        assert!(manifests.as_array().unwrap().iter().any(|place| place[1]["kind"] == kind), "{kind}");
    }
    assert_eq!(operators_mistakes(manifests), "");
}

#[test]
fn what_is_not_in_a_schema_is_noticed() {
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}});
    let unknown = json!({"apiVersion": "v1", "kind": "Serivce", "metadata": {"name": "b"}});
    let said = mistakes(json!({"1.37": [["x", service], ["x", unknown]]}));
    assert!(said.contains("'prots' was unexpected") && said.contains("no such kind"), "{said}");

    let rule = json!({"name": "group", "rules": [{"alert": "A", "expr": 1, "anotations": {}}]});
    let rules = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "c"},
                       "spec": {"groups": [rule, {"rules": []}]}});
    let said = operators_mistakes(json!([["x", rules], ["x", unknown]]));
    for part in ["anotations: no such field", "must have required property name", "nobody knows v1/Serivce"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn every_manifest_has_a_name_of_its_own_a_namespace_and_labels() {
    for rendered in rendered() {
        let mut names: Vec<String> = Vec::new();
        for manifest in &rendered.manifests {
            let name = format!("{} {}", text(&manifest["kind"]), name_of(manifest));
            if name.starts_with("ConfigMap hub-mo") {
                // Of `extraManifests`.
                continue;
            }
            assert!(name_of(manifest).len() <= 63, "{}: {name}", rendered.name());
            assert_eq!(manifest["metadata"]["namespace"], "fhir", "{}: {name}", rendered.name());
            let labels = &manifest["metadata"]["labels"];
            for label in ["app.kubernetes.io/instance", "app.kubernetes.io/component", "helm.sh/chart"] {
                assert!(labels[label].is_string(), "{}: {name} lacks {label}", rendered.name());
            }
            assert!(!names.contains(&name), "{}: {name} is there twice", rendered.name());
            names.push(name);
        }
    }
}
