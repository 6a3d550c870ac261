//! Pages that are made of the code: that they are up to date. `make docs` writes them.

use std::{fs, path::PathBuf};

use harness::{client::App, system::Hub};
use shared::{settings::Settings, telemetry::metrics};

/// When it is set, pages are written instead of compared.
const WRITE: &str = "FHIRCAST_WRITE_DOCS";

/// The folder of the project.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Compares a file of the project with what is to be in it, or writes it.
pub fn assert_up_to_date(file: &str, page: &str) {
    let path = root().join(file);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let changed = written.lines().zip(page.lines()).find(|(written, made)| written != made);
    assert!(written == page, "{file} is not up to date: run `make docs`; the first change: {changed:?}");
}

#[test]
fn the_page_of_the_settings_is_what_the_programs_declare() {
    assert_up_to_date("docs/CONFIGURATION.md", &Settings::reference().unwrap());
}

#[test]
fn the_page_of_the_metrics_is_what_the_programs_declare() {
    assert_up_to_date("docs/METRICS.md", &metrics::reference());
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
