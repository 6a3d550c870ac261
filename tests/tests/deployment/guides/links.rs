//! Links between pages: the file is there, and so is the heading.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::tools;

/// Pages that a reader comes to, from the top of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md")];
    for folder in ["docs", "helm", "deploy", "tests", "fuzz"] {
        collect(Path::new(folder), &mut pages);
    }
    assert!(pages.len() > 8, "{pages:?}");
    pages
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(tools::repository().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                collect(&path, pages);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// The text of a page outside of its code.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            // What is between two backticks is no link either.
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The targets of the links of a page.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let ends = prose.split("](").skip(1);
    ends.filter_map(|rest| rest.split([')', ' ', '\n']).next().map(str::to_owned)).collect()
}

/// The anchors that GitHub gives the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in page.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if is_code || !line.starts_with('#') || !heading.starts_with(' ') {
            continue;
        }
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let anchor: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|free| !anchors.contains(free));
        anchors.extend(free);
    }
    anchors
}

/// What is wrong with a link on a page.
fn complaint(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let mut target = PathBuf::new();
    let joined = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    for part in joined.components() {
        match part {
            Component::ParentDir => drop(target.pop()),
            part => target.push(part),
        }
    }
    let path = tools::repository().join(&target);
    if !path.exists() {
        return Some(format!("{}: there is no {}", page.display(), target.display()));
    }
    let is_missing = !anchor.is_empty() && !anchors(&fs::read_to_string(&path).unwrap()).contains(anchor);
    is_missing.then(|| format!("{}: {} has no heading #{anchor}", page.display(), target.display()))
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_a_heading() {
    let mut complaints = Vec::new();
    for page in pages() {
        let text = tools::text(page.to_str().unwrap());
        complaints.extend(links(&text).iter().filter_map(|link| complaint(&page, link)));
    }
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = BTreeSet::new();
    let mut to_read = vec![PathBuf::from("README.md")];
    while let Some(page) = to_read.pop() {
        if !reached.insert(page.clone()) {
            continue;
        }
        for link in links(&tools::text(page.to_str().unwrap())) {
            let file = link.split('#').next().unwrap();
            let mut target = page.parent().unwrap().to_owned();
            for part in Path::new(file).components() {
                match part {
                    Component::ParentDir => drop(target.pop()),
                    part => target.push(part),
                }
            }
            if file.ends_with(".md") && !link.contains("://") {
                to_read.push(target);
            }
        }
    }
    for page in pages().into_iter().filter(|page| page.starts_with("docs") || page.starts_with("helm")) {
        assert!(reached.contains(&page), "nobody finds {}", page.display());
    }
}

#[test]
fn a_link_to_what_is_not_there_is_found() {
    let found = links("[a](b.md) `[no](c)` [x](#y)\n```\n[no](d)\n```\n[e](https://f)");
    assert_eq!(found, ["b.md", "#y", "https://f"]);
    let page = Path::new("docs/SECURITY.md");
    assert_eq!(complaint(page, "../README.md"), None);
    assert_eq!(complaint(page, "#hardening"), None);
    assert!(complaint(page, "b.md").unwrap().contains("there is no docs/b.md"));
    assert!(complaint(page, "RELIABILITY.md#z").unwrap().contains("no heading #z"));
}

#[test]
fn headings_have_the_anchors_that_github_gives_them() {
    let found = anchors("# Run it, `now`\n## `[redis]`\n## A\n## A\n```\n# no\n```\n#no\n");
    assert_eq!(found, ["a", "a-1", "redis", "run-it-now"].map(str::to_owned).into());
}
