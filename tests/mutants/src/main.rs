//! Puts all mutants of a list into one build of the crate: `mutants TREE LIST SAMPLE KNOWN` rewrites the sources below TREE so that
//! `KLP_MUTANT=N` switches the N-th line of SAMPLE on (counted from 1), and without it nothing is changed.
//!
//! cargo-mutants builds the crate and its test programs anew for each mutant, which takes minutes here; so it only says
//! what the mutants are (LIST: `cargo mutants --list --json --diff`; SAMPLE: names of it, one a line). A mutant `a < b` of `a <= b` becomes
//!
//! ```text
//! (if crate::mutants::is(N) { a < b } else { a <= b })
//! ```
//!
//! What doesn't compile is taken out again, one after the other: such a mutant either never compiles or doesn't fit this
//! form. Each is tried by itself then, by the diff that cargo-mutants has for it. Printed are these mutants, behind `unviable` or
//! `left` and a tab, and they are in KNOWN, what an earlier run has printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use proc_macro2::{LineColumn, Span, TokenStream};
use serde_json::Value;
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, Block, Expr, ExprBinary, ExprStruct, ExprUnary, ImplItemFn, ItemFn, ItemMod, Member, Pat, parse_quote};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where a mutant is (lines from 1, columns from 1), what stands there then, and its number.
struct Mutant {
    number: usize,
    file: String,
    name: String,
    genre: String,
    at: (usize, usize),
    replacement: String,
    diff: String,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [tree, list, sample, known] = arguments.as_slice() else { return Err("mutants TREE LIST SAMPLE KNOWN".into()) };
    let tree = Path::new(tree);
    let mutants = read(&fs::read_to_string(list)?, &fs::read_to_string(sample)?)?;
    let sources: BTreeMap<&str, String> = mutants
        .iter()
        .map(|mutant| Ok((mutant.file.as_str(), fs::read_to_string(tree.join(&mutant.file))?)))
        .collect::<Result<_>>()?;
    let library = fs::read_to_string(tree.join("src/lib.rs"))?;
    fs::write(tree.join("src/lib.rs"), format!("{library}\npub mod mutants;\n"))?;
    fs::write(tree.join("src/mutants.rs"), include_str!("switch.rs"))?;

    let known = fs::read_to_string(known)?;
    let known: BTreeMap<&str, &str> =
        known.lines().filter_map(|line| line.split_once('\t')).map(|(how, name)| (name, how)).collect();
    let is_known = |mutant: &&Mutant| known.contains_key(mutant.name.as_str());
    let out = mutants.iter().filter(is_known).map(|mutant| mutant.number).collect();
    let out = put_in(tree, &sources, &mutants, out)?;
    let with: Vec<String> =
        sources.keys().map(|file| fs::read_to_string(tree.join(file))).collect::<std::io::Result<_>>()?;
    write(tree, sources.iter().map(|(file, text)| (*file, text.as_str())))?;
    for mutant in mutants.iter().filter(|mutant| out.contains(&mutant.number)) {
        let how = match known.get(mutant.name.as_str()) {
            Some(how) => how,
            None if compiles_alone(tree, mutant, &sources[mutant.file.as_str()])? => "left",
            None => "unviable",
        };
        println!("{how}\t{}", mutant.name);
    }
    write(tree, sources.keys().copied().zip(with.iter().map(String::as_str)))
}

fn write<'a>(tree: &Path, files: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    for (file, text) in files {
        fs::write(tree.join(file), text)?;
    }
    Ok(())
}

/// Puts the mutants into the sources, but those that are `out`; yields the numbers of all that don't fit.
fn put_in(
    tree: &Path,
    sources: &BTreeMap<&str, String>,
    mutants: &[Mutant],
    mut out: BTreeSet<usize>,
) -> Result<BTreeSet<usize>> {
    loop {
        let mut placed = BTreeSet::new();
        for (file, source) in sources {
            let here = mutants.iter().filter(|mutant| mutant.file == *file && !out.contains(&mutant.number));
            let mut switches = Switches { mutants: here.collect(), placed: &mut placed };
            let mut parsed = syn::parse_file(source)?;
            switches.visit_file_mut(&mut parsed);
            let text = prettyplease::unparse(&parsed);
            // What is as before needn't be compiled again.
            if fs::read_to_string(tree.join(file))? != text {
                fs::write(tree.join(file), text)?;
            }
        }
        out.extend(mutants.iter().map(|mutant| mutant.number).filter(|number| !placed.contains(number)));
        let check = check(tree)?;
        if check.status.success() {
            return Ok(out);
        }
        out.extend(broken(tree, &check)?);
    }
}

/// Does a mutant compile, where it is the only change?
fn compiles_alone(tree: &Path, mutant: &Mutant, source: &str) -> Result<bool> {
    let (file, diff) = (tree.join(&mutant.file), tree.join("mutant.diff"));
    fs::write(&diff, &mutant.diff)?;
    if !Command::new("patch").arg("--silent").arg(&file).arg(&diff).status()?.success() {
        return Err(format!("{}: its diff doesn't apply", mutant.name).into());
    }
    let compiles = check(tree)?.status.success();
    fs::write(&file, source)?;
    Ok(compiles)
}

fn check(tree: &Path) -> Result<Output> {
    let arguments = ["check", "--profile", "mutants", "--lib", "--message-format=json", "--quiet"];
    Ok(Command::new("cargo").args(arguments).current_dir(tree).env("RUSTFLAGS", "--cap-lints=warn").output()?)
}

fn read(list: &str, sample: &str) -> Result<Vec<Mutant>> {
    let list: Vec<Value> = serde_json::from_str(list)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let by_name: BTreeMap<String, &Value> = list.iter().map(|mutant| (text(&mutant["name"]), mutant)).collect();
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    let of = |(index, name): (usize, &str)| -> Result<Mutant> {
        let mutant = by_name.get(name).ok_or_else(|| format!("{name}: not in the list"))?;
        let start = &mutant["span"]["start"];
        Ok(Mutant {
            number: index + 1,
            file: text(&mutant["file"]),
            name: name.to_string(),
            genre: text(&mutant["genre"]),
            at: (number(&start["line"]), number(&start["column"])),
            replacement: text(&mutant["replacement"]),
            diff: text(&mutant["diff"]),
        })
    };
    sample.lines().enumerate().map(of).collect()
}

/// The mutants that the compiler complains of: those whose switch is the last one above a complaint.
fn broken(tree: &Path, check: &Output) -> Result<BTreeSet<usize>> {
    let mut broken = BTreeSet::new();
    let mut complaints = String::new();
    for line in String::from_utf8_lossy(&check.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        let message = &message["message"];
        if message["level"] != "error" {
            continue;
        }
        let rendered = message["rendered"].as_str().unwrap_or_default();
        complaints.push_str(rendered);
        // A match that lacks an arm now is complained of at its head, above the switch.
        if let Some(number) = numbers(rendered).last() {
            broken.insert(number);
            continue;
        }
        for span in message["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true) {
            let Some(file) = span["file_name"].as_str() else { continue };
            let line = span["line_start"].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap_or_default();
            let text = fs::read_to_string(tree.join(file))?;
            let above: Vec<&str> = text.lines().take(line).collect();
            broken.extend(above.iter().rev().find_map(|line| numbers(line).last()));
        }
    }
    match broken.is_empty() {
        true => Err(format!("not a mutant's fault:\n{complaints}{}", String::from_utf8_lossy(&check.stderr)).into()),
        false => Ok(broken),
    }
}

/// The numbers of the switches in a text.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.split("mutants::is(").skip(1).filter_map(|rest| rest.split_once("usize)")?.0.parse().ok())
}

struct Switches<'a> {
    mutants: Vec<&'a Mutant>,
    placed: &'a mut BTreeSet<usize>,
}

impl Switches<'_> {
    /// Mutants of a kind that begin where `span` does. What was made here has no place in the source.
    fn at(&mut self, span: Span, genre: &str) -> Vec<(usize, TokenStream)> {
        let LineColumn { line, column } = span.start();
        let here = self.mutants.iter().filter(|mutant| mutant.genre == genre && mutant.at == (line, column + 1));
        let here: Vec<_> = here.filter_map(|mutant| Some((mutant.number, mutant.replacement.parse().ok()?))).collect();
        self.placed.extend(here.iter().map(|(number, _)| *number));
        here
    }

    fn body(&mut self, block: &mut Block) {
        let values = block.stmts.first().map(|first| self.at(first.span(), "FnValue")).unwrap_or_default();
        visit_mut::visit_block_mut(self, block);
        for (number, value) in values {
            block.stmts.insert(0, parse_quote! { if crate::mutants::is(#number) { return #value; } });
        }
    }

    fn binary(&mut self, binary: &ExprBinary) -> Option<Expr> {
        let (left, right) = (&binary.left, &binary.right);
        // Bindings of `if let ... && ...` can't leave their condition.
        if binds(left) || binds(right) {
            return None;
        }
        self.at(binary.op.span(), "BinaryOperator").into_iter().fold(None, |other, (number, operator)| {
            let otherwise = other.unwrap_or_else(|| Expr::Binary(binary.clone()));
            Some(parse_quote! { (if crate::mutants::is(#number) { #left #operator #right } else { #otherwise }) })
        })
    }

    fn unary(&mut self, unary: &ExprUnary) -> Option<Expr> {
        let operand = &unary.expr;
        let (number, _) = self.at(unary.op.span(), "UnaryOperator").pop()?;
        Some(parse_quote! { (if crate::mutants::is(#number) { #operand } else { #unary }) })
    }

    fn fields(&mut self, value: &ExprStruct) -> Vec<(usize, Member)> {
        let mut found = Vec::new();
        for field in &value.fields {
            let here = self.at(field.span(), "StructField").into_iter();
            found.extend(here.map(|(number, _)| (number, field.member.clone())));
        }
        found
    }
}

/// Is there a `let` in a chain of conditions?
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

/// Fields that take their values from `..base`.
fn without(value: &ExprStruct, fields: Vec<(usize, Member)>) -> Option<Expr> {
    fields.into_iter().fold(None, |other, (number, member)| {
        let otherwise = other.unwrap_or_else(|| Expr::Struct(value.clone()));
        let mut without = value.clone();
        without.fields = value.fields.iter().filter(|field| field.member != member).cloned().collect();
        Some(parse_quote! { (if crate::mutants::is(#number) { #without } else { #otherwise }) })
    })
}

impl VisitMut for Switches<'_> {
    // Inner ones first: the outer one's branches then hold them both.
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        // What is made below has no place: an expression's own is asked for first.
        let fields = match expression {
            Expr::Struct(value) => self.fields(value),
            _ => Vec::new(),
        };
        visit_mut::visit_expr_mut(self, expression);
        let other = match &*expression {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => self.unary(unary),
            Expr::Struct(value) => without(value, fields),
            _ => None,
        };
        if let Some(other) = other {
            *expression = other;
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let deleted = self.at(arm.span(), "MatchArm");
        let guards = match &arm.pat {
            Pat::Guard(guarded) => self.at(guarded.guard.span(), "MatchArmGuard"),
            _ => Vec::new(),
        };
        visit_mut::visit_arm_mut(self, arm);
        if let Pat::Guard(guarded) = &mut arm.pat {
            for (number, value) in guards {
                let guard = &guarded.guard;
                *guarded.guard = parse_quote! { (if crate::mutants::is(#number) { #value } else { #guard }) };
            }
            for (number, _) in deleted {
                let guard = &guarded.guard;
                *guarded.guard = parse_quote! { !crate::mutants::is(#number) && (#guard) };
            }
        } else if let Some((number, _)) = deleted.first() {
            let (pattern, body) = (&arm.pat, &arm.body);
            *arm = parse_quote! { #pattern if !crate::mutants::is(#number) => #body, };
        }
    }

    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        self.body(&mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        self.body(&mut function.block);
    }

    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if module.ident != "tests" {
            visit_mut::visit_item_mod_mut(self, module);
        }
    }
}
