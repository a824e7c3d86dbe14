//! The clone report's parser: every kind of line, and every way in which a report can be broken.

use std::fmt::Write as _;

use klp_extract::affected::clones::{CloneReport, Tag};
use klp_extract::finding::{Error, REPORT_INVALID};

const REPORT: &str = "\
Callgraph clone;helper;12;a.c;3;12;api;14;a.c;9;5;inlining to
Callgraph clone;work;13;a.c;5;12;work.constprop.0;20;a.c;5;12;constprop
Callgraph clone;work.constprop.0;20;a.c;5;12;work.constprop.0.isra.0;21;a.c;5;12;isra
Callgraph clone;fetch;15;a.c;20;12;fetch.part.0;22;a.c;20;12;part
Callgraph clone;tree;16;a.c;30;6;tree;23;a.c;30;6;(null)
Callgraph clone;wide;17;a.c;40;6;wide.simdclone.0;24;a.c;40;6;simdclone
Callgraph clone;old.part.3;31;b.c;2;5;<-;old;30;b.c;2;5;optimization:;inlining to
Callgraph removal;helper;12;a.c;3;12
";

fn steps(report: &CloneReport, roots: &[&str]) -> Vec<(String, String, Tag)> {
    report.holders(roots.iter().copied()).into_iter().map(|step| (step.from, step.to, step.tag)).collect()
}

#[test]
fn every_kind_of_line() {
    let report = CloneReport::parse(REPORT, "a.c.000i.ipa-clones").unwrap();
    let step = |from: &str, to: &str, tag| (from.to_string(), to.to_string(), tag);
    assert_eq!(steps(&report, &["helper"]), [step("helper", "api", Tag::Inlined)]);
    assert_eq!(
        steps(&report, &["work"]),
        [
            step("work", "work.constprop.0", Tag::Constprop),
            step("work.constprop.0", "work.constprop.0.isra.0", Tag::Isra)
        ]
    );
    assert_eq!(steps(&report, &["fetch"]), [step("fetch", "fetch.part.0", Tag::Part)]);
    assert_eq!(steps(&report, &["wide"]), [step("wide", "wide.simdclone.0", Tag::Other("simdclone".into()))]);
    assert_eq!(steps(&report, &["old.part.3"]), [step("old.part.3", "old", Tag::Inlined)]);
    // A copy under its own name is no other function, but its edges count.
    assert_eq!(steps(&report, &["tree"]), []);
    assert_eq!(steps(&report, &["nobody"]), []);
    let removed: Vec<&str> = report.graph.node_weights().filter(|node| node.removed).map(|node| &*node.name).collect();
    assert_eq!(removed, ["helper"]);
}

#[test]
fn nodes_of_one_name_are_told_apart_by_order() {
    let text = "\
Callgraph clone;get;1;a.h;3;12;first;5;a.c;9;5;inlining to
Callgraph clone;get;2;b.h;3;12;second;6;a.c;19;5;inlining to
Callgraph removal;get;2;b.h;3;12
";
    let report = CloneReport::parse(text, "a").unwrap();
    assert_eq!(report.graph.node_count(), 4);
    assert_eq!(report.graph.node_weights().filter(|node| node.removed).count(), 1);
    // The source's name alone doesn't say which is meant: both are followed.
    assert_eq!(steps(&report, &["get"]).len(), 2);
}

#[test]
fn a_cycle_ends() {
    let text = "\
Callgraph clone;a;1;a.c;3;12;b;2;a.c;9;5;inlining to
Callgraph clone;b;2;a.c;9;5;a;1;a.c;3;12;inlining to
";
    assert_eq!(steps(&CloneReport::parse(text, "a").unwrap(), &["a"]).len(), 1);
}

#[test]
fn broken_reports_are_refused_with_the_line() {
    let good = "Callgraph removal;helper;12;a.c;3;12\n";
    for (text, line) in [
        (String::new(), 1),
        (format!("{good}Callgraph removal;helper;12;a.c;3;1"), 2),
        (format!("{good}Callgraph clone;helper;12;a.c;3;12;api;14;a.c;9\n"), 2),
        (format!("{good}{good}Callgraph clone;helper;x;a.c;3;12;api;14;a.c;9;5;inlining to\n"), 3),
        (format!("{good}Callgraph clone;helper;12;a.c;3;12;api;14;a.c;9;5;\n"), 2),
        (format!("{good}Callgraph removal;;12;a.c;3;12\n"), 2),
        (format!("{good}\n"), 2),
        (format!("{good}Callgraph clone;helper;12;a.c;3;12;api;14;a.c;9;5;inlining to\r\n"), 2),
        (format!("{good}Callgraph clone;helper;12;a.c;3;12;<-;api;14;a.c;9;5;optimization:;\n"), 2),
        (format!("{good}Callgraph removal;helper;99999999999;a.c;3;12\n"), 2),
        (format!("{good}Callgraph clone;helper;12;a;b.c;3;12;api;14;a.c;9;5;inlining to\n"), 2),
        ("GCC: (Debian 12.2.0) 12.2.0\n".into(), 1),
        (format!("{good}{}\n", ";".repeat(40)), 2),
    ] {
        let Err(Error::Refused(findings)) = CloneReport::parse(&text, "x.ipa-clones") else {
            panic!("accepted: {text:?}");
        };
        assert_eq!(findings[0].id, REPORT_INVALID);
        assert_eq!(findings[0].line, Some(line), "{text:?}");
    }
}

/// Cut anywhere, a report is refused, unless the cut is between two lines, which nothing in it can tell.
#[test]
fn cut_reports_are_refused() {
    for end in (0..REPORT.len()).filter(|end| REPORT.is_char_boundary(*end)) {
        let cut = &REPORT[..end];
        assert_eq!(CloneReport::parse(cut, "x").is_ok(), cut.ends_with('\n'), "{cut:?}");
    }
}

#[test]
fn a_million_lines() {
    // A parser or a walk whose time is not linear would not end in the time that a test run has.
    const LINES: u32 = 1_000_000;
    let mut text = String::new();
    for i in 0..LINES {
        // Three lines a function, as the kernel's reports have.
        let (from, to) = (i / 9, i / 3 + 1);
        writeln!(text, "Callgraph clone;f{from};{from};a.c;3;12;f{to};{to};a.c;9;5;inlining to").unwrap();
    }
    let report = CloneReport::parse(&text, "big").unwrap();
    let steps = report.holders(["f0"]);
    assert!(steps.len() > LINES as usize / 4);
}
