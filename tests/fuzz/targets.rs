//! Every reader of what comes from elsewhere, as a function of bytes that must not panic, hang or need memory out of
//! proportion. `tests/fuzz` runs them on mutated seeds; the crate `fuzz/` by libFuzzer.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use klp_extract::affected::clones::CloneReport;
use klp_extract::audit::tables;
use klp_extract::bundle::Bundle;
use klp_extract::candidates::depends;
use klp_extract::check::reading;
use klp_extract::config::{self, House};
use klp_extract::edits::pieces::pieces;
use klp_extract::finding::{Error, Finding};
use klp_extract::kernel::commands::{self, Commands, Trees};
use klp_extract::kernel::config::Config;
use klp_extract::kernel::{Descriptor, image, kallsyms_text, memory, modules, parse_kallsyms, symvers};
use klp_extract::link::{link_bytes, symbols_file};
use klp_extract::object::compare::compare;
use klp_extract::object::{facts::Facts, sound, types};
use klp_extract::patch::{self, FileState, Operation, keep_lines};
use klp_extract::render::{self, folder, json, message};
use klp_extract::unit::groups::Outline;
use klp_extract::unit::lex::{self, Interner};
use klp_extract::unit::{expand, place};

/// A reader.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "patch", run: patch },
    Target { name: "lines", run: lines },
    Target { name: "clone-report", run: clone_report },
    Target { name: "symbols", run: symbols },
    Target { name: "commands", run: build_commands },
    Target { name: "lex", run: tokens },
    Target { name: "expand", run: expanded },
    Target { name: "pieces", run: source_pieces },
    Target { name: "reading", run: second_reading },
    Target { name: "object", run: object_file },
    Target { name: "link", run: link },
    Target { name: "module", run: module },
    Target { name: "image", run: kernel_image },
    Target { name: "kallsyms", run: kallsyms },
    Target { name: "json", run: written },
    Target { name: "bundle", run: bundle },
    Target { name: "config", run: configuration },
    Target { name: "template", run: template },
];

/// What refuses has something to say, in every rendering.
fn said(error: Error) {
    let Error::Refused(findings) = error;
    assert!(!findings.is_empty(), "a refusal without a finding");
    findings.iter().for_each(shown);
}

fn shown(finding: &Finding) {
    let text = message::short(finding, message::Look::default());
    assert!(!text.is_empty() && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
}

fn patch(data: &[u8]) {
    let sets = match patch::read(&[("fuzz.patch".into(), data.to_vec())], None) {
        Ok(sets) => sets,
        Err(error) => return said(error),
    };
    for file in sets.iter().flat_map(|set| &set.files) {
        let plain = Path::new(&file.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(plain, "{} leaves the tree", file.path);
        // The file that the patch is about, as far as the patch knows it.
        let mut old: Vec<u8> = Vec::new();
        let mut line = 1;
        for hunk in &file.hunks {
            if hunk.old_start > 20_000 {
                return;
            }
            while line < hunk.old_start {
                old.extend_from_slice(format!("line {line}\n").as_bytes());
                line += 1;
            }
            hunk.old().iter().for_each(|text| old.extend_from_slice(text));
            line += hunk.old().len();
        }
        let before = (file.operation != Operation::Create).then_some(old.as_slice());
        let Ok(applied) = patch::apply(file, before, 0) else { continue };
        let after = match &applied.state {
            FileState::Content(bytes) => Some(bytes.as_slice()),
            FileState::Deleted => None,
        };
        let back = patch::apply(&file.reverse(), after, 0);
        // A hunk without context has no place that could be found again.
        if let Ok(back) = back {
            match (&back.state, before) {
                (FileState::Content(bytes), Some(old)) => assert_eq!(bytes, old, "the reverse isn't the reverse"),
                (FileState::Deleted, None) => {}
                state => panic!("the reverse isn't the reverse: {state:?}"),
            }
        }
    }
}

/// Two texts, cut at the first NUL.
fn lines(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len() / 2);
    let (old, new) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let kept = keep_lines(old, new);
    let plain: Vec<&[u8]> = kept.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"#line ")).collect();
    let expected: Vec<&[u8]> =
        new.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"#line ")).collect();
    assert_eq!(plain, expected);
}

fn clone_report(data: &[u8]) {
    match CloneReport::parse(&String::from_utf8_lossy(data), "fuzz.ipa-clones") {
        Ok(report) => drop(report.holders(["main", "f"])),
        Err(error) => said(error),
    }
}

fn symbols(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = symvers::parse(&text);
    if let Some(symbols) = parse_kallsyms(&text) {
        assert_eq!(parse_kallsyms(&kallsyms_text(&symbols)), Some(symbols));
    }
    let _ = Config::parse(&text).refuse_unsupported();
    let (entries, findings) = symbols_file::parse(&text, "klp.symbols");
    findings.iter().for_each(shown);
    assert_eq!(symbols_file::parse(&symbols_file::render(&entries), "klp.symbols").0, entries);
}

fn build_commands(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let trees = Trees { source: Path::new("/s"), build: Path::new("/b") };
    let printed = commands::from_make_output(&text, trees, Path::new("/x"));
    let recorded = commands::from_cmd_text(&text, trees);
    for result in [printed, recorded] {
        match result {
            Ok(commands) => {
                let json = commands::to_json(&commands);
                let again = Commands::parse(json.as_bytes(), Path::new("commands.json"), Path::new("/s")).unwrap();
                assert_eq!(again.all().len(), commands.len());
            }
            Err(error) => said(error),
        }
    }
    let _ = depends::listed(&text);
    place::include_lines(data);
}

fn tokens(data: &[u8]) {
    let mut at = 0;
    while at < data.len() {
        let gap = lex::gap(data, at);
        assert!(gap.end >= at && gap.end <= data.len());
        let newlines = data[at..gap.end].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(gap.newlines as usize, newlines);
        at = gap.end;
        if at == data.len() {
            break;
        }
        if data[at] == b'\n' {
            at += 1;
            continue;
        }
        let (end, _) = lex::token(data, at);
        assert!(end > at && end <= data.len(), "the token at {at} ends at {end}");
        let text = lex::readable(&data[at..end]);
        assert!(!text.is_empty());
        at = end;
    }
    let count = lex::texts(data).count();
    assert_eq!(lex::preprocessed(data, &mut Interner::default()).len(), count);
    lex::pragma_text(data);
    if let Ok(text) = std::str::from_utf8(data) {
        folder::tokens(text);
    }
}

fn expanded(data: &[u8]) {
    match expand::expand(data.to_vec(), "fuzz.c", &[]) {
        Ok(mut unit) => {
            let outline = Outline::new(&mut unit);
            for (index, statement) in outline.statements.iter().enumerate() {
                assert!(statement.start < statement.end && statement.end as usize <= unit.tokens.len(), "{index}");
                outline.signature_end(&unit, outline.statement_of(statement.start));
            }
            for token in unit.tokens.iter().take(1000) {
                unit.chain(token).for_each(drop);
                unit.reader.location(token.source.min(data.len() as u32));
            }
        }
        Err(error) => said(error),
    }
}

fn source_pieces(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let all: String = pieces(&text).iter().map(|piece| piece.text.as_str()).collect();
    assert!(text.starts_with(&all) && text[all.len()..].trim().is_empty(), "the pieces don't make the source");
}

fn second_reading(data: &[u8]) {
    let mut text = b"# 1 \"fuzz.c\"\n".to_vec();
    text.extend_from_slice(data);
    let _ = reading::functions(&text, "fuzz.c", BTreeSet::from(["u8".into()]));
}

fn object_file(data: &[u8]) {
    match Facts::of(data, "fuzz.o") {
        Ok(facts) => {
            for id in 0..facts.functions.len().min(50) {
                facts.parts(klp_extract::object::facts::FunctionId(id));
            }
            let difference = compare(&facts, &facts, &BTreeSet::new());
            assert!(difference.changed.is_empty(), "an object differs from itself");
        }
        Err(error) => said(error),
    }
    let _ = Facts::sections(data);
    let _ = types::of(data);
}

fn link(data: &[u8]) {
    let entries =
        [symbols_file::Entry::new("helper", "vmlinux", "helper", 0), symbols_file::Entry::new("other", "m", "o.1", 2)];
    match link_bytes(data, &entries, "fuzz.ko") {
        Ok((Some(linked), report)) => {
            assert!(!report.already_linked);
            let (again, report) = link_bytes(&linked, &entries, "fuzz.ko").unwrap();
            assert!(again.is_none() && report.already_linked);
        }
        Ok((None, _)) => {}
        Err(error) => said(error),
    }
}

fn module(data: &[u8]) {
    let _ = modules::Module::parse(data);
    if let Ok(memory) = memory::Memory::of(data.to_vec()) {
        assert!(memory.sections().all(|(address, _)| memory.from(address).is_some()));
    }
    // As on 6.1: struct klp_func, klp_object and klp_patch.
    if sound::check(data).is_ok()
        && let Ok(file) = object::read::elf::ElfFile64::parse(data)
    {
        tables::read(&tables::Fields::of(&file), tables::Sizes::new(120, 112, 152));
    }
}

fn kernel_image(data: &[u8]) {
    // The programs that unpack other payloads are not what is tried.
    let by_program = image::payload(data).is_ok_and(|payload| {
        [&[0x1f, 0x8b][..], &[0xfd, b'7'], &[0x5d, 0], b"BZ"].iter().any(|magic| payload.starts_with(magic))
    });
    if !by_program {
        let _ = image::decode(data.to_vec());
    }
}

fn kallsyms(data: &[u8]) {
    if let Some(symbols) = image::kallsyms(data) {
        assert!(!symbols.is_empty());
    }
}

fn written(data: &[u8]) {
    for result in [
        folder::Module::parse(data, Path::new("m")).map(drop),
        Descriptor::parse(data, Path::new("k")).map(drop),
        Commands::parse(data, Path::new("c"), Path::new("/s")).map(|commands| drop(commands.all())),
    ] {
        result.unwrap_or_else(said);
    }
    json::outputs(data);
    klp_extract::folder::Record::parse(data, Path::new("m")).map_or_else(said, drop);
}

/// What is accepted is accepted as it is written again.
fn bundle(data: &[u8]) {
    let file = Path::new("bundle.json");
    match Bundle::parse(data, file) {
        Ok(bundle) => {
            let written = serde_json::to_vec(&bundle).expect("as JSON");
            Bundle::parse(&written, file).expect("a bundle that is written again");
            let links =
                bundle.links.iter().map(|(link, to)| Path::new(link).parent().unwrap_or(Path::new("")).join(to));
            let paths = bundle.files.keys().chain(bundle.outputs.keys()).map(|path| Path::new(path).to_path_buf());
            for path in paths.chain(links) {
                assert!(stays(&path), "{} leads out of the bundle", path.display());
            }
        }
        Err(error) => said(error),
    }
}

/// Does a path never leave the folder that it begins in?
fn stays(path: &Path) -> bool {
    let mut depth = 0;
    path.components().all(|part| {
        depth += match part {
            Component::ParentDir => -1,
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        depth >= 0
    })
}

fn configuration(data: &[u8]) {
    match config::house(&String::from_utf8_lossy(data), Path::new("klp-extract.toml")) {
        Ok(house) => drop(render::kbuild("livepatch-x", &[], &house)),
        Err(error) => said(error),
    }
}

fn template(data: &[u8]) {
    let mut house = House::default();
    house.templates.insert("Kbuild".into(), String::from_utf8_lossy(data).into_owned());
    render::kbuild("livepatch-x", &[], &house).map_or_else(said, drop);
}
