//! The review page in a browser, and a patch that is full of markup through every rendering.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::{in_ci, kernel, root};

/// Tells a script that ran from one that did not.
const RAN: &str = "document.title='ran'";

/// What the browser made of a page, as markup; `None` where there is no browser.
fn dom(page: &Path) -> Option<String> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|browser| {
        let profile = tempfile::tempdir().unwrap();
        let mut program = Command::new("timeout");
        program.args(["300", browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
        program.arg(format!("--user-data-dir={}", profile.path().display()));
        let output = program.arg(format!("file://{}", page.display())).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    if found.is_none() {
        assert!(!in_ci(), "there is no chromium; nothing is skipped in CI");
        eprintln!("skipped: the page in a browser: `make setup` installs chromium");
    }
    found
}

/// Runs the program in a folder.
fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(kernel::PROGRAM).args(args).current_dir(folder).output().unwrap()
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// The hostile patch under a hostile name.
fn hostile(folder: &Path) -> String {
    let name = "<img src=x onerror=document.title='ran'>&\".patch";
    let patch = std::fs::read(root().join("testdata/hostile/fix.patch")).unwrap();
    std::fs::write(folder.join(name), patch).unwrap();
    name.into()
}

#[test]
fn markup_of_a_patch_stays_text_in_every_rendering() {
    let release = kernel::prepared().descriptor.name.clone();
    let scratch = tempfile::tempdir().unwrap();
    let name = hostile(scratch.path());
    let allow = format!("half-pair=*/ <script>{RAN}</script>");
    let create = run(scratch.path(), &["create", &name, "-k", &release, "-o", "out", "--allow", &allow]);
    let said = String::from_utf8_lossy(&create.stderr).into_owned();
    assert!(create.status.success(), "{said}");
    assert!(said.contains("file-ignored") && !said.contains('\u{1b}'), "{said:?}");
    let out = scratch.path().join("out");
    let read = |file: &str| std::fs::read_to_string(out.join(file)).unwrap();

    // The comment at the top of the C ends where it should, and the code is there as it is.
    let code = read("out.c");
    let comment = &code[..code.find("*/").unwrap()];
    assert!(comment.contains("livepatch.json has the reason") && comment.contains("Allowed: half-pair"), "{comment}");
    assert!(code.contains(&format!("\"</script><script>{RAN}</script>")), "{code}");

    let value: serde_json::Value = serde_json::from_str(&read("livepatch.json")).unwrap();
    assert!(value["inputs"].as_object().unwrap().contains_key(&format!("patch {name}")));

    let page = read("review.html");
    // The page's own script and no other; no element of the patch's.
    assert_eq!((count(&page, "<script"), count(&page, "</script")), (1, 1));
    for tag in ["<img", "<svg onload", "<b>bold", "<iframe"] {
        assert_eq!(count(&page, tag), 0, "{tag}");
    }
    assert!(page.contains("&lt;img src=x onerror="), "the name is shown");
    in_browser(&out.join("review.html"));

    let plan = run(scratch.path(), &["plan", &name, "-k", &release, "--message-format", "sarif"]);
    let sarif: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let ignored = results.iter().find(|result| result["ruleId"] == "file-ignored").unwrap();
    let uri = ignored["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("Documentation/%3Cimg") && !uri.contains(['<', ' ', '\'']), "{uri}");

    let lines = run(scratch.path(), &["plan", &name, "-k", &release, "--message-format", "json"]);
    let text = String::from_utf8(lines.stdout).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_string())
        .collect();
    assert!(ids.contains(&"file-ignored".to_string()), "{ids:?}");
}

/// What a reader sees, after scripts have run.
fn in_browser(page: &Path) {
    let Some(dom) = dom(page) else { return };
    assert!(dom.contains("<title>Review of out</title>"), "a script of the patch ran: {}", &dom[..dom.len().min(2000)]);
    assert_eq!(count(&dom, "<script"), 1);
    assert_eq!(count(&dom, "<img"), 0);
    for id in ["findings", "targets", "u0", "u0t0", "u0text", "u0i0", "inputs"] {
        assert_eq!(count(&dom, &format!("id=\"{id}\"")), 1, "{id}");
    }
    assert_eq!(count(&dom, "<input type=\"checkbox\""), count(&dom, "class=\"finding"), "a box for each finding");
    assert!(count(&dom, "<rect ") > 1 && count(&dom, "<polyline ") > 0, "the graph is there");
    // Every link leads somewhere.
    for link in dom.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert_eq!(count(&dom, &format!("id=\"{link}\"")), 1, "#{link}");
    }
    // The lines of the emitted C are those of the file.
    let code = std::fs::read_to_string(page.with_file_name("out.c")).unwrap();
    assert_eq!(count(&dom, "<tr id=\"u0l"), code.lines().count());
}
