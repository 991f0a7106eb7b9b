//! `report.html` in a real browser: what it loads, what it says, and whether everybody can read it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sample;

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use end_to_end::{Browser, Gate, Workspace};
use fs_err as fs;
use rustix::process::Signal;
use serde_json::{Value, json};

use sample::Sample;

/// A wide window and a narrow one.
const WINDOWS: [(u32, u32); 2] = [(1280, 900), (380, 800)];
const SCHEMES: [&str; 2] = ["light", "dark"];
/// What somebody writes who hopes that it is taken for more than text.
const HOSTILE: &str = "javascript:alert(1)//\"'><script>alert(2)</script><img src=x onerror=alert(3)>\u{1b}[2J\u{202e}\u{7}";

/// The ratio of the poorest contrast between a text and what it stands on, and that text.
const CONTRAST: &str = r#"(() => {
    const channels = color => { const all = color.match(/[\d.]+/g).map(Number); return all.length < 4 ? [...all, 1] : all; };
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const ground = element => {
        const node = element.closest('.node');
        if (node) return channels(getComputedStyle(node.querySelector('rect')).fill);
        for (; element; element = element.parentElement) {
            const color = channels(getComputedStyle(element).backgroundColor);
            if (color[3] > 0) return color;
        }
        return [255, 255, 255, 1];
    };
    let poorest = [99, ''];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || element.closest('title') || !element.getClientRects().length) continue;
        const style = getComputedStyle(element);
        const color = channels(element.closest('svg') ? style.fill : style.color);
        const [one, two] = [light(color), light(ground(element))];
        const ratio = (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
        if (ratio < poorest[0]) poorest = [ratio, texts.currentNode.data];
    }
    return poorest;
})()"#;

/// What sticks out of the window, but for what scrolls by itself.
const OUTSIDE: &str = r"[...document.querySelectorAll('body *')]
    .filter(element => !element.closest('.scroll') && !element.closest('.skip') && !element.closest('thead')
        && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(element => element.outerHTML.slice(0, 200))";

/// What is wrong with the document for who doesn't see it.
const FAULTS: &str = r"(() => {
    const faults = [];
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    if (new Set(ids).size !== ids.length) faults.push('an id is used twice');
    for (const table of document.querySelectorAll('table'))
        if (!table.caption || !table.caption.textContent.trim()) faults.push('a table without a caption');
    let level = 0;
    for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
        const next = Number(heading.tagName[1]);
        if (next > level + 1) faults.push('a heading skips a level: ' + heading.textContent);
        level = next;
    }
    for (const link of document.querySelectorAll('a')) {
        const address = link.getAttribute('href');
        if (address.startsWith('#') ? !document.getElementById(address.slice(1)) : !/^https?:\/\//.test(address))
            faults.push('a link to ' + address);
    }
    for (const element of document.querySelectorAll('*')) {
        for (const attribute of element.attributes)
            if (attribute.name.startsWith('on') || attribute.name === 'style') faults.push(attribute.name + ' on ' + element.tagName);
        if (['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'IMG', 'FORM', 'BASE'].includes(element.tagName)) faults.push('a ' + element.tagName);
    }
    return faults;
})()";

/// Looks at a page in every window and scheme, with everything open and closed.
fn look_at(browser: &mut Browser, file: &Path, name: &str) {
    for (width, height) in WINDOWS {
        for scheme in SCHEMES {
            browser.window(width, height, scheme);
            let events = browser.open(file);
            let said = [
                "Runtime.consoleAPICalled",
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Page.javascriptDialogOpening",
            ];
            let said: Vec<&Value> = events
                .iter()
                .filter(|event| said.iter().any(|method| event["method"] == *method))
                .collect();
            assert!(said.is_empty(), "the console says {said:?}");
            let requests = events
                .iter()
                .filter(|event| event["method"] == "Network.requestWillBeSent");
            let requests: Vec<&str> = requests
                .filter_map(|event| event["params"]["request"]["url"].as_str())
                .filter(|url| !url.starts_with("data:"))
                .collect();
            assert_eq!(
                requests,
                [format!("file://{}", file.display())],
                "nothing but the page is asked for"
            );
            for open in ["false", "true"] {
                browser.evaluate(&format!(
                    "document.querySelectorAll('details').forEach(details => details.open = {open})"
                ));
                let scrolls = browser.evaluate("document.scrollingElement.scrollWidth");
                let outside = browser.evaluate(OUTSIDE);
                assert!(
                    scrolls.as_u64().unwrap() <= width.into(),
                    "{scrolls} in a window of {width}: {outside:#}"
                );
                assert_eq!(outside, json!([]), "in a window of {width}");
                keep_picture(browser, &format!("{name}-{width}-{scheme}-{open}"));
                if open == "false" {
                    continue;
                }
                let poorest = browser.evaluate(CONTRAST);
                assert!(
                    poorest[0].as_f64().unwrap() >= 4.5,
                    "contrast of {poorest} in {scheme}"
                );
            }
            assert_eq!(browser.evaluate(FAULTS), json!([]));
        }
    }
    everything_has_a_name(browser);
    what_is_focused_shows(browser, file);
    what_is_closed_is_printed(browser, file);
}

/// Keeps a picture for people to look at, in the folder that `REPORT_PICTURES` names.
fn keep_picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("REPORT_PICTURES").filter(|folder| !folder.is_empty()) {
        let picture = BASE64_STANDARD.decode(browser.picture()).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }
}

fn everything_has_a_name(browser: &mut Browser) {
    browser.call("Accessibility.enable", json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    // While it is on, every change of the page is told.
    browser.call("Accessibility.disable", json!({}));
    let nodes: Vec<&Value> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ignored"] == false)
        .collect();
    let role = |node: &Value| {
        node["role"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let named = [
        "link",
        "region",
        "table",
        "heading",
        "navigation",
        "image",
        "columnheader",
        "rowheader",
    ];
    for node in nodes
        .iter()
        .filter(|node| named.contains(&role(node).as_str()))
    {
        let name = node["name"]["value"].as_str().unwrap_or_default();
        assert!(!name.trim().is_empty(), "without a name: {node:#}");
    }
    for landmark in [
        "banner",
        "navigation",
        "main",
        "contentinfo",
        "table",
        "link",
    ] {
        assert!(
            nodes.iter().any(|node| role(node) == landmark),
            "no {landmark}"
        );
    }
}

fn what_is_focused_shows(browser: &mut Browser, file: &Path) {
    browser.open(file);
    for key in ["keyDown", "keyUp"] {
        let tab = json!({ "type": key, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
        browser.call("Input.dispatchKeyEvent", tab);
    }
    let focused = browser.evaluate(
        "[document.activeElement.className, document.activeElement.getBoundingClientRect().left >= 0, getComputedStyle(document.activeElement).outlineStyle]",
    );
    assert_eq!(focused, json!(["skip", true, "solid"]));
}

fn what_is_closed_is_printed(browser: &mut Browser, file: &Path) {
    browser.open(file);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    let hidden = browser.evaluate(
        "[...document.querySelectorAll('details')].filter(details => getComputedStyle(details, '::details-content').contentVisibility !== 'visible').length",
    );
    assert_eq!(hidden, 0, "parts that do not print");
}

fn written(workspace: &Workspace, name: &str, page: &str) -> PathBuf {
    workspace.write(name, page);
    workspace.path(name)
}

#[test]
fn a_live_release_reads_well_in_every_window() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let workspace = Workspace::plain();
    for (name, sample) in [
        ("live", Sample::new(14, false, "")),
        ("failed", Sample::new(30, true, "")),
        ("many", Sample::new(200, false, "")),
        ("empty", Sample::new(0, false, "")),
    ] {
        let file = written(&workspace, &format!("{name}.html"), &sample.page());
        look_at(&mut browser, &file, name);
    }
}

#[test]
fn what_somebody_wrote_to_be_more_than_text_is_text() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let workspace = Workspace::plain();
    let page = Sample::new(9, true, HOSTILE).page();
    let unseen = page
        .chars()
        .filter(|c| *c != '\n' && cep27::is_invisible(*c));
    assert_eq!(unseen.count(), 0, "characters that are not seen");
    let file = written(&workspace, "hostile.html", &page);
    look_at(&mut browser, &file, "hostile");
    let text = browser.evaluate("document.body.textContent");
    for part in [
        "javascript:alert(1)//\"'>",
        "<script>alert(2)</script>",
        "<img src=x onerror=alert(3)>\u{fffd}[2J\u{fffd}\u{fffd}",
    ] {
        assert!(text.as_str().unwrap().contains(part), "{part} is not shown");
    }
}

#[test]
fn a_rehearsal_is_reported_however_it_ends() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0).says("report.html");
    let file = workspace.rehearsal("report.html");
    look_at(&mut browser, &file, "rehearsal");
    let text = browser
        .evaluate("document.body.textContent")
        .as_str()
        .unwrap()
        .to_owned();
    for part in [
        "2 packages rehearsed",
        "conda-release verify",
        "--trust sandbox",
        "cosign verify-blob-attestation",
        "sandbox",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let links =
        browser.evaluate("[...document.querySelectorAll('a[href^=http]')].map(link => link.href)");
    assert_eq!(links, json!([]), "a rehearsal is nowhere on the web");

    // A build that fails, with what it said last.
    workspace.script(
        "third",
        &["echo '<b>bold</b> and ::error::loud'", "false"],
        "",
    );
    workspace.run(["release"]).ends(4);
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("1 of 3 packages failed"), "{page}");
    assert!(
        page.contains("&lt;b&gt;bold&lt;/b&gt; and ::error::loud"),
        "the end of its log: {page}"
    );
    look_at(&mut browser, &file, "rehearsal-failed");

    // A release that ends with an error after it began is reported as far as it came.
    fs::remove_file(&file).unwrap();
    fs::remove_dir_all(workspace.rehearsal("sandbox")).unwrap();
    fs::write(workspace.rehearsal("sandbox"), "no folder").unwrap();
    fs::remove_dir_all(workspace.path("recipes/third")).unwrap();
    let output = workspace.run(["release"]);
    assert_ne!(output.status, Some(0), "{output}");
    assert!(file.is_file(), "{output}");
}

#[test]
fn what_many_machines_made_is_one_page() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let workspace = Workspace::with_two_packages();
    let lines = ["echo '<b>bold</b> and ::error::loud'", "false"];
    workspace.script("third", &lines, "requirements:\n  host:\n    - second\n");
    workspace.script("fourth", &["true"], "requirements:\n  host:\n    - third\n");
    workspace.commit();
    workspace.run(["plan", "--shard-by", "recipe"]).ends(0);
    let (planned, built) = (workspace.beside("planned"), workspace.beside("built"));
    fs::rename(workspace.rehearsal("shards"), &planned).unwrap();
    fs::create_dir(&built).unwrap();
    let plan = planned.join("plan.json").display().to_string();
    let from = built.display().to_string();
    for (shard, status) in [("1", 0), ("2", 0), ("3", 4), ("4", 9)] {
        let output = format!("target/machine-{shard}");
        let build = ["--output", &output, "build", "--plan", &plan];
        let build = [&build[..], &["--shard", shard, "--from", &from]].concat();
        workspace.run(build).ends(status);
        let shard = format!("shard-{shard}");
        let handed = workspace.path(output).join("rehearsal").join(&shard);
        fs::rename(handed, built.join(shard)).unwrap();
    }
    workspace.run(["merge", "--plan", &plan, &from]).ends(9);
    let file = workspace.rehearsal("report.html");
    look_at(&mut browser, &file, "merged");
    let text = browser.evaluate("document.body.textContent");
    let text = text.as_str().unwrap();
    for part in [
        "1 of 4 packages failed",
        "first-1.0.0-",
        "second-1.0.0-",
        "third-1.0.0-",
        "fourth-1.0.0-",
        "<b>bold</b> and ::error::loud",
        "What waits for it",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_release_is_reported_as_far_as_it_came() {
    let workspace = Workspace::with_one_package();
    let gate = Gate::new(&workspace, "gate");
    workspace.script("slow", &[&gate.line()], "");
    let running = workspace.start(["release"]);
    gate.wait();
    running.signal(Signal::INT);
    running.wait().ends(130);
    let page = fs::read_to_string(workspace.rehearsal("report.html")).unwrap();
    assert!(page.contains("2 packages planned"), "{page}");
}
