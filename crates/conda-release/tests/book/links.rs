use std::{collections::BTreeSet, path::Path};

use crate::{Page, pages, root};

/// Where the links of a page lead: targets in parentheses, and those of references.
fn targets(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let inline = prose.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split(')').next());
    let references = prose.lines().filter_map(|line| {
        let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
        (!name.is_empty()).then_some(target)
    });
    inline.chain(references).map(str::to_owned).collect()
}

/// The name of a heading in a link, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}

fn anchors(page: &Page) -> BTreeSet<String> {
    let prose = page.prose();
    let headings = prose.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let pages = pages();
    for page in &pages {
        for target in targets(page) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let at = format!("{}: {target}", page.path.display());
            let folder = page.path.parent().unwrap();
            let file = match file {
                "" => root().join(&page.path),
                file => root().join(folder).join(file),
            };
            assert!(file.exists(), "{at}: no such file");
            let is_page = |other: &&Page| root().join(&other.path) == file.canonicalize().unwrap();
            if !fragment.is_empty() {
                let other = pages.iter().find(is_page).expect("a link into a page");
                assert!(anchors(other).contains(fragment), "{at}: no such heading");
            }
        }
    }
}

/// Where files of this repository are, for who reads the book elsewhere.
const REPOSITORY: &str = "https://github.com/conda-release/conda-release/blob/main/";

#[test]
fn a_link_out_of_the_book_leads_to_a_file_of_the_repository_by_its_address() {
    let mut lead_out = 0;
    for page in pages().iter().filter(|page| page.path.starts_with("docs")) {
        for target in targets(page) {
            let at = format!("{}: {target}", page.path.display());
            if let Some(file) = target.strip_prefix(REPOSITORY) {
                let file = file.split('#').next().unwrap_or_default();
                assert!(root().join(file).exists(), "{at}: no such file");
                lead_out += 1;
            } else if !target.contains("://") {
                // A built book has its own pages and nothing beside them.
                let folder = page.path.parent().unwrap();
                let file = target.split('#').next().unwrap_or_default();
                let file = root().join(folder).join(file).canonicalize().unwrap();
                assert!(file.starts_with(root().join("docs")), "{at}");
            }
        }
    }
    assert!(lead_out > 0);
}

#[test]
fn every_page_of_the_book_is_in_its_summary_once() {
    let pages = pages();
    let summary = pages
        .iter()
        .find(|page| page.path == Path::new("docs/SUMMARY.md"));
    let mut listed = targets(summary.unwrap());
    listed.sort();
    let mut there: Vec<String> = pages
        .iter()
        .filter_map(|page| page.path.strip_prefix("docs").ok())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| path != "SUMMARY.md")
        .collect();
    there.sort();
    assert_eq!(listed, there);
}
