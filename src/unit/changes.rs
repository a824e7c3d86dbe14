//! What differs between two versions of a unit, by the tokens that the compiler proper sees.
//!
//! Both texts are GCC's own (`gcc -E`): a changed macro, inline function or constant counts, a changed comment does not.
//! The patched version is preprocessed with `#line` directives that keep `__LINE__` as it was (see [`crate::patch`]).

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;

use super::groups::{self, Statement};
use super::lex::{self, Interner, Symbol};
use super::live;
use super::names::{self, Role};

/// Names that the kernel makes with `__COUNTER__` (include/linux/compiler_types.h, include/linux/compiler.h): a use that
/// the patch adds moves the numbers of all later ones.
const COUNTED: &[&str] = &["__compiletime_assert_", "__UNIQUE_ID_"];

/// In the names of initcalls.
const INITCALL: &[u8] = b"__initcall__";

/// Names that file-scope assembly makes with `__COUNTER__` and `__LINE__` at their ends (include/linux/btf_ids.h, __ID()).
const BTF_ID: &[u8] = b"__BTF_ID__";

/// What kind of thing at file scope changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A struct, union or enum definition.
    Type,
    Typedef,
    /// A variable's initialiser alone.
    Initialiser,
    /// A variable's type or attributes.
    Variable,
    Prototype,
    /// Assembly at file scope, gone or changed.
    Assembly,
}

/// A declaration, other than a function's definition, that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    pub name: String,
    pub what: What,
}

/// The differences, each list in the order of the patched version.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Functions defined in both versions whose tokens differ.
    pub functions: Vec<String>,
    pub added_functions: Vec<String>,
    /// All functions that the patched version defines (an alias is only declared).
    pub defined: BTreeSet<String>,
    /// Functions and objects that only the patched version defines and other units can refer to.
    pub added_globals: Vec<String>,
    pub removed_functions: Vec<String>,
    pub declarations: Vec<Declaration>,
    /// Names at file scope, other than functions', that only the patched version declares.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// By function of [`Changes::functions`]: the declarations of its static variables as they were, a blank between the
    /// tokens.
    pub old_statics: BTreeMap<String, BTreeSet<String>>,
}

impl Changes {
    fn add_function(&mut self, name: String, is_static: bool) {
        if !is_static {
            self.added_globals.push(name.clone());
        }
        self.added_functions.push(name);
    }

    /// Does it change code or what code means? Declarations that only come (a new prototype in a header) don't, nor does a
    /// static function that only comes: whatever uses it differs too.
    pub fn concerns_code(&self) -> bool {
        let lists = [&self.functions, &self.added_globals, &self.removed_functions, &self.removed];
        lists.iter().any(|list| !list.is_empty()) || !self.declarations.is_empty()
    }
}

struct Version {
    tokens: Vec<Symbol>,
    statements: Vec<Statement>,
    /// By name and whether it is a tag's: the statements that declare it, in order.
    by_name: BTreeMap<(Symbol, bool), Vec<(usize, Role)>>,
    /// By statement, see [`live`].
    live: Vec<bool>,
}

impl Version {
    fn new(text: &[u8], interner: &mut Interner) -> Version {
        let tokens = lex::preprocessed(text, interner);
        let statements = groups::statements(&tokens, interner);
        let mut by_name: BTreeMap<(Symbol, bool), Vec<(usize, Role)>> = BTreeMap::new();
        let declared: Vec<_> = statements.iter().map(|s| names::declared(&tokens, interner, s)).collect();
        let live = live::live(&tokens, &statements, &declared, interner);
        for (index, names) in declared.iter().enumerate() {
            for name in names {
                if counted_stem(interner.text(name.symbol)).is_some() {
                    // Nothing but its own statement refers to it, and its number moves.
                    continue;
                }
                by_name.entry((name.symbol, name.role.is_tag())).or_default().push((index, name.role));
            }
        }
        Version { tokens, statements, by_name, live }
    }

    /// Can one of these statements matter to the unit's code?
    fn concerns(&self, uses: &[(usize, Role)]) -> bool {
        uses.iter().any(|(index, _)| self.live[*index])
    }

    /// Assembly at file scope, which has no name. EXPORT_SYMBOL makes some: a patch may add it.
    /// The names of initcalls in it hold a counter and a line (include/linux/init.h, __initcall_id()), those of BTF ids end
    /// in them.
    fn assembly(&self, interner: &Interner) -> BTreeSet<Vec<u8>> {
        let statements = self.statements.iter().map(|statement| &self.tokens[statement.tokens()]);
        let assembly = statements.filter(|tokens| names::is_asm_word(interner.text(tokens[0])));
        let text = |token: &Symbol| {
            let text = interner.text(*token);
            let counted = memmem::find(text, INITCALL).is_some();
            let text: Vec<u8> = text.iter().copied().filter(|byte| !(counted && byte.is_ascii_digit())).collect();
            without_btf_counters(&text)
        };
        assembly.map(|tokens| tokens.iter().flat_map(text).collect()).collect()
    }

    fn is_static(&self, statement: usize, interner: &Interner) -> bool {
        live::is_static(self.tokens(statement), interner)
    }

    /// Is an object defined that other units can refer to?
    fn defines_global(&self, uses: &[(usize, Role)], interner: &Interner) -> bool {
        let objects = uses.iter().filter(|(_, role)| *role == Role::Variable).map(|(index, _)| *index);
        let mut definitions = objects.filter(|index| live::defines_objects(self.tokens(*index), interner));
        definitions.any(|index| !self.is_static(index, interner))
    }

    fn tokens(&self, statement: usize) -> &[Symbol] {
        &self.tokens[self.statements[statement].tokens()]
    }
}

/// The text with the numbers off that end the names of BTF ids.
fn without_btf_counters(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    for word in text.split_inclusive(|byte| !lex::continues_identifier(*byte)) {
        let name = match word {
            [name @ .., last] if !lex::continues_identifier(*last) => name,
            _ => word,
        };
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = if name.starts_with(BTF_ID) { name.len() - digits } else { name.len() };
        found.extend_from_slice(&name[..kept]);
        found.extend_from_slice(&word[name.len()..]);
    }
    found
}

/// Are two statements the same, names with counters matched one to one?
fn equal(before: &[Symbol], after: &[Symbol], interner: &Interner) -> bool {
    if before.len() != after.len() {
        return false;
    }
    let mut matched: BTreeMap<Symbol, Symbol> = BTreeMap::new();
    let mut taken: BTreeSet<Symbol> = BTreeSet::new();
    before.iter().zip(after).all(|(old, new)| {
        let counted = old != new && counted_stem(interner.text(*old)).is_some();
        if !counted {
            return old == new;
        }
        if counted_stem(interner.text(*old)) != counted_stem(interner.text(*new)) {
            return false;
        }
        match matched.get(old) {
            Some(known) => known == new,
            None => {
                matched.insert(*old, *new);
                taken.insert(*new)
            }
        }
    })
}

/// The name without its counter.
fn counted_stem(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let known = COUNTED.iter().any(|prefix| text.starts_with(prefix.as_bytes()));
    (known && digits > 0).then(|| &text[..text.len() - digits])
}

/// Compares two versions of a unit, both as `gcc -E` prints them. What neither version's code can reach is left out: an
/// inline function of a header that the unit doesn't use.
pub fn compare(before: &[u8], after: &[u8]) -> Changes {
    if lines(before).eq(lines(after)) {
        return Changes::default();
    }
    let mut interner = Interner::default();
    let before = Version::new(before, &mut interner);
    let after = Version::new(after, &mut interner);
    let mut changes = Changes::default();
    let mut order: Vec<_> = after.by_name.iter().collect();
    order.sort_by_key(|(_, uses)| uses.last().map(|(index, _)| *index));
    for (key, new) in order {
        let name = interner.string(key.0);
        if new.iter().any(|(_, role)| *role == Role::Function) {
            changes.defined.insert(name.clone());
        }
        let old = before.by_name.get(key);
        if !(after.concerns(new) || old.is_some_and(|old| before.concerns(old))) {
            continue;
        }
        let Some(old) = old else {
            if let Some((index, _)) = new.iter().find(|(_, role)| *role == Role::Function) {
                changes.add_function(name, after.is_static(*index, &interner));
            } else {
                if after.defines_global(new, &interner) {
                    changes.added_globals.push(name.clone());
                }
                changes.added.push(name);
            }
            continue;
        };
        compare_name(&mut changes, name, (&before, old), (&after, new), &interner);
    }
    if !before.assembly(&interner).is_subset(&after.assembly(&interner)) {
        changes.declarations.push(Declaration { name: "assembly".into(), what: What::Assembly });
    }
    for (key, old) in &before.by_name {
        if !after.by_name.contains_key(key) && before.concerns(old) {
            let function = old.iter().any(|(_, role)| *role == Role::Function);
            let list = if function { &mut changes.removed_functions } else { &mut changes.removed };
            list.push(interner.string(key.0));
        }
    }
    changes
}

/// The lines that hold something, without line markers: how many empty ones GCC leaves depends on the directives between
/// them.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"# "))
}

type Uses<'a> = (&'a Version, &'a [(usize, Role)]);

fn compare_name(changes: &mut Changes, name: String, before: Uses, after: Uses, interner: &Interner) {
    let definition = |uses: Uses| uses.1.iter().find(|(_, role)| *role == Role::Function).map(|(index, _)| *index);
    match (definition(before), definition(after)) {
        (Some(old), Some(new)) => {
            if !equal(before.0.tokens(old), after.0.tokens(new), interner) {
                changes.functions.push(name.clone());
                let old = static_declarations(before.0.tokens(old), interner);
                if !old.is_empty() {
                    changes.old_statics.insert(name.clone(), old);
                }
            }
        }
        (None, Some(new)) => changes.add_function(name.clone(), after.0.is_static(new, interner)),
        (Some(_), None) => changes.removed_functions.push(name.clone()),
        (None, None) => {}
    }
    let missing = |from: Uses, other: Uses| -> Vec<(usize, Role)> {
        let present =
            |index: usize| other.1.iter().any(|(o, _)| equal(from.0.tokens(index), other.0.tokens(*o), interner));
        from.1.iter().filter(|(index, role)| *role != Role::Function && !present(*index)).copied().collect()
    };
    let (gone, come) = (missing(before, after), missing(after, before));
    // A declaration that only comes or only goes beside one that stays is a repetition (a prototype moved to a header).
    if let (Some((old, role)), Some((new, _))) = (gone.first(), come.first()) {
        let what = match role {
            Role::Record | Role::Enum | Role::Enumerator => What::Type,
            Role::Typedef => What::Typedef,
            Role::Prototype | Role::Function => What::Prototype,
            Role::Variable => variable_change(before.0.tokens(*old), after.0.tokens(*new), interner),
        };
        changes.declarations.push(Declaration { name, what });
    }
}

/// The declarations of static variables in a function's body.
fn static_declarations(function: &[Symbol], interner: &Interner) -> BTreeSet<String> {
    let text = |token: &Symbol| interner.string(*token);
    let body = function.iter().position(|token| interner.text(*token) == b"{").unwrap_or(function.len());
    let mut found = BTreeSet::new();
    for (at, _) in function.iter().enumerate().skip(body).filter(|(_, token)| interner.text(**token) == b"static") {
        let mut depth = 0;
        let end = function[at..].iter().position(|token| {
            match interner.text(*token) {
                b"(" | b"[" | b"{" => depth += 1,
                b")" | b"]" | b"}" => depth -= 1,
                _ => {}
            }
            depth <= 0 && interner.text(*token) == b";"
        });
        let tokens = &function[at..end.map_or(function.len(), |length| at + length + 1)];
        found.insert(tokens.iter().map(text).collect::<Vec<_>>().join(" "));
    }
    found
}

/// Is it the initialiser alone that differs?
fn variable_change(before: &[Symbol], after: &[Symbol], interner: &Interner) -> What {
    let declarator = |tokens: &[Symbol]| -> Vec<Symbol> {
        tokens.iter().copied().take_while(|token| !matches!(interner.text(*token), b"=" | b";")).collect()
    };
    if declarator(before) == declarator(after) { What::Initialiser } else { What::Variable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn new_objects_that_other_units_can_refer_to() {
        let after = "extern int a; int a; static int b; extern int c; int f(void); int f(void) { return b + c; } \
                     int *d[2] = { 0 }, e;";
        let changes = compare(b"", after.as_bytes());
        assert_eq!(changes.added_globals, strings(&["a", "f", "d", "e"]));
    }

    #[test]
    fn a_changed_function_is_found_and_a_moved_object_is_not() {
        let before = "static int a = 1; int f(void) { return a; } int g(void) { return 2; }";
        let after = "int h(void); int g(void) { return h(); }\nstatic int a = 1; int f(void) { return a; }";
        let changes = compare(before.as_bytes(), after.as_bytes());
        assert_eq!(changes.functions, strings(&["g"]));
        assert_eq!(changes.added, strings(&["h"]));
        assert_eq!(changes.declarations, []);
    }

    #[test]
    fn data_types_and_prototypes_are_told_apart() {
        let user = "int f(struct s *s) { return p(s->a); }";
        let before = format!("struct s {{ int a; }}; struct ops o = {{ .a = f, }}; int p(int); {user}");
        let after = format!("struct s {{ int a; int b; }}; struct ops o = {{ .a = g, }}; int p(long); {user}");
        let changes = compare(before.as_bytes(), after.as_bytes());
        let whats: Vec<_> = changes.declarations.iter().map(|d| (d.name.as_str(), d.what)).collect();
        assert_eq!(whats, [("s", What::Type), ("o", What::Initialiser), ("p", What::Prototype)]);
    }

    #[test]
    fn what_the_code_does_not_reach_is_no_change() {
        let unit =
            |inline: &str, code: &str| format!("static inline int a(void) {{ {inline} }} int f(void) {{ {code} }}");
        let unused = compare(unit("return 1;", "").as_bytes(), unit("return 2;", "").as_bytes());
        assert!(!unused.concerns_code() && unused.functions.is_empty(), "{unused:?}");
        let used = compare(unit("return 1;", "return a();").as_bytes(), unit("return 2;", "return a();").as_bytes());
        assert_eq!(used.functions, strings(&["a"]));
    }

    #[test]
    fn assembly_may_come_but_not_change() {
        let one = "asm(\".globl a\"); int f(void) { return 1; }";
        let two = "asm(\".globl a\"); asm(\".globl b\"); int f(void) { return 1; }";
        assert!(!compare(one.as_bytes(), two.as_bytes()).concerns_code());
        let whats: Vec<_> = compare(two.as_bytes(), one.as_bytes()).declarations.iter().map(|d| d.what).collect();
        assert_eq!(whats, [What::Assembly]);
    }

    #[test]
    fn numbers_that_end_btf_ids_may_move() {
        let unit =
            |name: &str| format!("asm(\".zero 4\\n\" \"__BTF_ID__struct__{name}:\\n\"); int f(void) {{ return 1; }}");
        let whats = |after: &str| compare(unit("x4__912338").as_bytes(), unit(after).as_bytes()).declarations.len();
        assert_eq!((whats("x4__913338"), whats("x5__912338")), (0, 1));
    }

    #[test]
    fn a_function_that_begins_with_an_attribute_is_no_assembly() {
        let before = "__attribute__((cold)) int f(void) { return 1; }";
        let after = "__attribute__((cold)) int f(void) { return 2; }";
        let changes = compare(before.as_bytes(), after.as_bytes());
        assert_eq!((changes.functions, changes.declarations), (strings(&["f"]), vec![]));
    }

    #[test]
    fn counters_may_move_but_other_numbers_may_not() {
        let before = "void f(void) { __compiletime_assert_1(); __compiletime_assert_2(); } int g1(void) { return x1; }";
        let moved = "void f(void) { __compiletime_assert_4(); __compiletime_assert_5(); } int g1(void) { return x2; }";
        assert_eq!(compare(before.as_bytes(), moved.as_bytes()).functions, strings(&["g1"]));
        let merged = "void f(void) { __compiletime_assert_4(); __compiletime_assert_4(); } int g1(void) { return x1; }";
        assert_eq!(compare(before.as_bytes(), merged.as_bytes()).functions, strings(&["f"]));
    }
}
