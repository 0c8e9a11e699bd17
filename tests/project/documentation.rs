//! The pages lead somewhere, and what they show is what it says it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest README, in lines: it is the front door, and the rest is in `docs/`.
const README: usize = 200;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages for people who use or change the router.
pub fn pages() -> Vec<PathBuf> {
    let mut pages =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root().join(page)).to_vec();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The targets of the links of a page, without those on the web.
fn targets(text: &str) -> Vec<&str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    links.filter(|target| !target.contains("://") && !target.contains(' ')).collect()
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line.trim_start_matches('#').trim()) == wanted)
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            seen += 1;
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let path = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = path.exists() && heading.is_none_or(|heading| has_anchor(&path, heading));
            if !leads {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_alert_leads_to_its_section_of_the_runbook() {
    let rules = fs::read_to_string(root().join("deploy/alerts/trommel.yaml")).unwrap();
    let after = |word: &'static str| rules.lines().filter_map(move |line| line.trim().split_once(word));
    let alerts: Vec<_> = after("- alert: ").map(|(_, name)| name.to_lowercase()).collect();
    let sections: Vec<_> = after("runbook: ").map(|(_, target)| target.split_once('#').unwrap()).collect();
    assert_eq!(alerts, sections.iter().map(|(_, heading)| *heading).collect::<Vec<_>>());
    for (page, heading) in sections {
        assert!(has_anchor(&root().join(page), heading), "{page} has no section for `{heading}`");
    }
}

#[test]
fn the_readme_stays_a_front_door() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= README, "README.md has {lines} lines, more than {README}");
}

/// The blocks of the pages in one of these languages.
pub fn blocks(languages: &[&str]) -> Vec<(PathBuf, String)> {
    let mut blocks = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // Every second part between fences is a block.
        for block in text.split("```").skip(1).step_by(2) {
            let (language, block) = block.split_once('\n').unwrap();
            if languages.contains(&language) {
                blocks.push((page.clone(), block.to_owned()));
            }
        }
    }
    blocks
}

/// Every TOML block can be read as TOML.
#[test]
fn what_is_shown_as_toml_is_toml() {
    let blocks = blocks(&["toml"]);
    for (page, block) in &blocks {
        if let Err(error) = block.parse::<toml::Table>() {
            panic!("{}: {error}\n{block}", page.display());
        }
    }
    assert!(blocks.len() > 3, "only {} blocks were found", blocks.len());
}

/// Every JSON block is one value, or a few.
#[test]
fn what_is_shown_as_json_is_json() {
    let blocks = blocks(&["json"]);
    for (page, block) in &blocks {
        for value in serde_json::Deserializer::from_str(block).into_iter::<serde_json::Value>() {
            assert!(value.is_ok(), "{}: {value:?}\n{block}", page.display());
        }
    }
    assert!(blocks.len() > 10, "only {} blocks were found", blocks.len());
}
