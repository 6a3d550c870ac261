//! Who reaches whom: WebSockets that are idle through the proxies in front, and what the policies let in and out.

use serde_json::{Value, json};

use super::chart::{Rendered, list, name_of, rendered, text, try_template};

fn named<'a>(values: &str) -> &'a Rendered {
    let found = rendered().iter().find(|rendered| rendered.values == values);
    found.unwrap_or_else(|| panic!("there is no {values}"))
}

fn annotations(values: &str) -> &Value {
    &named(values).one("Ingress", "-hub")["metadata"]["annotations"]
}

#[test]
fn each_controller_is_told_of_idle_sockets_large_bodies_and_tls_behind_it() {
    let with_nginx = try_template("sentinel", "ingress: {controller: nginx}").unwrap();
    let nginx = &with_nginx.iter().find(|made| made["kind"] == "Ingress").unwrap()["metadata"]["annotations"];
    assert_eq!(nginx["nginx.ingress.kubernetes.io/proxy-read-timeout"], "3600");
    assert_eq!(nginx["nginx.ingress.kubernetes.io/proxy-send-timeout"], "3600");
    assert_eq!(nginx["nginx.ingress.kubernetes.io/proxy-body-size"], "4194304", "limits.body_bytes");
    assert_eq!(nginx["nginx.ingress.kubernetes.io/backend-protocol"], "HTTPS");
    assert_eq!(annotations("sentinel")["cert-manager.io/cluster-issuer"], "public", "the values' own");

    let haproxy = annotations("haproxy");
    // On an Ingress this one is not read: it is of the controller's ConfigMap.
    assert!(haproxy.get("haproxy.org/timeout-tunnel").is_none());
    assert_eq!(haproxy["haproxy.org/timeout-server"], "3600s");
    assert_eq!(haproxy["haproxy.org/server-ssl"], "true");
    assert_eq!(haproxy["haproxy-ingress.github.io/timeout-tunnel"], "3600s");
    assert_eq!(haproxy["haproxy-ingress.github.io/backend-protocol"], "h1-ssl");

    let alb = annotations("monitoring");
    let idle = "idle_timeout.timeout_seconds=3600";
    assert_eq!(alb["alb.ingress.kubernetes.io/load-balancer-attributes"], idle);
    assert_eq!(alb["alb.ingress.kubernetes.io/healthcheck-path"], "/readyz");
    assert_eq!(alb["alb.ingress.kubernetes.io/healthcheck-port"], "9100");
    assert_eq!(alb["alb.ingress.kubernetes.io/backend-protocol"], "HTTP");
    assert_eq!(alb["alb.ingress.kubernetes.io/listen-ports"], "[{\"HTTPS\":443}]");

    let traefik = annotations("everything");
    assert_eq!(traefik["traefik.ingress.kubernetes.io/router.tls"], "true");
    assert_eq!(traefik["traefik.ingress.kubernetes.io/router.entrypoints"], "hospital", "the values' own");
    let service = named("everything").one("Service", "-hub");
    assert_eq!(
        service["metadata"]["annotations"]["traefik.ingress.kubernetes.io/service.serversscheme"],
        "https"
    );
}

#[test]
fn a_route_cuts_no_websocket_and_waits_for_the_rest_as_long_as_the_hub_does() {
    let route = named("cluster-gateway").one("HTTPRoute", "-hub");
    let [sockets, rest] = list(&route["spec"]["rules"]) else { panic!("{route}") };
    assert_eq!(sockets["matches"], json!([{"path": {"type": "PathPrefix", "value": "/api/hub/ws"}}]));
    assert_eq!(sockets["timeouts"], json!({"request": "0s", "backendRequest": "0s"}));
    assert_eq!(rest["timeouts"]["request"], "180s", "limits.body_secs and limits.answer_secs");
    assert_eq!(rest["backendRefs"][0]["port"], 443);
    let policy = named("cluster-gateway").one("BackendTLSPolicy", "-hub");
    assert_eq!(policy["spec"]["validation"]["hostname"], "hub-hub.fhir.svc");
}

#[test]
fn clients_learn_the_host_of_the_ingress_or_the_route() {
    for (values, url) in [
        ("haproxy", "https://fhircast.example.org"),
        ("cluster-gateway", "https://fhircast.example.org"),
        ("sentinel", "https://fhircast.example.org"),
    ] {
        let line = format!("public_url = \"{url}\"\n");
        assert!(named(values).settings().contains(&line), "{values}: {}", named(values).settings());
    }
    assert!(!named("trial").settings().contains("public_url"));
}

/// Whether a rule names this port.
fn is_for(rule: &Value, port: &Value) -> bool {
    list(&rule["ports"]).iter().any(|known| known["port"] == *port)
}

#[test]
fn a_policy_lets_clients_to_the_api_alone_and_scrapes_to_health_alone() {
    for values in ["sentinel", "introspection", "monitoring", "everything"] {
        let rendered = named(values);
        let wanted = crate::tools::yaml(&super::chart::path_of(values));
        let clients = &wanted["networkPolicy"]["clients"];
        let hub = rendered.one("NetworkPolicy", "-hub");
        assert_eq!(hub["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        let [api, admin] = list(&hub["spec"]["ingress"]) else { panic!("{hub}") };
        assert_eq!((&api["from"], list(&api["ports"]).len()), (clients, 1), "{values}");
        assert!(is_for(api, &json!("http")) && is_for(admin, &json!("admin")), "{values}");
        let worker = rendered.one("NetworkPolicy", "-worker");
        let [only] = list(&worker["spec"]["ingress"]) else { panic!("{worker}") };
        for rule in [admin, only] {
            assert_eq!(list(&rule["ports"]).len(), 1);
            let namespaces =
                list(&rule["from"]).iter().filter(|peer| peer.get("namespaceSelector").is_some());
            assert_eq!(namespaces.count(), 1, "Prometheus's");
        }
        // `helm test` asks the listeners for health.
        let tester = rendered.one("Pod", "-test");
        let test = &admin["from"][0]["podSelector"]["matchLabels"];
        assert!(super::chart::selects(test, &tester["metadata"]["labels"]));
    }
}

#[test]
fn a_policy_lets_each_program_out_to_what_it_needs() {
    let everything = named("everything");
    let egress = |component: &str| list(&everything.one("NetworkPolicy", component)["spec"]["egress"]);
    let to = |rules: &[Value], port: u64| -> Vec<String> {
        rules.iter().filter(|rule| is_for(rule, &json!(port))).map(|rule| rule["to"].to_string()).collect()
    };
    for component in ["-hub", "-worker"] {
        let rules = egress(component);
        assert!(to(rules, 53)[0].contains("kube-system"), "names");
        assert!(to(rules, 6379)[0].contains("10.30.0.0/24"), "Redis");
        assert!(to(rules, 26379)[0].contains("10.30.0.0/24"), "Sentinels");
        assert!(to(rules, 4318)[0].contains("otel-collector"), "traces");
        assert_eq!(to(rules, 6514), ["null"], "the values' own");
    }
    assert!(to(egress("-hub"), 8443)[0].contains("10.40.0.0/24"), "the authorization server");
    assert!(to(egress("-worker"), 8443).is_empty());
    // Callbacks are the worker's: public addresses, and the networks that the settings allow.
    assert!(to(egress("-hub"), 443).is_empty());
    let callbacks = to(egress("-worker"), 443).remove(0);
    for part in ["169.254.0.0/16", "\"cidr\":\"192.168.7.0/24\"", "\"cidr\":\"fd00::/8\""] {
        assert!(callbacks.contains(part), "{part}: {callbacks}");
    }
}

#[test]
fn only_hubs_and_workers_reach_the_redis_for_trials() {
    let trial = named("trial");
    let policy = trial.one("NetworkPolicy", "-redis");
    assert_eq!(policy["spec"]["egress"], json!([]));
    let [rule] = list(&policy["spec"]["ingress"]) else { panic!("{policy}") };
    let let_in: Vec<String> = trial
        .pods()
        .into_iter()
        .filter(|(_, labels, _)| {
            list(&rule["from"])
                .iter()
                .any(|peer| super::chart::selects(&peer["podSelector"]["matchLabels"], labels))
        })
        .map(|(name, _, _)| name)
        .collect();
    assert_eq!(let_in, ["hub-hub", "hub-worker"]);
    let redis = trial.one("StatefulSet", "-redis");
    let arguments = redis["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("\"--appendonly\",\"yes\""), "{arguments}");
    assert!(arguments.contains("\"--maxmemory-policy\",\"noeviction\""), "{arguments}");
    let host = name_of(trial.one("Service", "-redis"));
    assert!(trial.settings().contains(&format!("url = \"redis://{host}:6379\"")));
    // With a policy for hubs and workers, they get there.
    let policies = "networkPolicy: {enabled: true, clients: [{podSelector: {}}]}";
    let manifests = try_template("trial", policies).unwrap();
    let hub = manifests.iter().find(|made| made["kind"] == "NetworkPolicy" && name_of(made) == "hub-hub");
    let to = &list(&hub.unwrap()["spec"]["egress"])[1]["to"][0]["podSelector"]["matchLabels"];
    assert_eq!(text(&to["app.kubernetes.io/component"]), "redis");
}
