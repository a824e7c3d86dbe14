//! Patches to headers that very many units include: a unit that is left out because its text before the patch doesn't reach
//! the change must be equal after it, by the comparison of both versions.
//!
//! ```text
//! make headers N=400 SEED=7
//! ```
//!
//! `KLP_HEADERS` units of each patch in testdata/headers are looked at, `KLP_HEADERS_SEED` draws others.

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod support;

use std::path::Path;

use klp_extract::candidates;
use klp_extract::parallel::try_map;
use klp_extract::patch::{FileState, Overlay, Real, apply_all, keep_lines, read};
use klp_extract::unit::{changes, contained, gcc};
use support::sample::{number, shuffle};

#[test]
fn what_is_left_out_is_equal() {
    let kernel = support::kernel::prepared();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/headers");
    let (mut left_out, mut differing) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let sets = read(&[(name.clone(), std::fs::read(&path).unwrap())], None).unwrap();
        let states = apply_all(&sets, kernel.source(), 0).unwrap().files;
        let candidates = candidates::find(&kernel, &states).unwrap();
        let mut edits = Vec::new();
        let mut kept = states.clone();
        for (path, state) in &mut kept {
            let FileState::Content(new) = state else { panic!("{name} deletes {path}") };
            let old = std::fs::read(kernel.source().join(path)).unwrap();
            edits.push(contained::edit(path, &old, new).expect("a change of bodies and macros alone"));
            *new = keep_lines(&old, new);
        }
        let scratch = tempfile::tempdir().unwrap();
        let climbed = candidates.climbed.expect("headers are patched");
        let overlay =
            Overlay::new(kernel.source(), &scratch.path().join("tree"), &kept, &Real::Folders(climbed)).unwrap();
        // By their text alone, and by the preprocessor.
        let (mut commands, mut by_text) = (candidates.commands, candidates.left_out);
        let (reaching, including) = (commands.len(), commands.len() + by_text.len());
        for units in [&mut commands, &mut by_text] {
            shuffle(units, number("KLP_HEADERS_SEED", 1));
            units.truncate(number("KLP_HEADERS", 2) as usize);
        }
        let told = commands.len();
        commands.append(&mut by_text);
        let indices: Vec<usize> = (0..commands.len()).collect();
        let looked = try_map(&indices, |index| {
            let command = &commands[*index];
            let absolute = kernel.absolute(command);
            let concerned =
                *index < told && contained::may_concern(&gcc::with_macros(&absolute, kernel.build())?, &edits);
            let before = gcc::comparable(&absolute, kernel.build())?;
            let after = gcc::comparable(&overlay.command(command, kernel.build())?, kernel.build())?;
            Ok((concerned, changes::compare(&before, &after).concerns_code()))
        });
        let looked = looked.unwrap_or_else(|error| panic!("{name}: {error}"));
        for (command, (concerned, differs)) in commands.iter().zip(&looked) {
            assert!(*concerned || !differs, "{name}: {} is left out, but differs", command.source);
        }
        let count = |wanted: fn(&(bool, bool)) -> bool| looked.iter().filter(|unit| wanted(unit)).count();
        let (out, differ) = (count(|unit| !unit.0), count(|unit| unit.1));
        println!(
            "{name:8} {including} units may include it, {reaching} reach it by their text; of {told} and {} looked at, \
             {out} left out, {differ} differ",
            looked.len() - told
        );
        left_out += out;
        differing += differ;
    }
    println!("{left_out} left out, {differing} differ");
    assert!(left_out > 0, "the filter leaves nothing out: it is of no use");
}
