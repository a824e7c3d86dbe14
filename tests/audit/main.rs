//! The affected set held against an independent oracle, on random functions of the real kernel.
//!
//! The tool gets a random patch, and `klp-extract plan` says which functions a livepatch must replace. The oracle shares no
//! code with it: of the library only the recorded compile commands are used. Its facts:
//!
//! * whose machine code has a part of the patched function: DWARF's records of inlining, and the names of GCC's clones;
//! * whose code changes: `gcc -S` of both versions, compared as text;
//! * who calls what can't be hooked: `objdump` of the unit, linked alone;
//! * beside DWARF, a mark (an empty `asm`) at the patched function's entry, and where it turns up.
//!
//! A target that the oracle has and the tool lacks fails; so does one that only the tool has, unless one of [`Reason`] says
//! why. The sample is the same in every run.
//!
//! ```text
//! make audit N=100 SEED=3
//! ```
//!
//! `KLP_AUDIT` is the number of patches, `KLP_AUDIT_SEED` another sample, `KLP_AUDIT_ONLY` the units whose path contains it,
//! `KLP_AUDIT_KEEP` a folder for the patches of which something is to be seen.

mod assembly;
mod change;
mod object;
mod random;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use assembly::Assembly;
use change::Change;
use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use object::Object;
use random::Random;

/// The comment that the mark leaves in the assembly.
const MARK: &str = "# klp-audit-mark";

/// Patches of one unit, which share its first compile.
const A_UNIT: usize = 3;

/// Parts of the tree from which units are taken in turn.
const PARTS: &[&str] = &[
    "kernel/",
    "mm/",
    "fs/",
    "net/",
    "drivers/",
    "lib/",
    "arch/x86/",
    "net/",
    "fs/",
    "block/",
    "security/",
    "crypto/",
    "virt/",
];

/// Why the tool may name a target that the oracle doesn't demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The mark shows that the function was inlined there; nothing that DWARF has a record of was left.
    OnlyTheMark,
    /// GCC's report has it, neither DWARF nor the mark do: what was inlined is dead code there.
    OnlyTheReport,
}

/// What came out of one patch.
#[derive(Debug)]
struct Outcome {
    unit: String,
    function: String,
    kind: &'static str,
    targets: usize,
    /// Targets that have none of the patched function's code: GCC changed them without a word in its report.
    silent: usize,
    /// The oracle's other demands (functions with the code that have no ftrace site, or only run at boot).
    others: usize,
    reasons: BTreeMap<Reason, usize>,
    marks_differ: bool,
    faults: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn affected_sets_are_those_of_the_oracle() {
    let kernel = support::kernel::prepared();
    let (wanted, seed) = (number("KLP_AUDIT", 12) as usize, number("KLP_AUDIT_SEED", 1));
    // Each unit is drawn for as in the whole sample.
    let mut units: Vec<(usize, CompileCommand)> = units(&kernel, seed).into_iter().enumerate().collect();
    if let Ok(only) = std::env::var("KLP_AUDIT_ONLY") {
        units.retain(|(_, unit)| unit.source.contains(&only));
    }
    let state = Mutex::new((0, Vec::<Outcome>::new(), 0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let (index, unit) = {
                        let mut state = state.lock().unwrap();
                        if state.1.len() >= wanted || state.0 >= units.len() {
                            break;
                        }
                        state.0 += 1;
                        &units[state.0 - 1]
                    };
                    match audit(&kernel, unit, seed.wrapping_mul(1 << 20) + *index as u64) {
                        Some(outcomes) => {
                            outcomes.iter().for_each(show);
                            state.lock().unwrap().1.extend(outcomes);
                        }
                        None => state.lock().unwrap().2 += 1,
                    }
                }
            });
        }
    });
    let (units, outcomes, skipped) = state.into_inner().unwrap();
    summary(units, skipped, &outcomes);
    assert!(outcomes.len() >= wanted.min(units), "only {} patches could be tried", outcomes.len());
    let faults: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn show(outcome: &Outcome) {
    println!(
        "{:9} {} {} ({}): {} targets, {} silent, {} others{}{}",
        if outcome.faults.is_empty() { "same" } else { "DIFFERENT" },
        outcome.unit,
        outcome.function,
        outcome.kind,
        outcome.targets,
        outcome.silent,
        outcome.others,
        if outcome.reasons.is_empty() { String::new() } else { format!(", {:?}", outcome.reasons) },
        if outcome.marks_differ { ", the mark changes inlining" } else { "" },
    );
    outcome.faults.iter().for_each(|fault| println!("          {fault}"));
}

fn summary(units: usize, skipped: usize, outcomes: &[Outcome]) {
    let count = |what: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| what(outcome)).count();
    println!(
        "{} patches of {units} units ({skipped} skipped): {} exact, {} supersets with a reason, {} different; {} with other \
         targets than the function itself, {} with targets that changed silently, {} where the mark changes inlining",
        outcomes.len(),
        count(|outcome| outcome.faults.is_empty() && outcome.reasons.is_empty()),
        count(|outcome| outcome.faults.is_empty() && !outcome.reasons.is_empty()),
        count(|outcome| !outcome.faults.is_empty()),
        count(|outcome| outcome.targets > 1 || outcome.others > 0),
        count(|outcome| outcome.silent > 0),
        count(|outcome| outcome.marks_differ),
    );
}

/// The units in a random order, the tree's parts in turn.
fn units(kernel: &Kernel, seed: u64) -> Vec<CompileCommand> {
    let mut random = Random(seed);
    let all = kernel.all_commands().unwrap();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|command| *times.entry(&command.source).or_default() += 1);
    let fits = |command: &&CompileCommand| {
        times[command.source.as_str()] == 1 && kernel.source().join(&command.source).is_file()
    };
    let all: Vec<&CompileCommand> = all.iter().filter(fits).collect();
    let mut parts: Vec<Vec<&CompileCommand>> = PARTS
        .iter()
        .map(|part| {
            let mut part: Vec<_> = all.iter().filter(|command| command.source.starts_with(part)).copied().collect();
            for index in (1..part.len()).rev() {
                part.swap(index, random.below(index + 1));
            }
            part
        })
        .collect();
    let mut units: Vec<CompileCommand> = Vec::new();
    while parts.iter().any(|part| !part.is_empty()) {
        for unit in parts.iter_mut().filter_map(Vec::pop) {
            if !units.contains(unit) {
                units.push(unit.clone());
            }
        }
    }
    units
}

/// One version of the unit, to be compiled as the kernel's build does.
struct Unit<'a> {
    kernel: &'a Kernel,
    command: &'a CompileCommand,
    folder: &'a Path,
}

impl Unit<'_> {
    fn compile(&self, text: &str, flags: &[&str], output: &str) -> Option<PathBuf> {
        let source = Path::new(&self.command.source);
        let (folder, file) = (source.parent()?.display(), self.folder.join(source.file_name()?));
        std::fs::write(&file, text).unwrap();
        let output = self.folder.join(output);
        let mut program = Command::new(&self.command.compiler);
        program.args(&self.command.args).args(flags).current_dir(self.kernel.build());
        // Quote includes and `__FILE__` are those of the kernel's folder.
        program.arg(format!("-iquote{}", self.kernel.source().join(source.parent()?).display()));
        program.arg(format!("-fmacro-prefix-map={}={folder}", self.folder.display()));
        let result = program.arg("-o").arg(&output).arg(&file).output().unwrap();
        result.status.success().then_some(output)
    }

    fn assembly(&self, text: &str) -> Option<Assembly> {
        let file = self.compile(text, &["-g0", "-S"], "unit.s")?;
        Some(Assembly::parse(&String::from_utf8_lossy(&std::fs::read(file).unwrap())))
    }
}

/// Tries patches of one unit; `None` where it can't be compiled like this, or has no function to change.
fn audit(kernel: &Kernel, command: &CompileCommand, seed: u64) -> Option<Vec<Outcome>> {
    let scratch = tempfile::tempdir().unwrap();
    let unit = Unit { kernel, command, folder: scratch.path() };
    let text = String::from_utf8(std::fs::read(kernel.source().join(&command.source)).unwrap()).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let whole = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let object = Object::read(&unit.compile(&whole, &["-g", "-c"], "unit.o")?, &scratch.path().join("linked"));
    let before = unit.assembly(&whole)?;
    let definitions = object.definitions.iter();
    let bodies = definitions
        .filter_map(|(name, definition)| Some((name, definition, change::body(&lines, name, definition.line)?)));
    let all: Vec<_> = bodies.filter(|(name, ..)| !object.holders(name).is_empty()).collect();
    // Half of the choice among those that live in another function's code, or in clones.
    let elsewhere =
        |name: &str| object.holders(name).iter().any(|at| object.functions[at].iter().all(|s| s.name != name));
    let interesting: Vec<_> = all.iter().filter(|(name, ..)| elsewhere(name)).cloned().collect();
    if all.is_empty() {
        return None;
    }
    let mut random = Random(seed);
    let (mut outcomes, mut tried) = (Vec::new(), BTreeSet::new());
    // Some changes don't compile, and some functions have nothing for the kind of change that was drawn.
    for _ in 0..5 * A_UNIT {
        if outcomes.len() == A_UNIT {
            break;
        }
        let from = if random.below(2) == 0 && !interesting.is_empty() { &interesting } else { &all };
        let (name, definition, body) = *random.one(from);
        let Some(change) = change::change(&command.source, &lines, body, definition.returns, &mut random) else {
            continue;
        };
        if !tried.insert(change.text.clone()) {
            continue;
        }
        let Some(after) = unit.assembly(&change.text) else { continue };
        let marked = unit.assembly(&change::marked(&lines, body));
        let expected = Expected::of(&object, name, &before.changed(&after), marked.as_ref());
        outcomes.push(compare(&unit, &object, name, &change, &expected));
    }
    (!outcomes.is_empty()).then_some(outcomes)
}

/// The oracle's view of one patch.
#[derive(Debug)]
struct Expected {
    holders: BTreeSet<u64>,
    changed: BTreeSet<u64>,
    /// Where the mark turned up; as addresses of the unmarked object.
    marked: BTreeSet<u64>,
}

impl Expected {
    fn of(object: &Object, name: &str, changed: &BTreeSet<String>, marked: Option<&Assembly>) -> Expected {
        let places = |names: &BTreeSet<String>| names.iter().filter_map(|name| object.named(name)).collect();
        Expected {
            holders: object.holders(name),
            changed: places(changed),
            marked: marked.map(|marked| places(&marked.containing(MARK))).unwrap_or_default(),
        }
    }
}

fn compare(unit: &Unit<'_>, object: &Object, name: &str, change: &Change, expected: &Expected) -> Outcome {
    let patch = unit.folder.join("audit.patch");
    std::fs::write(&patch, &change.patch).unwrap();
    let plan = Plan::of(&[patch.to_str().unwrap()], unit);
    let list = Plan::of(&["--function", name, "--file", &unit.command.source], unit);
    let wanted: BTreeSet<u64> = expected.holders.union(&expected.changed).copied().collect();
    let climbed = object.climb(&wanted);
    let with_marks = object.climb(&wanted.union(&expected.marked).copied().collect());
    let mut faults = Vec::new();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for at in climbed.targets.difference(&plan.targets(object)) {
        faults.push(format!("missing: {}", object.name(*at)));
    }
    for target in &plan.targets {
        match object.named(target) {
            None => faults.push(format!("the unit has no {target}")),
            Some(at) if climbed.targets.contains(&at) => {}
            Some(at) if with_marks.targets.contains(&at) => *reasons.entry(Reason::OnlyTheMark).or_default() += 1,
            Some(_) if plan.is_from_the_report(target) => *reasons.entry(Reason::OnlyTheReport).or_default() += 1,
            Some(_) => faults.push(format!("too many: {target}")),
        }
    }
    faults.extend(impacted(&list, &plan, object, expected));
    if climbed.blocked.is_empty() == plan.says("no-ftrace-site") {
        let names: Vec<&str> = climbed.blocked.iter().map(|at| object.name(*at)).collect();
        faults.push(format!("without a way up: {names:?}, and the tool says {}", plan.messages));
    }
    let boot = plan.says("init-code") || plan.says("init-only");
    if climbed.boot.is_empty() == boot {
        let names: Vec<&str> = climbed.boot.iter().map(|at| object.name(*at)).collect();
        faults.push(format!("only at boot: {names:?}, and the tool says {}", plan.messages));
    }
    if !plan.patched.contains(name) {
        faults.push(format!("the tool doesn't see the change: {}", plan.messages));
    }
    let outcome = Outcome {
        unit: unit.command.source.clone(),
        function: name.to_string(),
        kind: change.kind,
        targets: climbed.targets.len(),
        silent: expected.changed.difference(&expected.holders).count(),
        others: climbed.blocked.len() + climbed.boot.len() + wanted.difference(&climbed.targets).count(),
        reasons,
        marks_differ: expected.marked != expected.holders,
        faults,
    };
    keep(&outcome, change, &plan);
    outcome
}

/// The list that needs no patch: what follows from where the function's code is, and nothing that the patch's plan lacks.
fn impacted(list: &Plan, plan: &Plan, object: &Object, expected: &Expected) -> Vec<String> {
    let (targets, climbed) = (list.targets(object), object.climb(&expected.holders));
    let missing = climbed.targets.difference(&targets).map(|at| format!("plan --function lacks {}", object.name(*at)));
    let beyond = list.targets.difference(&plan.targets).map(|name| format!("only plan --function has {name}"));
    missing.chain(beyond).collect()
}

fn keep(outcome: &Outcome, change: &Change, plan: &Plan) {
    let Some(folder) = std::env::var_os("KLP_AUDIT_KEEP").map(PathBuf::from) else { return };
    if outcome.faults.is_empty() && outcome.reasons.is_empty() {
        return;
    }
    let name = format!("{}-{}", outcome.unit.replace(['/', '.'], "-"), outcome.function);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.patch")), &change.patch).unwrap();
    std::fs::write(folder.join(format!("{name}.txt")), format!("{outcome:#?}\n{}{}", plan.text, plan.messages))
        .unwrap();
}

/// What `klp-extract plan` prints.
#[derive(Debug, Default)]
struct Plan {
    text: String,
    messages: String,
    patched: BTreeSet<String>,
    targets: BTreeSet<String>,
    /// The last line of each target's chain of reasons.
    chains: BTreeMap<String, Vec<String>>,
}

impl Plan {
    fn of(arguments: &[&str], unit: &Unit<'_>) -> Plan {
        let mut program = Command::new(support::kernel::PROGRAM);
        program.arg("plan").args(arguments).args(["-k", &unit.kernel.descriptor.name]);
        let output = program.output().unwrap();
        let mut plan = Plan {
            text: String::from_utf8(output.stdout).unwrap(),
            messages: String::from_utf8(output.stderr).unwrap(),
            ..Plan::default()
        };
        let (mut ours, mut target) = (false, String::new());
        for line in plan.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [source, object] if !line.starts_with(' ') && object.starts_with('(') => {
                    ours = *source == unit.command.source
                }
                _ if !ours => {}
                ["patched", name] => drop(plan.patched.insert(name.to_string())),
                ["replace", name, ..] => {
                    target = name.to_string();
                    plan.targets.insert(target.clone());
                }
                _ => plan.chains.entry(target.clone()).or_default().push(line.trim().to_string()),
            }
        }
        plan
    }

    fn targets(&self, object: &Object) -> BTreeSet<u64> {
        self.targets.iter().filter_map(|target| object.named(target)).collect()
    }

    /// Does the target's chain hang on GCC's report alone?
    fn is_from_the_report(&self, target: &str) -> bool {
        let chain = self.chains.get(target);
        chain.is_some_and(|chain| {
            chain.iter().any(|line| line.contains("(clone report"))
                && !chain.iter().any(|line| line.contains("changes with the patch"))
        })
    }

    fn says(&self, id: &str) -> bool {
        self.messages.contains(&format!("[{id}]"))
    }
}
