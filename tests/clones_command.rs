//! `klp-extract clones`: `testdata/clones/NAME/{*.ipa-clones,args,expect.txt}`. What the program prints (output, then
//! messages) and its exit status must be `expect.txt`.

use std::fmt::Write as _;
use std::path::Path;

use klp_extract::affected::clones::CloneReport;
use klp_extract::affected::forest::{Forest, View};
use klp_extract::process::Program;

/// Runs the program and yields what it printed, with its exit status.
fn clones(folder: &Path, args: &[&str]) -> String {
    // `process` yields only whether it succeeded; 2 is the one failure that this command has.
    let program = Program::new(env!("CARGO_BIN_EXE_klp-extract")).arg("clones").args(args).folder(folder);
    let output = program.output().unwrap();
    let status = if output.success { 0 } else { 2 };
    let text = [output.stdout, output.stderr].concat();
    format!("{}exit status {status}\n", String::from_utf8(text).unwrap())
}

#[test]
fn every_case() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/clones");
    let mut cases: Vec<_> = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 8, "cases are missing");
    for case in cases {
        let files = std::fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut reports: Vec<String> = files.filter(|name| name.ends_with(".ipa-clones")).collect();
        reports.sort();
        let args = std::fs::read_to_string(case.join("args")).unwrap();
        let args: Vec<&str> = reports.iter().map(String::as_str).chain(args.split_whitespace()).collect();
        let expected = std::fs::read_to_string(case.join("expect.txt")).unwrap();
        assert_eq!(clones(&case, &args), expected, "{}", case.display());
    }
}

/// The shape of a kernel's report: chains and fans, and one helper that is nearly everywhere.
fn generated(lines: u32) -> String {
    let mut text = String::new();
    for i in 0..lines / 2 {
        let (from, to) = (i / 9, i / 3 + 1);
        let from_line = format!("f{from};{from};include/linux/a{}.h;{from};12", from % 97);
        writeln!(text, "Callgraph clone;{from_line};f{to};{to};fs/b{}.c;{to};5;inlining to", to % 89).unwrap();
        writeln!(text, "Callgraph removal;{from_line}").unwrap();
    }
    text
}

#[test]
fn a_million_lines() {
    // Anything whose time is not linear would not end in the time that a test run has.
    const LINES: u32 = 1_000_000;
    let text = generated(LINES);
    let report = CloneReport::parse(&text, "generated").unwrap();
    let forest = Forest::of(vec![("generated".into(), report)], false);
    let shown = forest.text(View { symbol: Some("f0"), ignore_removed: false }).unwrap();
    assert!(shown.lines().count() > LINES as usize / 20);
}

/// A chain of clones as deep as this needs a stack of its own, and a ladder of diamonds has 2^20000 ways through it.
#[test]
fn deep_and_wide_graphs_end() {
    const RUNGS: u32 = 20_000;
    let line =
        |from: u32, to: u32| format!("Callgraph clone;f{from};{from};a.c;{from};1;f{to};{to};a.c;{to};1;inlining to\n");
    let chain: String = (0..5 * RUNGS).map(|at| line(at, at + 1)).collect();
    let ladder: String = (0..RUNGS)
        .map(|rung| 3 * rung)
        .flat_map(|at| [line(at, at + 1), line(at, at + 2), line(at + 1, at + 3), line(at + 2, at + 3)])
        .collect();
    let ring = format!("{chain}{}", line(5 * RUNGS, 0));
    for (text, affected) in [(chain, 5 * RUNGS), (ladder, 3 * RUNGS), (ring, 5 * RUNGS)] {
        let forest = Forest::of(vec![("generated".into(), CloneReport::parse(&text, "generated").unwrap())], false);
        let shown = forest.text(View { symbol: Some("f0"), ignore_removed: false }).unwrap();
        assert!(shown.contains(&format!("Affected functions: {affected}\n")), "{}", &shown[..200]);
    }
}

#[test]
fn trees_that_grow_with_the_square_have_an_end() {
    let mut text = String::new();
    for i in 0..10_000u32 {
        writeln!(text, "Callgraph clone;f{i};{i};a.c;{i};1;f{0};{0};a.c;{0};1;inlining to", i + 1).unwrap();
    }
    let report = CloneReport::parse(&text, "chain").unwrap();
    let forest = Forest::of(vec![("chain".into(), report)], false);
    let all = View { symbol: None, ignore_removed: false };
    for refused in [forest.text(all), forest.json(all), forest.dot(all)] {
        assert!(refused.unwrap_err().to_string().contains("name one with --symbol"));
    }
    assert_eq!(forest.text(View { symbol: Some("f9999"), ..all }).unwrap().lines().count(), 6);
}
