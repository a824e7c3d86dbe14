//! The patch stage on small trees: `testdata/patches/NAME/{input.patch,tree/,expect.txt}`, and its algebra on random texts.
//!
//! `expect.txt` is either `error ID` followed by texts that the message must contain, one a line, or `file PATH` with the
//! content that the file must have up to the next `file`, and `finding ID` lines. `fuzz N` first asks for fuzz.

use std::path::Path;

use klp_extract::finding::Finding;
use klp_extract::patch::{Applied, FileState, apply, apply_all, read, relevant_files};

fn run(folder: &Path, fuzz: u8) -> Result<Applied, Vec<Finding>> {
    let input = std::fs::read(folder.join("input.patch")).unwrap();
    let work = || {
        let sets = read(&[("input.patch".into(), input)], None)?;
        let (_, notes) = relevant_files(&sets)?;
        let mut applied = apply_all(&sets, &folder.join("tree"), fuzz)?;
        applied.findings.extend(notes);
        Ok(applied)
    };
    work().map_err(|klp_extract::finding::Error::Refused(findings)| findings)
}

fn case(folder: &Path) {
    let name = folder.display();
    let expect = std::fs::read_to_string(folder.join("expect.txt")).unwrap();
    let fuzz = expect.strip_prefix("fuzz ").map_or(0, |r| r[..1].parse().unwrap());
    let expect = expect.split_once("fuzz ").map_or(expect.as_str(), |(_, rest)| rest.split_once('\n').unwrap().1);
    let result = run(folder, fuzz);
    if let Some(rest) = expect.strip_prefix("error ") {
        let (id, texts) = rest.split_once('\n').unwrap_or((rest, ""));
        let findings = result.err().unwrap_or_else(|| panic!("{name}: is not refused"));
        assert_eq!(findings[0].id.0.id, id.trim(), "{name}: {findings:?}");
        for text in texts.lines() {
            assert!(findings[0].to_string().contains(text), "{name}: `{text}` is not in:\n{}", findings[0]);
        }
        return;
    }
    let applied = result.unwrap_or_else(|f| panic!("{name}: {f:?}"));
    let mut got = String::new();
    for finding in &applied.findings {
        got.push_str(&format!("finding {}\n", finding.id.0.id));
    }
    for (path, state) in &applied.files {
        match state {
            FileState::Content(bytes) => got.push_str(&format!("file {path}\n{}", String::from_utf8_lossy(bytes))),
            FileState::Deleted => got.push_str(&format!("deleted {path}\n")),
        }
    }
    assert_eq!(got, expect, "{name}");
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/patches");
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= 10);
    all.iter().for_each(|folder| case(folder));
}

/// A small generator (xorshift64*), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn line(&mut self) -> Vec<u8> {
        const LINES: [&[u8]; 8] =
            [b"\n", b"{\n", b"}\n", b"-- \n", b"\xff\xfe\n", b"\treturn 0;\n", b"+++ x\n", b"a\r\n"];
        match self.below(4) {
            0 => LINES[self.below(8) as usize].to_vec(),
            _ => format!("line {}\n", self.below(1000)).into_bytes(),
        }
    }
}

#[test]
fn apply_is_the_inverse_of_diff() {
    for seed in 1..600 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let mut old: Vec<Vec<u8>> = (0..random.below(60)).map(|_| random.line()).collect();
        let mut new = Vec::new();
        for line in &old {
            match random.below(12) {
                0 => {}
                1 => new.extend([line.clone(), random.line()]),
                2 => new.push(random.line()),
                _ => new.push(line.clone()),
            }
        }
        for text in [&mut old, &mut new] {
            if random.below(3) == 0
                && let Some(last) = text.last_mut()
                && last.len() > 1
            {
                last.pop();
            }
        }
        let (old, new) = (old.concat(), new.concat());
        let diff = diffy::DiffOptions::new()
            .set_original_filename("a/fs/x.c")
            .set_modified_filename("b/fs/x.c")
            .create_patch_bytes(&old, &new)
            .to_bytes();
        if old == new {
            continue;
        }
        let sets = read(&[("p".into(), diff)], None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let file = &sets[0].files[0];
        let there = apply(file, Some(&old), 0).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(there.state, FileState::Content(new.clone()), "seed {seed}");
        assert!(there.hunks.iter().all(|h| h.offset == 0 && h.fuzz == 0), "seed {seed}");
        let back = apply(&file.reverse(), Some(&new), 0).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(back.state, FileState::Content(old), "seed {seed}");
    }
}
