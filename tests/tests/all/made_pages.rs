//! Pages that are made of the code: that they are up to date. `make docs` writes them.

use std::fs;

use harness::{
    client::App,
    pages::{root, up_to_date},
    system::Hub,
};
use shared::{settings::Settings, telemetry::metrics};

#[test]
fn the_page_of_the_settings_is_what_the_programs_declare() {
    up_to_date("docs/CONFIGURATION.md", &Settings::reference().unwrap()).unwrap();
}

#[test]
fn the_page_of_the_metrics_is_what_the_programs_declare() {
    up_to_date("docs/METRICS.md", &metrics::reference()).unwrap();
}

#[tokio::test]
async fn what_a_hub_serves_is_on_the_page_of_the_metrics_with_its_type() {
    let hub = Hub::start_embedded(&[]).await.unwrap();
    let served = App::new(hub.admin_url()).unwrap().get("/metrics").await.unwrap();
    let page = fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    let types: Vec<(&str, &str)> =
        served.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(types.len() > 30, "{types:?}");
    for (name, kind) in types {
        let is_there = if name.starts_with("process_") {
            page.contains(&format!("`{name}`"))
        } else {
            page.contains(&format!("| `{name}` | {kind} |"))
        };
        assert!(is_there, "{name} {kind} is not on the page");
    }
}
