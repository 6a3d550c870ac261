//! The page of the examples, with a browser's window played by a few lines.

use std::{fs, net::SocketAddr, process::Command};

use harness::{process::Process, system::Hub, tcp_proxy::TcpProxy, wait::PATIENCE};
use tempfile::TempDir;

use super::walk::address;
use crate::tools;

/// What the page needs of a browser besides what Node.js has: each change of a text is a line.
const WINDOW: &str = r#"
globalThis.location = { search: process.argv[2] };
globalThis.document = {
  getElementById: (id) => ({ set textContent(text) { console.log(`${id}: ${text}`); } }),
};
"#;

struct Page {
    process: Process,
    _folder: TempDir,
}

impl Page {
    /// Opens the page for a hub at an address.
    fn open(hub: &str) -> Page {
        let page = tools::text("docs/examples/page.html");
        let (_, script) = page.split_once("<script type=\"module\">").unwrap();
        let (script, _) = script.split_once("</script>").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("window.mjs"), WINDOW).unwrap();
        fs::write(folder.path().join("page.mjs"), format!("import \"./window.mjs\";\n{script}")).unwrap();
        fs::write(folder.path().join("fhircast.mjs"), tools::text("docs/examples/fhircast.mjs")).unwrap();
        let mut node = Command::new(tools::tool("node"));
        node.current_dir(&folder).args(["page.mjs", &format!("?hub=http://{hub}/api/hub&topic=page-topic")]);
        Page { process: Process::start("page", node).unwrap(), _folder: folder }
    }

    /// Waits until it has shown this `times` times since it was opened.
    async fn shows(&self, shown: &str, times: usize) {
        let mut found = 0;
        let shown_so_often = self.process.wait_for_log(PATIENCE, shown, |line| {
            found += usize::from(line.starts_with(shown));
            (found == times).then_some(())
        });
        shown_so_often.await.unwrap();
    }
}

async fn open(hub: &Hub, id: &str, family: &str) {
    open_at(hub, "2026-01-05T09:00:00Z", id, family).await;
}

async fn open_at(hub: &Hub, timestamp: &str, id: &str, family: &str) {
    let event = format!(
        r#"{{"timestamp":"{timestamp}","id":"{id}","event":{{"hub.topic":"page-topic","hub.event":"Patient-open","context":[{{"key":"patient","resource":{{"resourceType":"Patient","id":"{family}","name":[{{"family":"{family}"}}]}}}}]}}}}"#
    );
    hub.app().unwrap().publish(&event).await.unwrap().expect_status(202).unwrap();
}

#[tokio::test]
async fn the_page_shows_the_patient_and_what_it_missed_while_it_was_cut_off() {
    let hub = Hub::start_embedded(&[]).await.unwrap();
    let proxy = TcpProxy::start(address(&hub).parse::<SocketAddr>().unwrap()).unwrap();
    let page = Page::open(&proxy.address().to_string());
    page.shows("state: connected Patient-open,", 1).await;
    open(&hub, "1", "Smith").await;
    page.shows("patient: Smith", 1).await;

    proxy.cut();
    page.shows("state: away", 1).await;
    open(&hub, "2", "Jones").await;
    open(&hub, "3", "Brown").await;
    proxy.mend();
    page.shows("patient: Brown", 1).await;
    page.shows("patient: Jones", 1).await;
    let lines = page.process.log_lines();
    let patients: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("patient: ")).collect();
    assert_eq!(patients, ["Smith", "Jones", "Brown"], "in order, and each once");

    // Published again, and so in another version: everybody is brought back to it.
    open_at(&hub, "2026-01-05T09:01:00Z", "1", "Smith").await;
    page.shows("patient: Smith", 2).await;
}

#[tokio::test]
async fn the_page_subscribes_anew_when_its_endpoint_has_ended() {
    let mut hub = Hub::start_embedded(&[]).await.unwrap();
    let page = Page::open(&address(&hub));
    page.shows("state: connected", 1).await;
    // An embedded hub forgets everything.
    hub.start_again().await.unwrap();
    page.shows("state: connected", 2).await;
    open(&hub, "1", "Smith").await;
    page.shows("patient: Smith", 1).await;
}
