//! Health and readiness, as an orchestrator asks for them.

use harness::{
    redis_server::Durability,
    system::System,
    wait::{PATIENCE, eventually},
};

async fn ask(admin_url: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{admin_url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn until_ready_is(admin_url: &str, expected: u16) -> String {
    let what = format!("{expected} from {admin_url}/readyz");
    let look = || async {
        let (status, text) = ask(admin_url, "/readyz").await;
        (status == expected).then_some(text)
    };
    eventually(PATIENCE, &what, look).await.unwrap()
}

#[tokio::test]
async fn a_program_that_has_lost_redis_lives_and_is_not_ready_until_it_is_back() {
    let mut system = System::builder().hubs(1).workers(1).durability(Durability::None).start().await.unwrap();
    let admins = [system.hubs[0].admin_url().to_owned(), system.workers[0].admin_url().to_owned()];
    for admin in &admins {
        assert!(until_ready_is(admin, 200).await.contains("store: ok"));
    }
    system.redis.single().stop().await.unwrap();
    for admin in &admins {
        assert!(until_ready_is(admin, 503).await.contains("store: does not answer"));
        assert_eq!(ask(admin, "/healthz").await.0, 200, "it has not to be restarted for that");
    }
    system.redis.single().start_again().await.unwrap();
    for admin in &admins {
        until_ready_is(admin, 200).await;
    }
}
