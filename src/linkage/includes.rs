//! Which `#include` lines the module keeps.
//!
//! Kept are, in their order, the original file's own includes (and those of the private headers it includes) that directly
//! declare something used. What is needed and then still missing (GCC says, by `-M`) is included by the public header that
//! declares it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::closure::{Closure, Directive, MacroDefinition};
use crate::finding::{MODULE_DOES_NOT_COMPILE, Result, refuse};
use crate::unit::place::{Class, Position};
use crate::unit::program::is_named;

use super::reading::Reading;

/// One `#include` of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// As written between `<` and `>`, or quotes.
    pub name: String,
    pub quoted: bool,
    /// Its place in the original unit.
    pub order: u32,
    /// What it directly declares that the module uses, or `None` where it is there for what another one needs.
    pub reason: String,
}

/// The place of a header that must stand behind the copied types.
pub const LATE: u32 = u32::MAX - 1;

/// Folders that the kernel's build searches for `<...>`, in its order (Makefile, LINUXINCLUDE).
const FOLDERS: &[&str] = &[
    "arch/x86/include/generated/uapi/",
    "arch/x86/include/generated/",
    "arch/x86/include/uapi/",
    "arch/x86/include/",
    "include/generated/uapi/",
    "include/uapi/",
    "include/",
];

/// The name of a public header below its include folder.
fn plain(path: &str) -> &str {
    FOLDERS.iter().find_map(|folder| path.strip_prefix(folder)).unwrap_or(path)
}

/// The names by which public headers are included.
pub(super) struct Names<'a> {
    pub closure: &'a Closure,
    pub source: &'a Path,
}

impl Names<'_> {
    /// A user-space API header goes by the name of the kernel's header around it. Where that one exists and does not
    /// include it (`linux/mount.h`), the name begins with `uapi/`.
    pub fn of(&self, file: u32) -> String {
        let path = &self.closure.files[file as usize].path;
        let name = plain(path);
        if !path.contains("/uapi/") || path.contains("/generated/") {
            return name.to_string();
        }
        let around = [format!("include/{name}"), format!("arch/x86/include/{name}")];
        let parent = self.closure.entered.iter().find(|entered| entered.file == file).map(|entered| entered.parent);
        let parent = parent.map(|parent| &self.closure.files[parent as usize].path);
        let around = around.iter().find(|around| self.source.join(around).is_file());
        match around {
            Some(around) if parent != Some(around) => format!("uapi/{name}"),
            _ => name.to_string(),
        }
    }
}

/// Headers that every unit gets by the command line's `-include`.
const ALWAYS: &[&str] = &["linux/compiler-version.h", "linux/kconfig.h", "linux/compiler_types.h"];

/// Chooses the includes.
pub fn choose(closure: &Closure, module: &Reading) -> Result<Vec<Include>> {
    let (direct, needed) = headers(closure);
    let names = Names { closure, source: module.source };
    let first: BTreeMap<u32, u32> = closure.entered.iter().rev().map(|entered| (entered.file, entered.order)).collect();
    let macros = own_macros(closure);
    let by_name: BTreeMap<String, u32> = direct.keys().map(|file| (names.of(*file), *file)).collect();
    let mut chosen: Vec<Include> = Vec::new();
    for directive in &closure.directives {
        let Some(file) = by_name.get(&directive.name) else { continue };
        let always = ALWAYS.contains(&directive.name.as_str());
        if !always && chosen.iter().all(|known| known.name != directive.name) {
            let reason = direct[file].clone();
            // Where another header has brought it before, this line brought nothing any more.
            let between = |from: u32| macros.iter().any(|order| (from..directive.order).contains(order));
            let brought = first.get(file).copied().filter(|order| between(*order));
            let order = brought.unwrap_or(directive.order);
            chosen.push(Include { name: directive.name.clone(), quoted: false, order, reason });
        }
    }
    chosen.sort_by_key(|include| include.order);
    // A header brings others, so that each addition is followed by a new look; every round adds one.
    let mut rest: Vec<u32> = needed.iter().copied().collect();
    rest.sort_by_key(|file| first.get(file));
    let path = |file: &u32| &closure.files[*file as usize].path;
    let mut indirect: Vec<String> = Vec::new();
    let mut tries: BTreeMap<u32, u8> = BTreeMap::new();
    loop {
        let reached = match module.reached(&chosen)? {
            Ok(reached) => reached,
            // Some headers refuse to be included by anything but another one (`linux/find.h`).
            Err(_) => {
                chosen = allowed(&names, chosen, module)?;
                module.reached(&chosen)?.or_else(|why| refuse(MODULE_DOES_NOT_COMPILE, why))?
            }
        };
        let known = |name: &String| chosen.iter().any(|include| include.name == *name);
        let missing = rest.iter().find(|file| !reached.contains(path(file)) && !known(&names.of(**file)));
        let Some(missing) = missing else { break };
        // By the header around it, and by itself; what neither brings, the compiler will miss.
        let tries = tries.entry(*missing).or_default();
        *tries += 1;
        if *tries > 2 {
            break;
        }
        let better = includable(closure, *missing);
        let file = if known(&names.of(better)) { *missing } else { better };
        let name = names.of(file);
        let reason = direct.get(missing).cloned().unwrap_or_else(|| {
            indirect.push(name.clone());
            format!("needed by what {} declares", path(missing))
        });
        let order = first.get(&file).copied().unwrap_or(u32::MAX);
        chosen.push(Include { name, quoted: false, order, reason });
        chosen.sort_by_key(|include| include.order);
    }
    let late: BTreeSet<String> = closure.late.iter().map(|file| names.of(*file)).collect();
    chosen.iter_mut().filter(|include| late.contains(&include.name)).for_each(|include| include.order = LATE);
    chosen.sort_by_key(|include| include.order);
    // What a later one brings as well.
    for name in indirect {
        let fewer: Vec<Include> = chosen.iter().filter(|include| include.name != name).cloned().collect();
        let reached = module.reached(&fewer)?;
        let enough = |reached: &BTreeSet<String>| {
            rest.iter()
                .all(|file| reached.contains(path(file)) || fewer.iter().any(|known| known.name == names.of(*file)))
        };
        if reached.is_ok_and(|reached| enough(&reached)) {
            chosen = fewer;
        }
    }
    Ok(chosen)
}

/// Those headers that the preprocessor refuses when they come alone are included by the header that included them in the
/// unit, where users may include that.
fn allowed(names: &Names, chosen: Vec<Include>, module: &Reading) -> Result<Vec<Include>> {
    let Names { closure, .. } = names;
    let mut all: Vec<Include> = Vec::new();
    for mut include in chosen {
        let mut file = (0..closure.files.len() as u32).find(|file| names.of(*file) == include.name);
        while module.reached(std::slice::from_ref(&include))?.is_err() {
            let entered = closure.entered.iter().find(|entered| Some(entered.file) == file);
            let up = entered.filter(|entered| closure.files[entered.parent as usize].class == Class::Public);
            let Some(up) = up else { break };
            let order = closure.entered.iter().find(|entered| entered.file == up.parent).map(|entered| entered.order);
            file = Some(up.parent);
            include = Include { name: names.of(up.parent), order: order.unwrap_or(include.order), ..include };
        }
        if all.iter().all(|known| known.name != include.name) {
            all.push(include);
        }
    }
    all.sort_by_key(|include| include.order);
    Ok(all)
}

/// The includes that a unit of a program keeps: those lines of the files that are copied from which bring a header of the
/// system that is used, directly or through others. Headers of the system are those outside of the project's tree.
/// `all`: every header stays, as it must where copied text has `#if`s, whose names may be any header's macros.
pub fn system(closure: &Closure, all: bool) -> Vec<Include> {
    let system = |file: u32| closure.files[file as usize].class == Class::Compiler;
    let parents: BTreeMap<u32, u32> =
        closure.entered.iter().rev().map(|entered| (entered.file, entered.parent)).collect();
    let mut used: BTreeMap<u32, String> = BTreeMap::new();
    let mut note = |file: u32, name: &str| {
        let mut at = Some(file).filter(|file| system(*file));
        while let Some(file) = at.filter(|file| !used.contains_key(file)) {
            used.insert(file, name.to_string());
            at = parents.get(&file).copied().filter(|file| system(*file));
        }
    };
    for node in closure.graph.node_weights().filter(|node| !node.copied) {
        note(node.position.file, node.names.first().map_or("", |(name, _)| name));
    }
    for id in closure.groups.iter().flat_map(|group| &group.macros).chain(&closure.declaring) {
        let definition = &closure.macros[id];
        note(definition.position.file, &definition.name);
    }
    if all {
        closure.entered.iter().for_each(|entered| note(entered.file, "another header or a condition may need it"));
    }
    let direct = closure.entered.iter().rev().filter(|entered| !system(entered.parent));
    let direct: BTreeMap<u32, u32> = direct.map(|entered| (entered.file, entered.order)).collect();
    let mut chosen: Vec<Include> = Vec::new();
    for directive in &closure.directives {
        let file = used.iter().find(|(file, _)| is_named(&closure.files[**file as usize].path, &directive.name));
        if let Some((file, reason)) = file.filter(|_| chosen.iter().all(|known| known.name != directive.name)) {
            let Directive { name, quoted, .. } = directive.clone();
            // Not the line's own place: a file that is entered several times may have skipped it the last time.
            let order = direct.get(file).copied().unwrap_or(directive.order);
            chosen.push(Include { name, quoted, order, reason: reason.clone() });
        }
    }
    chosen
}

/// Macros of files that are copied from whose names a header that is included later has in its text: it may test them
/// (`_GNU_SOURCE`), or be made of them (X-macros). `kept` are the lines by which headers come, `folder` is GCC's working
/// directory.
pub fn tested(closure: &Closure, kept: &[Include], folder: &Path) -> BTreeSet<u32> {
    let parents: BTreeMap<u32, u32> =
        closure.entered.iter().rev().map(|entered| (entered.file, entered.parent)).collect();
    let path = |file: u32| &closure.files[file as usize].path;
    let copied = |file: u32| matches!(closure.files[file as usize].class, Class::Source | Class::Private);
    let own: Vec<_> = closure.macros.iter().filter(|(_, definition)| copied(definition.position.file)).collect();
    let comes = |file: u32| {
        let mut at = file;
        while let Some(parent) = parents.get(&at).copied().filter(|parent| !copied(*parent)) {
            at = parent;
        }
        kept.iter().any(|include| is_named(path(at), &include.name))
    };
    let mut found = BTreeSet::new();
    for entered in closure.entered.iter().filter(|entered| !copied(entered.file) && comes(entered.file)) {
        let lives = |definition: &MacroDefinition| {
            let ended = definition.undefined.is_some_and(|position| position.order < entered.order);
            definition.position.order < entered.order && !ended
        };
        let mut before = own.iter().filter(|(id, definition)| lives(definition) && !found.contains(*id)).peekable();
        if before.peek().is_none() {
            continue;
        }
        let text = std::fs::read(folder.join(path(entered.file))).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let words: BTreeSet<&[u8]> = text.split(|byte| !is_part(byte)).collect();
        let named: Vec<u32> =
            before.filter(|(_, macro_)| words.contains(macro_.name.as_bytes())).map(|(id, _)| **id).collect();
        found.extend(named);
    }
    found
}

/// The file to include for what stands at a position: the file itself; of one that is read under other macros each time,
/// the header that included it then.
fn provider(closure: &Closure, position: Position) -> u32 {
    let mut file = position.file;
    while closure.entered_again.iter().any(|again| again.file == file) {
        let times = closure.entered.iter().chain(&closure.entered_again);
        let times = times.filter(|entered| entered.file == file && entered.order <= position.order);
        match times.max_by_key(|entered| entered.order) {
            Some(last) if closure.files[last.parent as usize].class == Class::Public => file = last.parent,
            _ => break,
        }
    }
    file
}

/// Public headers that directly declare something that copied text uses (with the first such name), and all that are
/// needed.
fn headers(closure: &Closure) -> (BTreeMap<u32, String>, BTreeSet<u32>) {
    let public = |file: u32| closure.files[file as usize].class == Class::Public;
    let mut direct: BTreeMap<u32, String> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    for node in closure.graph.node_indices() {
        let file = provider(closure, closure.graph[node].position);
        if !closure.graph[node].copied {
            if public(file) {
                needed.insert(file);
            }
            continue;
        }
        let mut edges: Vec<_> = closure.graph.edges(node).collect();
        edges.sort_by_key(petgraph::visit::EdgeRef::id);
        for edge in edges {
            let target = &closure.graph[petgraph::visit::EdgeRef::target(&edge)];
            let file = provider(closure, target.position);
            if !target.copied && public(file) {
                direct.entry(file).or_insert_with(|| edge.weight().name.clone());
            }
        }
    }
    let groups = closure.groups.iter().flat_map(|group| &group.direct_macros);
    for id in groups {
        let definition = &closure.macros[id];
        let file = provider(closure, definition.position);
        if public(file) && !definition.copied {
            direct.entry(file).or_insert_with(|| definition.name.clone());
        }
    }
    let macros = closure.groups.iter().flat_map(|group| &group.macros).chain(&closure.declaring);
    let macros = macros.map(|id| &closure.macros[id]).filter(|definition| !definition.copied);
    needed.extend(macros.map(|definition| provider(closure, definition.position)).filter(|file| public(*file)));
    (direct, needed)
}

/// Where the unit defines macros of its own that the module takes over: they may redefine what headers before them define.
pub(super) fn own_macros(closure: &Closure) -> BTreeSet<u32> {
    let used = closure.groups.iter().flat_map(|group| &group.macros).map(|id| &closure.macros[id]);
    used.filter(|definition| definition.copied).map(|definition| definition.position.order).collect()
}

/// Parts of another header, that users don't include (include/linux/atomic.h, include/linux/string.h).
const PARTS: &[&str] = &["linux/atomic/", "linux/fortify-string.h"];

/// The header by which a file is to be included: itself, or the nearest one on the way to it that is meant for users.
/// `asm-generic/` is included by `asm/`, and that often by `linux/` of the same name.
fn includable(closure: &Closure, file: u32) -> u32 {
    let name = |file: u32| plain(&closure.files[file as usize].path);
    let parent = |file: u32| closure.entered.iter().find(|entered| entered.file == file).map(|e| e.parent);
    let public = |file: &u32| closure.files[*file as usize].class == Class::Public;
    let base = |file: u32| name(file).rsplit('/').next().unwrap_or_default().to_string();
    let mut at = file;
    while let Some(up) = parent(at).filter(public) {
        let generic = name(at).starts_with("asm-generic/");
        let wrapped = base(up) == base(at) && !name(at).starts_with("linux/");
        let part = PARTS.iter().any(|part| name(at).starts_with(part));
        if !(generic || wrapped || part) {
            break;
        }
        at = up;
    }
    at
}

/// Headers need not stand alone: one may use what its users' earlier includes have brought. Where the chosen ones don't
/// compile by themselves, puts them in the order in which the unit first read them, or adds as few of the original's other
/// includes as make them; nothing where they do, or where that doesn't help. `own` are what its template includes behind
/// them.
pub fn completed(
    closure: &Closure,
    (chosen, own): (&[Include], &[&str]),
    module: &Reading,
) -> Result<Option<Vec<Include>>> {
    let names = Names { closure, source: module.source };
    let public = (0..closure.files.len() as u32).filter(|file| closure.files[*file as usize].class == Class::Public);
    let public: BTreeSet<String> = public.map(|file| names.of(file)).collect();
    let mut more: Vec<Include> = Vec::new();
    for directive in &closure.directives {
        let known = chosen.iter().chain(&more).any(|include| include.name == directive.name);
        if !known && public.contains(&directive.name) {
            let reason = "needed by the headers behind it".to_string();
            more.push(Include { name: directive.name.clone(), quoted: false, order: directive.order, reason });
        }
    }
    let together = |more: &[Include]| {
        let mut all: Vec<Include> = chosen.iter().chain(more).cloned().collect();
        all.sort_by_key(|include| include.order);
        all
    };
    let compile_all = |all: Vec<Include>| {
        // Without the types before them the late ones compile in no case.
        let early = all.into_iter().filter(|include| include.order != LATE);
        module.compiles(&early.chain(templates(own)).collect::<Vec<Include>>())
    };
    let compile = |more: &[Include]| compile_all(together(more));
    if compile(&[])? {
        return Ok(None);
    }
    // One that was chosen for what it declares stands where the source includes it, behind one that others need
    // (linux/types.h behind linux/mlx5/mlx5_ifc.h).
    let firsts: BTreeMap<String, u32> =
        closure.entered.iter().rev().map(|entered| (names.of(entered.file), entered.order)).collect();
    let mut as_read = chosen.to_vec();
    for include in as_read.iter_mut().filter(|include| include.order != LATE) {
        include.order = firsts.get(&include.name).copied().unwrap_or(include.order);
    }
    as_read.sort_by_key(|include| include.order);
    if compile_all(as_read.clone())? {
        return Ok(Some(as_read));
    }
    if !compile(&more)? {
        // Headers for built-in code may use what others hide from modules (`asm/tlb.h`).
        let mut alone = Vec::new();
        for include in more {
            if module.compiles(std::slice::from_ref(&include))? {
                alone.push(include);
            }
        }
        more = alone;
        if !compile(&more)? {
            return Ok(None);
        }
    }
    // By halves: most of them go at once.
    let mut size = more.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < more.len() {
            let mut fewer = more.clone();
            fewer.drain(at..(at + size).min(more.len()));
            if compile(&fewer)? {
                more = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Ok(Some(together(&more)))
}

/// With what the template of a module includes.
pub(super) fn with_templates(includes: &[Include], own: &[&str]) -> Vec<Include> {
    includes.iter().cloned().chain(templates(own)).collect()
}

/// What the template of a module includes.
fn templates<'a>(own: &'a [&str]) -> impl Iterator<Item = Include> + 'a {
    let include =
        |name: &&str| Include { name: name.to_string(), quoted: false, order: u32::MAX, reason: String::new() };
    own.iter().map(include)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_spelled_as_users_do() {
        for (path, name) in [
            ("include/linux/fs.h", "linux/fs.h"),
            ("include/uapi/linux/sockios.h", "linux/sockios.h"),
            ("arch/x86/include/generated/uapi/asm/ioctls.h", "asm/ioctls.h"),
            ("arch/x86/include/asm/page.h", "asm/page.h"),
            ("include/generated/autoconf.h", "generated/autoconf.h"),
        ] {
            assert_eq!(plain(path), name);
        }
    }
}
