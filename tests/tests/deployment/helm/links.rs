//! What names something names what is there: selectors and labels, ports, ConfigMaps, Secrets; and nothing secret is made.

use serde_json::Value;

use super::chart::{Rendered, list, name_of, path_of, rendered, selects, text};
use crate::tools::yaml;

/// Every text below one of these keys.
fn texts_at<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts_at(value, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts_at(item, keys, found)),
        _ => {}
    }
}

/// The names of Secrets and ConfigMaps that the values say are there.
fn existing(values: &Value) -> Vec<&str> {
    let mut names = Vec::new();
    texts_at(values, &["existingSecret", "existingConfigMap"], &mut names);
    // Of variables that come from Secrets.
    for variable in list(&values["extraEnv"]) {
        texts_at(&variable["valueFrom"], &["name"], &mut names);
    }
    names
}

/// The Secrets that cert-manager will make.
fn coming(rendered: &Rendered) -> impl Iterator<Item = &str> {
    rendered.of("Certificate").map(|certificate| text(&certificate["spec"]["secretName"]))
}

/// The ports of a Service's pods, by name.
fn ports<'a>(rendered: &'a Rendered, selector: &Value) -> Vec<&'a str> {
    let pods = rendered.pods().into_iter().filter(|(_, labels, _)| selects(selector, labels));
    let containers = pods.flat_map(|(_, _, spec)| list(&spec["containers"]));
    containers.flat_map(|container| list(&container["ports"])).map(|port| text(&port["name"])).collect()
}

#[test]
fn selectors_find_pods_and_services_lead_to_ports_of_theirs() {
    for rendered in rendered() {
        for owner in ["Deployment", "StatefulSet"].into_iter().flat_map(|kind| rendered.of(kind)) {
            let spec = &owner["spec"];
            let labels = &spec["template"]["metadata"]["labels"];
            assert!(selects(&spec["selector"]["matchLabels"], labels), "{}", name_of(owner));
            // Selectors of Deployments can't be changed: nothing in them may change with the chart.
            assert!(spec["selector"]["matchLabels"].get("helm.sh/chart").is_none());
            let selected = rendered.pods().into_iter();
            let selected =
                selected.filter(|(_, labels, _)| selects(&spec["selector"]["matchLabels"], labels));
            assert_eq!(selected.count(), 1, "{}: others' pods are selected", name_of(owner));
        }
        for service in rendered.of("Service") {
            let found = ports(rendered, &service["spec"]["selector"]);
            for port in list(&service["spec"]["ports"]) {
                let target = text(&port["targetPort"]);
                assert!(found.contains(&target), "{}: {}: {target}", rendered.name(), name_of(service));
            }
        }
        let policies = rendered.of("NetworkPolicy").map(|policy| (policy, &policy["spec"]["podSelector"]));
        let budgets = rendered.of("PodDisruptionBudget").map(|budget| (budget, &budget["spec"]["selector"]));
        for (selecting, selector) in policies.chain(budgets) {
            let mut labels = rendered.pods().into_iter().map(|(_, labels, _)| labels);
            assert!(
                labels.any(|labels| selects(&selector["matchLabels"], labels)),
                "{}: {} selects nothing",
                rendered.name(),
                name_of(selecting)
            );
        }
    }
}

#[test]
fn hubs_are_reached_by_a_service_without_stickiness_and_watched_by_another() {
    for rendered in rendered() {
        let hub = &rendered.one("Service", "-hub")["spec"];
        assert_eq!(hub["sessionAffinity"], "None", "{}", rendered.name());
        assert_eq!(list(&hub["ports"]).len(), 1, "{}: health is not for clients", rendered.name());
        for component in ["hub", "worker"] {
            let admin = rendered.one("Service", &format!("-{component}-admin"));
            assert_eq!(admin["spec"]["ports"][0]["targetPort"], "admin");
            assert_eq!(admin["spec"]["publishNotReadyAddresses"], true);
            assert_eq!(admin["metadata"]["labels"]["fhircast/job"], format!("fhircast-{component}"));
        }
    }
}

#[test]
fn ingresses_and_routes_lead_to_a_port_of_a_service() {
    let mut routes = 0;
    for rendered in rendered() {
        let service = |name: &Value| rendered.of("Service").find(|service| name_of(service) == text(name));
        for ingress in rendered.of("Ingress") {
            for rule in list(&ingress["spec"]["rules"]) {
                assert!(rule["host"].is_string(), "{}", rendered.name());
                let backend = &rule["http"]["paths"][0]["backend"]["service"];
                let ports = list(&service(&backend["name"]).unwrap()["spec"]["ports"]);
                assert!(ports.iter().any(|port| port["name"] == backend["port"]["name"]), "{backend}");
                routes += 1;
            }
        }
        for route in rendered.of("HTTPRoute") {
            for rule in list(&route["spec"]["rules"]) {
                let backend = &rule["backendRefs"][0];
                let ports = list(&service(&backend["name"]).unwrap()["spec"]["ports"]);
                assert!(ports.iter().any(|port| port["port"] == backend["port"]), "{backend}");
                routes += 1;
            }
        }
    }
    assert!(routes > 6);
}

#[test]
fn what_is_mounted_or_read_is_made_here_or_named_by_the_values() {
    for rendered in rendered() {
        let values = yaml(&path_of(&rendered.values));
        let mut there = existing(&values);
        there.extend(coming(rendered));
        there.extend(rendered.of("ConfigMap").map(name_of));
        for (name, _, spec) in rendered.pods() {
            let place = format!("{}: {name}", rendered.name());
            let mut named = Vec::new();
            for volume in list(&spec["volumes"]) {
                let sources = list(&volume["projected"]["sources"]).iter().chain([volume]);
                for source in sources {
                    named.extend(source["secret"]["name"].as_str());
                    named.extend(source["secret"]["secretName"].as_str());
                    named.extend(source["configMap"]["name"].as_str());
                }
            }
            for container in list(&spec["containers"]) {
                for variable in list(&container["env"]) {
                    named.extend(variable["valueFrom"]["secretKeyRef"]["name"].as_str());
                }
                let volumes: Vec<&Value> =
                    list(&spec["volumes"]).iter().map(|volume| &volume["name"]).collect();
                for mount in list(&container["volumeMounts"]) {
                    let is_claim = name.ends_with("-redis") && mount["name"] == "data";
                    assert!(is_claim || volumes.contains(&&mount["name"]), "{place}: {mount}");
                }
            }
            for name in named {
                assert!(there.contains(&name), "{place}: {name}");
            }
            let account = text(&spec["serviceAccountName"]);
            assert!(rendered.of("ServiceAccount").any(|made| name_of(made) == account), "{place}: {account}");
        }
    }
}

#[test]
fn every_certificate_and_key_that_the_settings_name_is_mounted() {
    let mut paths = 0;
    for rendered in rendered() {
        for deployment in rendered.of("Deployment") {
            let spec = &deployment["spec"]["template"]["spec"];
            let mounts = list(&spec["containers"][0]["volumeMounts"]);
            for line in rendered.settings().lines() {
                let Some((setting, path)) = line.split_once(" = \"/etc/fhircast/") else { continue };
                let path = format!("/etc/fhircast/{}", path.trim_end_matches('"'));
                let (folder, file) = path.rsplit_once('/').unwrap();
                let mount = mounts.iter().find(|mount| mount["mountPath"] == folder);
                let mount = mount.unwrap_or_else(|| panic!("{}: {setting}: {path}", rendered.name()));
                let volume =
                    list(&spec["volumes"]).iter().find(|volume| volume["name"] == mount["name"]).unwrap();
                let mut files = Vec::new();
                texts_at(volume, &["path"], &mut files);
                assert!(files.contains(&file), "{}: {setting}: {path}", rendered.name());
                assert_eq!(mount["readOnly"], true);
                paths += 1;
            }
        }
    }
    assert!(paths > 30, "{paths}");
}

#[test]
fn nothing_secret_is_made() {
    let secret = ["data_keys", "password", "sentinel_password", "client_secret", "headers"];
    for rendered in rendered() {
        assert_eq!(rendered.of("Secret").count(), 0, "{}", rendered.name());
        for line in rendered.settings().lines() {
            let setting = line.split(" = ").next().unwrap();
            assert!(!secret.contains(&setting), "{}: {line}", rendered.name());
            assert!(!line.contains('@'), "{}: {line}", rendered.name());
        }
        for (name, _, spec) in rendered.pods() {
            let variables = list(&spec["containers"]).iter().flat_map(|container| list(&container["env"]));
            for variable in variables.filter(|variable| text(&variable["name"]).starts_with("FHIRCAST_")) {
                assert!(
                    variable["valueFrom"]["secretKeyRef"].is_object(),
                    "{}: {name}: {variable}",
                    rendered.name()
                );
            }
        }
    }
}
