//! The pages that are walked through, each against an embedded hub as `make run` starts it.

use harness::{redis_server::free_ports, system::Hub, wait::PATIENCE};

use super::{
    blocks::{Block, blocks},
    walk::{Walk, address},
};
use crate::tools;

/// Pages with the commands that `make run` prints.
const WITH_THE_THREE: [&str; 2] = ["README.md", "docs/INTEGRATING.md"];

async fn walk(page: &str, hub: &Hub) {
    let [node_port, python_port] = free_ports().unwrap();
    let mut walk = Walk::of(page, hub).instead("3000", node_port).instead("3001", python_port);
    let blocks = blocks(&tools::text(page));
    assert!(blocks.iter().any(|block| block.language == "bash"), "{page} has nothing to run");
    for block in &blocks {
        walk.step(block).await;
    }
}

#[tokio::test]
async fn the_commands_of_the_readme_print_what_it_shows() {
    walk("README.md", &Hub::start_embedded(&[]).await.unwrap()).await;
}

#[tokio::test]
async fn the_commands_and_programs_for_app_developers_print_what_their_page_shows() {
    walk("docs/INTEGRATING.md", &Hub::start_embedded(&[]).await.unwrap()).await;
}

#[tokio::test]
async fn the_pages_have_the_three_commands_that_the_embedded_hub_prints() {
    let mut hub = Hub::start_embedded(&[]).await.unwrap();
    let here = address(&hub);
    let mut printed = Vec::new();
    let three = hub.process().wait_for_log(PATIENCE, "three commands", |line| {
        printed.extend(line.strip_prefix("   ").map(|command| command.replace(&here, "127.0.0.1:8080")));
        (printed.len() == 3).then_some(())
    });
    three.await.unwrap();
    for page in WITH_THE_THREE {
        let blocks: Vec<Block> =
            blocks(&tools::text(page)).into_iter().filter(|block| block.language == "bash").collect();
        let texts: Vec<&str> = blocks.iter().take(3).map(|block| block.text.as_str()).collect();
        assert_eq!(texts, printed, "the first commands of {page}");
    }
}

#[test]
fn what_the_pages_have_made_is_there_to_be_made() {
    let makefile = tools::text("Makefile");
    let targets = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap();
    let targets: Vec<&str> = targets.split_whitespace().collect();
    for page in ["README.md", "docs/INTEGRATING.md", "docs/TOOLS.md", "docs/OPERATIONS.md"] {
        let text = tools::text(page);
        let blocks: Vec<Block> =
            blocks(&text).into_iter().filter(|block| ["sh", "bash"].contains(&&*block.language)).collect();
        let pasted = blocks.iter().flat_map(|block| block.text.lines());
        let pasted = pasted.filter_map(|line| line.rsplit_once("make ").map(|(_, rest)| rest));
        let named = text.split("`make ").skip(1).chain(pasted);
        for target in named.filter_map(|rest| rest.split(['`', ' ', '\n', ';']).next()) {
            assert!(targets.contains(&target), "{page} names `make {target}`");
        }
    }
}
