//! The pods: what they may do, how they are asked how they are, how they stop, how they are spread and moved.

use serde_json::{Value, json};

use super::chart::{Rendered, list, name_of, rendered, selects, text, try_template};

/// The containers of the hub and the worker, which the chart's own Deployments have.
fn programs(rendered: &Rendered) -> Vec<(&Value, &Value)> {
    let pods = rendered.of("Deployment").map(|deployment| &deployment["spec"]["template"]["spec"]);
    pods.map(|spec| (spec, &spec["containers"][0])).collect()
}

/// A number among the settings that stand in no group.
fn setting(rendered: &Rendered, name: &str) -> Option<u64> {
    let lines = rendered.settings().lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).find_map(|value| value.parse().ok())
}

/// Whether the group of settings has a line that begins so.
fn has(rendered: &Rendered, group: &str, beginning: &str) -> bool {
    let lines = rendered.settings().lines().skip_while(|line| *line != format!("[{group}]"));
    lines.skip(1).take_while(|line| !line.starts_with('[')).any(|line| line.starts_with(beginning))
}

#[test]
fn every_pod_is_restricted_and_has_no_token_of_kubernetes() {
    for rendered in rendered() {
        for (name, _, spec) in rendered.pods() {
            let place = format!("{}: {name}", rendered.name());
            assert_eq!(spec["automountServiceAccountToken"], false, "{place}");
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{place}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{place}");
            assert_ne!(spec["securityContext"]["runAsUser"], 0, "{place}");
            for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(spec.get(field).is_none(), "{place}: {field}");
            }
            for volume in list(&spec["volumes"]) {
                assert!(volume.get("hostPath").is_none(), "{place}: {volume}");
            }
            for container in list(&spec["containers"]) {
                let expected = json!({
                    "runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                });
                assert_eq!(container["securityContext"], expected, "{place}");
                let resources = &container["resources"];
                assert!(resources["requests"]["memory"].is_string(), "{place}");
                assert!(resources["limits"]["memory"].is_string(), "{place}");
                for port in list(&container["ports"]) {
                    assert!(port.get("hostPort").is_none(), "{place}");
                }
            }
        }
    }
}

#[test]
fn probes_ask_the_listener_for_health_as_it_wants_to_be_asked() {
    let mut seen = [0; 3];
    for rendered in rendered() {
        let is_tls = has(rendered, "admin_tls", "cert = ");
        let is_required = has(rendered, "admin_tls", "client_auth = \"required\"");
        seen[usize::from(is_tls) + usize::from(is_required)] += 1;
        for (_, container) in programs(rendered) {
            let admin = list(&container["ports"]).iter().find(|port| port["name"] == "admin");
            let number = admin.unwrap()["containerPort"].as_u64().unwrap();
            assert!(rendered.settings().contains(&format!(":{number}\"\n")), "{}", rendered.name());
            for (probe, path) in
                [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
            {
                let place = format!("{}: {probe}", rendered.name());
                if is_required {
                    let mut command = vec![text(&container["command"][0]), "health"];
                    command.extend((path == "/readyz").then_some("--ready"));
                    command.push(text(&container["args"][0]));
                    assert_eq!(container[probe]["exec"]["command"], json!(command), "{place}");
                } else {
                    let scheme = if is_tls { "HTTPS" } else { "HTTP" };
                    let expected = json!({"path": path, "port": "admin", "scheme": scheme});
                    assert_eq!(container[probe]["httpGet"], expected, "{place}");
                }
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "plain, TLS, certificates of clients: {seen:?}");
}

#[test]
fn a_pod_has_the_time_that_it_needs_to_stop() {
    for rendered in rendered() {
        let drain = setting(rendered, "drain_secs").unwrap_or(10);
        for (spec, container) in programs(rendered) {
            let sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
            // The image has no shell for any other hook, and Kubernetes has this one since 1.30.
            let is_hub = container["name"] == "hub";
            assert_eq!(
                sleep.is_some(),
                is_hub && rendered.kubernetes == "1.37",
                "{}: {container}",
                rendered.name()
            );
            assert!(container["lifecycle"]["preStop"].get("exec").is_none(), "{}", rendered.name());
            let grace = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
            let needed = sleep.unwrap_or(0) + drain + 5;
            assert!(grace > needed, "{}: {grace} s for what takes {needed} s", rendered.name());
        }
    }
}

#[test]
fn none_is_missing_while_pods_are_replaced_and_a_nodes_drain_always_goes_on() {
    for rendered in rendered() {
        for deployment in rendered.of("Deployment") {
            let strategy = &deployment["spec"]["strategy"];
            assert_eq!(strategy["rollingUpdate"]["maxUnavailable"], 0, "{}", rendered.name());
            assert_ne!(strategy["rollingUpdate"]["maxSurge"], 0, "{}", rendered.name());
            let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            assert!(!list(spread).is_empty(), "{}", rendered.name());
            for constraint in list(spread) {
                assert!(selects(&constraint["labelSelector"]["matchLabels"], labels), "{constraint}");
            }
            let selector = &deployment["spec"]["selector"]["matchLabels"];
            let budgets = rendered
                .of("PodDisruptionBudget")
                .filter(|budget| budget["spec"]["selector"]["matchLabels"] == *selector);
            let budgets: Vec<&Value> = budgets.collect();
            assert_eq!(budgets.len(), 1, "{}", rendered.name());
            let spec = &budgets[0]["spec"];
            assert!(spec.get("minAvailable").is_none() && spec["maxUnavailable"] != 0, "{}", rendered.name());
            assert_eq!(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow", "{}", rendered.name());
        }
    }
}

#[test]
fn numbers_follow_the_load_as_the_programs_show_it() {
    let page = crate::tools::text("docs/METRICS.md");
    let mut metrics = Vec::new();
    for rendered in rendered() {
        for scaler in rendered.of("HorizontalPodAutoscaler") {
            let spec = &scaler["spec"];
            let target = rendered
                .of("Deployment")
                .find(|deployment| name_of(deployment) == text(&spec["scaleTargetRef"]["name"]));
            assert!(
                target.unwrap()["spec"].get("replicas").is_none(),
                "it would be set back at each upgrade"
            );
            assert!(spec["minReplicas"].as_u64() >= Some(2), "{}", rendered.name());
            assert!(
                spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"].as_u64() >= Some(300),
                "{}",
                rendered.name()
            );
            assert!(!list(&spec["metrics"]).is_empty(), "{}", rendered.name());
            for metric in list(&spec["metrics"]).iter().filter(|metric| metric["type"] == "Pods") {
                metrics.push(text(&metric["pods"]["metric"]["name"]).to_owned());
            }
        }
    }
    assert!(metrics.iter().any(|metric| metric == "fhircast_connections"), "{metrics:?}");
    for metric in metrics {
        assert!(page.contains(&format!("`{metric}`")), "{metric}");
    }
}

#[test]
fn a_change_of_the_settings_replaces_the_pods_and_another_does_not() {
    let checksum = |more: &str| {
        let manifests = try_template("sentinel", more).unwrap();
        let deployments = manifests.into_iter().filter(|manifest| manifest["kind"] == "Deployment");
        let templates = deployments.map(|deployment| deployment["spec"]["template"].clone());
        templates.collect::<Vec<Value>>()
    };
    let before = checksum("");
    assert_eq!(before.len(), 2);
    assert_eq!(checksum("service: {annotations: {a: b}}\nhub: {replicas: 7}"), before);
    let after = checksum("settings: {lease: {max_secs: 7300}}");
    for (before, after) in before.iter().zip(&after) {
        let of = |template: &Value| template["metadata"]["annotations"]["checksum/config"].clone();
        assert!(of(before).is_string() && of(before) != of(after));
    }
}

#[test]
fn pods_start_the_programs_where_the_image_has_them_as_its_user() {
    let dockerfile = crate::tools::text("deploy/Dockerfile");
    let folder = "/usr/local/bin/";
    assert!(dockerfile.contains(&format!("COPY --from=build /programs/ {folder}\n")), "{dockerfile}");
    for rendered in rendered() {
        for (spec, container) in programs(rendered) {
            assert!(text(&container["command"][0]).starts_with(folder), "{}", rendered.name());
            // OpenShift chooses another where the values leave it to it.
            if let Some(user) = spec["securityContext"]["runAsUser"].as_u64() {
                let line = format!("USER {user}:{}\n", spec["securityContext"]["runAsGroup"]);
                assert!(dockerfile.contains(&line), "{}: {line}", rendered.name());
            }
        }
    }
}
