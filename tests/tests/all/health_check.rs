//! The subcommand `health` of both programs, as a container's health check runs it.

use std::process::Output;

use harness::{
    certs::Certificates,
    redis_server::{Durability, RedisServer},
    system::{Hub, System, Worker, borrowed, run},
    wait::{PATIENCE, eventually},
};

/// `http://127.0.0.1:9100` is `127.0.0.1:9100`.
fn address(admin_url: &str) -> &str {
    admin_url.split_once("://").unwrap().1
}

/// Runs the check with these settings; answers its exit status and what it printed.
async fn check(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        run(program, &[&["health"], arguments].concat(), settings).await.unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// Whether all of its loops turn, as /healthz has them.
fn lives((status, report): &(i32, String)) -> bool {
    *status == 0 && !report.is_empty() && report.lines().all(|line| line.ends_with(": turns"))
}

#[tokio::test]
async fn a_program_that_runs_is_well_and_with_ready_also_its_store_counts() {
    let mut system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let programs = [
        ("fhircast-hub", system.hubs[0].admin_url().to_owned()),
        ("fhircast-worker", system.workers[0].admin_url().to_owned()),
    ];
    let until = async |program: &str, admin: &str, expected: (i32, &str)| {
        let settings = [("admin_listen", admin)];
        let what = format!("{expected:?} from {program} health --ready");
        let look = || async {
            let (status, report) = check(program, &["--ready"], &settings).await;
            (status == expected.0 && report.contains(expected.1)).then_some(())
        };
        eventually(PATIENCE, &what, look).await.unwrap();
    };
    for (program, admin) in &programs {
        assert!(lives(&check(program, &[], &[("admin_listen", address(admin))]).await));
        until(program, address(admin), (0, "store: ok\n")).await;
    }
    system.redis.single().stop().await.unwrap();
    for (program, admin) in &programs {
        until(program, address(admin), (1, "store: does not answer")).await;
        let said = check(program, &[], &[("admin_listen", address(admin))]).await;
        assert!(lives(&said), "it has not to be restarted for that: {said:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_not_well_and_settings_that_do_not_say_where_are_a_mistake() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("127.0.0.1:{port}");
    for program in ["fhircast-hub", "fhircast-worker"] {
        let (status, told) = check(program, &[], &[("admin_listen", &nobody)]).await;
        assert!(status == 1 && told.contains(&nobody), "{status}: {told}");
        let (status, told) = check(program, &[], &[("admin_listen", "127.0.0.1:0")]).await;
        assert!(status == 2 && told.contains("admin_listen"), "{status}: {told}");
        let (status, told) = check(program, &["--set", "ping_secs=0"], &[("admin_listen", &nobody)]).await;
        assert!(status == 2 && told.contains("ping_secs"), "{status}: {told}");
    }
}

#[tokio::test]
async fn who_listens_on_all_addresses_is_asked_on_this_machine() {
    let hub = Hub::start_embedded(&[("admin_listen", "0.0.0.0:0")]).await.unwrap();
    assert!(address(hub.admin_url()).starts_with("0.0.0.0:"), "{}", hub.admin_url());
    let found = check("fhircast-hub", &[], &[("admin_listen", address(hub.admin_url()))]).await;
    assert!(lives(&found), "{found:?}");
}

#[tokio::test]
async fn a_listener_with_tls_is_asked_by_tls_and_shown_the_programs_own_certificate_if_it_must_be() {
    let (certificates, others) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let (url, files) = (redis.url(), certificates.settings("admin_tls"));
    let (ca, others) = (certificates.ca(), others.ca());
    let (ca, others) = (ca.to_str().unwrap(), others.to_str().unwrap());
    for (client_auth, authority, expected) in [
        ("off", None, 0),
        ("optional", Some(others), 0),
        ("required", Some(ca), 0),
        ("required", Some(others), 2),
    ] {
        let mut settings = vec![("redis.url", url.as_str()), ("admin_tls.client_auth", client_auth)];
        settings.extend(authority.map(|authority| ("admin_tls.client_ca_file", authority)));
        settings.extend(borrowed(&files));
        let worker = Worker::start(&settings).await.unwrap();
        settings.push(("admin_listen", address(worker.admin_url())));
        for program in ["fhircast-hub", "fhircast-worker"] {
            let said = check(program, &[], &settings).await;
            assert_eq!(said.0, expected, "{client_auth}: {said:?}");
            assert!(lives(&said) || said.1.contains("admin_tls.client_auth"), "{client_auth}: {said:?}");
        }
    }
}
