//! What the chart refuses, and that it says what is wrong.

use super::chart::{KUBERNETES, path_of, template, try_template};
use crate::tools::attempt;

/// What is said of these values beside those of a file; they must be refused.
fn said(values: &str, more: &str) -> String {
    match try_template(values, more) {
        Ok(_) => panic!("{values} with {more} is taken"),
        Err(said) => said,
    }
}

fn assert_refused(cases: &[(&str, &str, &[&str])]) {
    // Each starts helm: as many at once as there are cores.
    let next = std::sync::Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((values, more, parts)) = { next.lock().unwrap().next() } {
                    let said = said(values, more);
                    for part in *parts {
                        assert!(said.contains(part), "{values} with {more}: {part} is not said: {said}");
                    }
                }
            });
        }
    });
}

#[test]
fn the_schema_refuses_a_misspelled_value() {
    assert_refused(&[
        ("trial", "hub: {replcas: 3}", &["hub: Additional property replcas is not allowed"]),
        ("trial", "ingres: {enabled: true}", &["Additional property ingres is not allowed"]),
        ("trial", "settings: {leese: {max_secs: 1}}", &["settings: Additional property leese"]),
        ("trial", "settings: {lease: {max_sec: 1}}", &["settings.lease: Additional property max_sec"]),
        ("trial", "secrets: {redis: {pasword: {existingSecret: a}}}", &["Additional property pasword"]),
    ]);
}

#[test]
fn the_schema_refuses_a_secret_among_the_settings_and_says_where_it_belongs() {
    assert_refused(&[
        (
            "trial",
            "settings: {redis: {password: hush}}",
            &["settings.redis.password", "secrets.redis.password"],
        ),
        ("trial", "settings: {redis: {sentinel_password: hush}}", &["secrets.redis.sentinel_password"]),
        ("trial", "settings: {auth: {client_secret: hush}}", &["secrets.auth.client_secret"]),
        ("trial", "settings: {tracing: {headers: [a=hush]}}", &["secrets.tracing.headers"]),
        ("trial", "settings: {data_keys: [\"k:hush\"]}", &["settings.data_keys", "secrets.data_keys_file"]),
        (
            "haproxy",
            "settings: {redis: {url: \"rediss://me:hush@redis\"}}",
            &["settings.redis.url", "a URL with a password is secret", "secrets.redis.url"],
        ),
        ("haproxy", "settings: {redis: {url: \"redis+cluster://:hush@a:1,b:2\"}}", &["secrets.redis.url"]),
    ]);
    // A user's name is none.
    assert!(try_template("haproxy", "settings: {redis: {url: \"rediss+cluster://me@a:1,b:2\"}}").is_ok());
}

#[test]
fn the_schema_refuses_a_value_of_the_wrong_type() {
    assert_refused(&[
        ("trial", "hub: {replicas: two}", &["hub.replicas: Invalid type. Expected: integer, given: string"]),
        ("trial", "worker: {replicas: 0}", &["worker.replicas: Must be greater than or equal to 1"]),
        ("trial", "settings: {lease: {max_secs: 1h}}", &["settings.lease.max_secs: Invalid type"]),
        ("trial", "settings: {trusted_proxies: 10.0.0.0/8}", &["settings.trusted_proxies: Invalid type"]),
        ("trial", "settings: {insecure: \"yes\"}", &["settings.insecure: Invalid type"]),
        ("trial", "image: {digest: latest}", &["image.digest: Does not match pattern"]),
        ("trial", "ingress: {controller: apache}", &["ingress.controller must be one of the following"]),
        (
            "trial",
            "hub: {podDisruptionBudget: {maxUnavailable: 0}}",
            &["hub.podDisruptionBudget.maxUnavailable"],
        ),
    ]);
}

#[test]
fn a_redis_that_is_not_there_or_there_twice_is_refused() {
    assert_refused(&[
        (
            "trial",
            "trialRedis: {enabled: false}",
            &["there is no Redis", "settings.redis.url", "trialRedis.enabled"],
        ),
        (
            "haproxy",
            "trialRedis: {enabled: true}",
            &["more than one Redis: settings.redis.url and trialRedis.enabled"],
        ),
        (
            "introspection",
            "settings: {redis: {url: redis://a}}",
            &["more than one Redis: settings.redis.url and secrets.redis.url"],
        ),
        (
            "trial",
            "certificates: {redis: {ca: {existingSecret: ca}}}",
            &["certificates.redis and trialRedis.enabled", "no TLS"],
        ),
        (
            "trial",
            "secrets: {redis: {password: {existingSecret: a}}}",
            &["trialRedis.enabled", "no password"],
        ),
    ]);
}

#[test]
fn what_would_be_open_must_be_said_and_towards_the_outside_twice() {
    let door = "ingress: {enabled: true, hosts: [a.example]}";
    assert_refused(&[
        (
            "trial",
            "settings: {insecure: false}",
            &["settings.auth.mode is off", "no certificate", "settings.insecure"],
        ),
        (
            "haproxy",
            "certificates: {tls: {existingSecret: \"\"}}",
            &["the hub has no certificate", "certificates.tls"],
        ),
        (
            "trial",
            door,
            &["opened to the outside (ingress) while settings.auth.mode is off", "exposeInsecure"],
        ),
        ("trial", "service: {type: LoadBalancer}", &["(service.type: LoadBalancer) while", "without TLS"]),
        ("haproxy", "ingress: {tls: {enabled: false}}", &["without TLS (ingress)", "exposeInsecure"]),
        ("cluster-gateway", "gateway: {tls: false}", &["without TLS (gateway)", "exposeInsecure"]),
    ]);
    let twice = format!("{door}\nexposeInsecure: true");
    assert!(try_template("trial", &twice).is_ok());
}

#[test]
fn an_entrance_that_nobody_or_everybody_would_find_is_refused() {
    assert_refused(&[
        ("haproxy", "ingress: {hosts: []}", &["ingress.hosts is empty"]),
        (
            "cluster-gateway",
            "gateway: {hosts: [], parentRefs: []}",
            &["gateway.hosts is empty", "gateway.parentRefs is empty"],
        ),
        ("sentinel", "networkPolicy: {clients: []}", &["networkPolicy.clients is empty"]),
        (
            "monitoring",
            "networkPolicy: {otlp: {to: []}}",
            &["networkPolicy.otlp.to is empty", "tracing.otlp_endpoint"],
        ),
        ("haproxy", "ingress: {idleSeconds: 40}", &["ingress.idleSeconds is 40", "settings.ping_secs"]),
        ("monitoring", "ingress: {idleSeconds: 5000}", &["ingress.idleSeconds is 5000", "4000"]),
        ("haproxy", "ingress: {hosts: [\"*.example.org\"]}", &["ingress.hosts.0: Does not match pattern"]),
        ("trial", "settings: {listen: \"127.0.0.1:8080\"}", &["settings.listen is 127.0.0.1:8080"]),
        ("trial", "settings: {admin_listen: \"[::1]:9100\"}", &["settings.admin_listen is [::1]:9100"]),
    ]);
}

#[test]
fn what_is_said_in_two_ways_or_only_half_is_refused() {
    assert_refused(&[
        ("haproxy", "settings: {tls: {cert: /a, key: /b}}", &["settings.tls.cert and certificates.tls"]),
        ("introspection", "settings: {redis: {ca_file: /a}}", &["settings.redis and certificates.redis.ca"]),
        (
            "sentinel",
            "settings: {data_keys_file: /a}",
            &["settings.data_keys_file and secrets.data_keys_file"],
        ),
        (
            "everything",
            "extraSecrets: {log.level: {existingSecret: a, key: b}}",
            &["settings.log.level and extraSecrets"],
        ),
        (
            "sentinel",
            "certificates: {tls: {existingSecret: ours}}",
            &["certificates.tls.existingSecret and certificates.tls.certManager.enabled", "overwrite"],
        ),
        (
            "introspection",
            "certificates: {auth: {ca: {existingSecret: a}}}",
            &["certificates.auth.ca: a Secret or a ConfigMap, not both"],
        ),
        (
            "haproxy",
            "certificates: {admin_tls: {certManager: {enabled: true}}}",
            &["certificates.admin_tls.certManager.issuerRef.name"],
        ),
        (
            "introspection",
            "secrets: {auth: {client_secret: {existingSecret: \"\"}}}",
            &["settings.auth.mode is introspection", "secrets.auth.client_secret"],
        ),
    ]);
}

#[test]
fn a_secret_in_a_plain_variable_is_refused() {
    assert_refused(&[
        (
            "trial",
            "extraEnv: [{name: FHIRCAST_REDIS__PASSWORD, value: hush}]",
            &["extraEnv: FHIRCAST_REDIS__PASSWORD is secret", "`secrets`"],
        ),
        (
            "trial",
            "worker: {extraEnv: [{name: FHIRCAST_DATA_KEYS, value: hush}]}",
            &["worker.extraEnv: FHIRCAST_DATA_KEYS"],
        ),
    ]);
}

#[test]
fn pods_that_could_not_stop_write_or_be_counted_are_refused() {
    assert_refused(&[
        (
            "trial",
            "hub: {terminationGracePeriodSeconds: 29}",
            &["hub.terminationGracePeriodSeconds is 29", "up to 30 s"],
        ),
        (
            "cluster-gateway",
            "worker: {terminationGracePeriodSeconds: 39}",
            &["worker.terminationGracePeriodSeconds is 39", "up to 40 s"],
        ),
        (
            "trial",
            "settings: {audit: {to: /var/log/audit}}",
            &["settings.audit.to is /var/log/audit", "stdout"],
        ),
        (
            "trial",
            "hub: {autoscaling: {enabled: true, minReplicas: 11}}",
            &["hub.autoscaling.minReplicas is more than maxReplicas"],
        ),
        (
            "trial",
            "worker: {autoscaling: {enabled: true, targetCPUPercent: null}}",
            &["worker.autoscaling has no target"],
        ),
        (
            "trial",
            "hub: {autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}",
            &["hub.autoscaling.targetCPUPercent", "hub.resources.requests.cpu"],
        ),
    ]);
}

#[test]
fn a_network_policy_that_holds_back_what_the_settings_need_is_refused() {
    let redis = |url: &str| format!("settings: {{redis: {{url: \"{url}\"}}}}");
    let refused = |values: &str, more: &str, parts: &[&str]| {
        let said = said(values, more);
        for part in parts {
            assert!(said.contains(part), "{values} with {more}: {part} is not said: {said}");
        }
    };
    let lacks =
        |port: &str| format!("networkPolicy.redis.ports lacks {port}, which settings.redis.url names");
    refused("sentinel", &redis("rediss+sentinel://u@a.redis:26379,b.redis:5000/fhircast"), &[&lacks("5000")]);
    refused("sentinel", &redis("rediss://redis:6380/0"), &[&lacks("6380")]);
    refused(
        "sentinel",
        "networkPolicy: {redis: {ports: [7000]}}\nsettings: {redis: {url: rediss+cluster://a}}",
        &[&lacks("6379")],
    );
    refused(
        "sentinel",
        "settings: {auth: {jwks: \"https://auth.example.org:8443/jwks\"}}",
        &["networkPolicy.authorizationServer.ports lacks 8443, which settings.auth.jwks names"],
    );
    refused(
        "introspection",
        "settings: {auth: {introspection_url: \"https://auth.example.org:9443\"}}",
        &["lacks 9443, which settings.auth.introspection_url names"],
    );
    refused(
        "monitoring",
        "settings: {tracing: {otlp_endpoint: \"http://collector.observability:4319\"}}",
        &["networkPolicy.otlp.ports lacks 4319, which settings.tracing.otlp_endpoint names"],
    );
    refused(
        "sentinel",
        "settings: {callbacks: {dns_servers: [\"10.0.0.53:5353\"]}}",
        &["networkPolicy.dns.to has no ipBlock", "networkPolicy.dns.ports lacks 5353"],
    );
    refused(
        "monitoring",
        "networkPolicy: {scrapers: [{podSelector: {}}]}",
        &["networkPolicy.scrapers has no ipBlock", "ALB"],
    );
    for (values, more) in [
        ("sentinel", redis("rediss://u@redis")),
        ("sentinel", format!("{}\nnetworkPolicy: {{redis: {{ports: []}}}}", redis("rediss://redis:6380"))),
        (
            "sentinel",
            format!(
                "{}\nnetworkPolicy: {{extraEgress: [{{ports: [{{port: 6000, endPort: 7000}}]}}]}}",
                redis("rediss://redis:6380")
            ),
        ),
        ("sentinel", "settings: {auth: {jwks: /etc/jwks.json}}".to_owned()),
        (
            "sentinel",
            "settings: {callbacks: {dns_servers: [\"10.0.0.53:53\"]}}\nnetworkPolicy: {dns: {to: [{ipBlock: {cidr: 10.0.0.53/32}}]}}"
                .to_owned(),
        ),
        // Nothing is held back where there is none.
        ("haproxy", redis("rediss://redis:6380")),
    ] {
        assert_eq!(try_template(values, &more).err(), None, "{values} with {more}");
    }
}

#[test]
fn who_asks_after_health_without_the_certificate_that_is_wanted_is_noticed() {
    assert_refused(&[
        (
            "introspection",
            "monitoring: {serviceMonitor: {enabled: true}}",
            &["monitoring.serviceMonitor.tlsConfig"],
        ),
        (
            "introspection",
            "ingress: {enabled: true, controller: alb, hosts: [a.example]}",
            &["an ALB has no certificate to show", "settings.admin_tls.client_auth"],
        ),
    ]);
}

#[test]
fn all_mistakes_are_said_at_once() {
    let said = said(
        "haproxy",
        "ingress: {hosts: [], idleSeconds: 1}\nsettings: {audit: {to: /a/b}}\ntrialRedis: {enabled: true}",
    );
    for part in ["ingress.hosts", "ingress.idleSeconds", "settings.audit.to", "more than one Redis"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
    let (success, said) = attempt(template("1.26").args(["-f", &path_of("trial")]), "");
    assert!(!success && said.contains("chart requires kubeVersion: >=1.27.0-0"), "{said}");
    assert_eq!(KUBERNETES[0], "1.27");
}
