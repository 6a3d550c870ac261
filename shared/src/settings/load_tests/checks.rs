//! Settings that do not go together, or open the hub to others.

use super::*;
use crate::settings::Exposure;

#[test]
fn a_contradiction_names_both_settings() {
    for (file, names) in [
        ("lease.max_secs = 60", "lease.default_secs and lease.max_secs: "),
        ("limits.body_bytes = 8388609", "limits.unsent_bytes and limits.body_bytes: "),
        ("limits.log_secs = 299", "retry.give_up_secs and limits.log_secs: "),
        ("limits.session_secs = 86399", "lease.max_secs and limits.session_secs: "),
        ("limits.log_secs = 86401", "limits.log_secs and limits.session_secs: "),
        ("retry.initial_secs = 31", "retry.initial_secs and retry.max_secs: "),
        ("tls.cert = \"c\"", "tls.cert and tls.key: "),
        ("tls.key = \"k\"", "tls.cert and tls.key: "),
        ("callbacks.cert = \"c\"", "callbacks.cert and callbacks.key: "),
        ("callbacks.key = \"k\"", "callbacks.cert and callbacks.key: "),
        ("admin_listen = \"127.0.0.1:8080\"", "listen and admin_listen: "),
        ("listen = \"0.0.0.0:80\"\ntls = { cert = \"c\", key = \"k\" }", "listen and auth.mode: "),
    ] {
        assert_one_mistake(from_file(file), &[names]);
    }
}

#[test]
fn what_only_just_fits_is_no_contradiction() {
    from_file(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         lease.default_secs = 1800\nlease.max_secs = 1800\n\
         limits.session_secs = 1800\nlimits.log_secs = 300\nlimits.body_bytes = 8388608\n\
         retry.initial_secs = 30.0\n",
    )
    .unwrap();
}

#[test]
fn the_hub_opens_itself_to_other_machines_only_when_told_twice() {
    let open = lines(from_flags(&["--listen", "0.0.0.0:8080"]));
    assert_eq!(open.len(), 2, "{open:#?}");
    assert!(open[0].starts_with("listen and auth.mode: "), "{open:#?}");
    assert!(open[1].starts_with("listen and tls.cert: "), "{open:#?}");
    assert!(open.iter().all(|line| line.contains("insecure = true")));
    let told = from_flags(&["--listen", "0.0.0.0:8080", "--set", "insecure=true"]).unwrap();
    assert_eq!(told.exposures(), [Exposure::NoAuthentication, Exposure::NoTls], "FC-SEC-01");
    let by_tls = from_flags(&[
        "--listen",
        "0.0.0.0:8080",
        "--set",
        "insecure=true",
        "--set",
        "tls.cert=c",
        "--set",
        "tls.key=k",
    ]);
    assert_eq!(by_tls.unwrap().exposures(), [Exposure::NoAuthentication], "FC-SEC-01");
    for listen in ["[::1]:8080", "127.0.0.2:8080", "[::ffff:127.0.0.1]:8080"] {
        assert_eq!(from_flags(&["--listen", listen]).unwrap().exposures(), [], "FC-SEC-01: {listen}");
    }
    for listen in
        ["0.0.0.0:8080", "[::]:8080", "[::ffff:0.0.0.0]:8080", "[::ffff:10.0.0.1]:8080", "10.0.0.1:8080"]
    {
        assert_eq!(lines(from_flags(&["--listen", listen])).len(), 2, "FC-SEC-01: {listen}");
    }
    from_flags(&["--set", "admin_listen=0.0.0.0:9100"]).expect("health and metrics say nothing to be kept");
}

#[test]
fn certificates_of_clients_need_an_authority_and_tls() {
    let tls = "tls.cert = \"c\"\ntls.key = \"k\"\n";
    from_file(&format!("{tls}tls.client_auth = \"required\"\ntls.client_ca_file = \"ca\"")).unwrap();
    assert_one_mistake(
        from_file(&format!("{tls}tls.client_auth = \"optional\"")),
        &["tls.client_auth and tls.client_ca_file", "no authority"],
    );
    assert_one_mistake(
        from_file(&format!("{tls}tls.client_ca_file = \"ca\"")),
        &["tls.client_auth and tls.client_ca_file", "none is asked for"],
    );
    assert_one_mistake(
        from_file("admin_tls.client_auth = \"required\"\nadmin_tls.client_ca_file = \"ca\""),
        &["admin_tls.client_auth and admin_tls.client_ca_file", "need TLS"],
    );
    assert_one_mistake(from_file("admin_tls.cert = \"c\""), &["admin_tls.cert and admin_tls.key"]);
}

#[test]
fn not_everybody_is_a_trusted_proxy() {
    for all in ["0.0.0.0/0", "::/0"] {
        let trusted = from_file(&format!("trusted_proxies = [\"10.0.0.0/8\", \"{all}\"]"));
        assert_one_mistake(trusted, &["trusted_proxies: ", all]);
    }
}

#[test]
fn a_setting_with_a_mistake_contradicts_no_other() {
    assert_one_mistake(
        from_file("lease.max_secs = \"x\"\nlease.default_secs = 100000"),
        &["lease.max_secs: "],
    );
}

#[test]
fn the_embedded_hub_has_other_defaults_and_refuses_redis() {
    let embedded = |env: &[_]| Settings::load(Defaults::Embedded, &Flags::default(), owned(env));
    let settings = embedded(&[]).unwrap();
    assert!(settings.callbacks.allow_http);
    let networks = &settings.callbacks.allowed_networks;
    assert_eq!(*networks, ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);

    let settings = embedded(&[("FHIRCAST_CALLBACKS__ALLOW_HTTP", "false")]).unwrap();
    assert!(!settings.callbacks.allow_http);

    assert_one_mistake(
        embedded(&[("FHIRCAST_REDIS__URL", "redis://127.0.0.1")]),
        &["redis.url: the embedded hub keeps its state in memory", "FHIRCAST_REDIS__URL"],
    );
}
