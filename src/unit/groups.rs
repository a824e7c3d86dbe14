//! Statements at file scope, and the groups of them that can only be copied together.
//!
//! A statement ends at `;` or at a function's `}` at depth 0. A function's body is told from an initialiser or a record
//! by what stands before its `{`; FACTS.md: this agreed with libclang in all of 2.37 million definitions.

use super::declared::{self, Declared};
use super::expand::{Expanded, NONE};
use super::lex::{Interner, Symbol};
use super::live;
use super::names::{self, Name, Role};

/// Index into the statements of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct StatementId(pub u32);

/// Index into the groups of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct GroupId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A function definition; the index of the token that names it.
    Function(u32),
    Declaration,
    Pragma,
    /// A lone `;`.
    Empty,
}

/// A statement at file scope: a range of tokens.
#[derive(Debug, Clone)]
pub struct Statement {
    pub start: u32,
    pub end: u32,
    pub shape: Shape,
}

impl Statement {
    pub fn tokens(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Index of the token from which on its body or initialiser stands. `tokens` are the unit's.
    pub fn signature_end(&self, tokens: &[Symbol], interner: &Interner) -> u32 {
        let mut depth = 0;
        for index in self.tokens() {
            match interner.text(tokens[index]) {
                b"{" if depth == 0 && matches!(self.shape, Shape::Function(_)) => return index as u32,
                b"=" if depth == 0 => return index as u32,
                b"(" | b"[" | b"{" => depth += 1,
                b")" | b"]" | b"}" => depth -= 1,
                _ => {}
            }
        }
        self.end
    }
}

/// The words that shape a unit, interned once.
struct Words {
    open: Symbol,
    close: Symbol,
    open_bracket: Symbol,
    close_bracket: Symbol,
    open_brace: Symbol,
    close_brace: Symbol,
    semicolon: Symbol,
    equals: Symbol,
}

impl Words {
    fn new(interner: &mut Interner) -> Words {
        Words {
            open: interner.intern(b"("),
            close: interner.intern(b")"),
            open_bracket: interner.intern(b"["),
            close_bracket: interner.intern(b"]"),
            open_brace: interner.intern(b"{"),
            close_brace: interner.intern(b"}"),
            semicolon: interner.intern(b";"),
            equals: interner.intern(b"="),
        }
    }
}

/// Braces outside of brackets in one statement that may begin a function's body; more than a few are no C.
const BRACES: usize = 64;

/// Cuts a unit's tokens into statements.
pub fn statements(tokens: &[Symbol], interner: &mut Interner) -> Vec<Statement> {
    let words = Words::new(interner);
    let interner = &*interner;
    let mut found = Vec::new();
    let (mut start, mut at, mut depth, mut initialiser, mut braces) = (0, 0, 0i32, false, 0);
    // Behind the parameter names of an old-style definition.
    let mut parameters: Option<usize> = None;
    while at < tokens.len() {
        let token = tokens[at];
        let mut shape = None;
        if token == words.open || token == words.open_bracket {
            depth += 1;
        } else if token == words.close || token == words.close_bracket {
            depth -= 1;
        } else if token == words.equals && depth == 0 {
            initialiser = true;
        } else if token == words.open_brace {
            // Each look goes back over the statement.
            braces += 1;
            let opens = depth == 0 && !initialiser && braces <= BRACES;
            let behind = parameters.filter(|_| text(interner, tokens, at.wrapping_sub(1)) == b";").unwrap_or(at);
            let name = if opens { function_name(tokens, interner, start, behind) } else { None };
            at = matching_brace(tokens, &words, at);
            shape = name.map(Shape::Function);
        } else if token == words.semicolon && depth == 0 {
            if parameters.is_none() && !initialiser {
                parameters = old_style(tokens, interner, start, at);
            }
            shape = match parameters {
                // Those of an old-style definition, whose body is still to come.
                Some(_) => None,
                None if at == start => Some(Shape::Empty),
                None => Some(Shape::Declaration),
            };
        } else if at == start && interner.text(token).starts_with(b"#pragma") {
            shape = Some(Shape::Pragma);
        }
        at += 1;
        if let Some(shape) = shape {
            let end = at.min(tokens.len());
            found.push(Statement { start: start as u32, end: end as u32, shape });
            start = at;
            initialiser = false;
            parameters = None;
            (depth, braces) = (0, 0);
        }
    }
    if start < tokens.len() {
        found.push(Statement { start: start as u32, end: tokens.len() as u32, shape: Shape::Declaration });
    }
    found
}

fn text<'a>(interner: &'a Interner, tokens: &[Symbol], at: usize) -> &'a [u8] {
    tokens.get(at).map_or(b"", |token| interner.text(*token))
}

/// If the declaration that ends at `end` is the first one of an old-style function's parameters (C11 6.9.1, `int f(a) int a;
/// {`): the index behind the list of their names. Nowhere else does a type or a name stand behind the parentheses of a
/// declarator.
fn old_style(tokens: &[Symbol], interner: &Interner, start: usize, end: usize) -> Option<usize> {
    let word = |at: usize| text(interner, tokens, at);
    let mut at = start;
    while at < end {
        match word(at) {
            b"{" | b"[" => at = behind(tokens, interner, at, end),
            b"(" => {
                let before = at.checked_sub(1).filter(|before| *before >= start).map_or(&b""[..], word);
                let is_list = is_identifier(before) && !names::is_specifier(before) && !takes_parentheses(before)
                    || before == b")";
                let names = tokens[at + 1..end].iter().map(|token| interner.text(*token));
                let only_names = names.take_while(|name| *name != b")").all(|name| is_identifier(name) || name == b",");
                at = behind(tokens, interner, at, end);
                let next = word(at);
                let declares = is_identifier(next) && !names::is_attribute_word(next);
                if is_list && only_names && at < end && declares {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Words other than declarators that parentheses follow.
fn takes_parentheses(word: &[u8]) -> bool {
    names::is_attribute_word(word)
        || names::is_typeof(word)
        || matches!(word, b"_Atomic" | b"_Static_assert" | b"_BitInt")
}

/// Index behind the bracket that closes the one at `open`, at most `end`.
pub fn behind(tokens: &[Symbol], interner: &Interner, open: usize, end: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().take(end).skip(open) {
        match interner.text(*token) {
            b"(" | b"[" | b"{" => depth += 1,
            b")" | b"]" | b"}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    end
}

/// Index of the brace that closes the one at `at`, or the last token's.
fn matching_brace(tokens: &[Symbol], words: &Words, at: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if *token == words.open_brace {
            depth += 1;
        } else if *token == words.close_brace {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    tokens.len().saturating_sub(1)
}

/// If the `{` at `brace` opens a function's body: the token that names the function. Walks back over attributes to the
/// parameter list and over that to the name.
fn function_name(tokens: &[Symbol], interner: &Interner, start: usize, brace: usize) -> Option<u32> {
    let text = |index: usize| interner.text(tokens[index]);
    let mut at = brace;
    loop {
        if at == start || text(at - 1) != b")" {
            return None;
        }
        let open = matching_open(tokens, interner, start, at - 1)?;
        if open == start {
            return None;
        }
        let before = open - 1;
        if names::is_attribute_word(text(before)) {
            at = before;
            continue;
        }
        if text(before) == b")" {
            let inner = matching_open(tokens, interner, start, before)? + 1;
            if inner + 1 == before && is_identifier(text(inner)) {
                // `int (f)(int a) {`, which keeps a macro `f` out.
                return Some(inner as u32);
            }
            // A parenthesised declarator, `int (*f(int a))(int b) {`: the function's name is the first one called.
            return (start..before)
                .find(|index| {
                    is_identifier(text(*index))
                        && !names::is_specifier(text(*index))
                        && text(index + 1) == b"("
                        && !names::is_attribute_word(text(*index))
                        && !names::is_typeof(text(*index))
                })
                .map(|index| index as u32);
        }
        let tagged = before > start && matches!(text(before - 1), b"struct" | b"union" | b"enum");
        return (is_identifier(text(before)) && !tagged).then_some(before as u32);
    }
}

fn matching_open(tokens: &[Symbol], interner: &Interner, start: usize, close: usize) -> Option<usize> {
    let mut depth = 0;
    for index in (start..=close).rev() {
        match interner.text(tokens[index]) {
            b")" => depth += 1,
            b"(" => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

pub fn is_identifier(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$') || *byte >= 0x80)
}

/// Statements whose source texts overlap (one macro invocation makes several, or one statement ends inside another's
/// invocation): they can only be copied as a whole.
#[derive(Debug, Clone)]
pub struct Group {
    pub first: StatementId,
    /// One behind the last statement.
    pub end: StatementId,
    /// Range in the unit's text.
    pub text: (u32, u32),
}

impl Group {
    pub fn statements(&self) -> impl Iterator<Item = StatementId> + use<> {
        (self.first.0..self.end.0).map(StatementId)
    }
}

/// A unit cut up: statements, the groups they form, and the names that each declares.
#[derive(Debug)]
pub struct Outline {
    /// Of all tokens.
    pub symbols: Vec<Symbol>,
    pub statements: Vec<Statement>,
    pub names: Vec<Vec<Name>>,
    pub declared: Declared,
    pub groups: Vec<Group>,
    /// By statement.
    pub group_of: Vec<GroupId>,
}

impl Outline {
    pub fn new(unit: &mut Expanded) -> Outline {
        let symbols: Vec<Symbol> = unit.tokens.iter().map(|token| token.symbol).collect();
        let statements = statements(&symbols, &mut unit.reader.interner);
        let names: Vec<Vec<Name>> =
            statements.iter().map(|s| names::declared(&symbols, &unit.reader.interner, s)).collect();
        let declared = Declared::new(&names, unit.interner().len());
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = Vec::with_capacity(statements.len());
        for (index, statement) in statements.iter().enumerate() {
            let id = StatementId(index as u32);
            let next = StatementId(index as u32 + 1);
            let text = text_range(unit, statement);
            match groups.last_mut() {
                Some(group)
                    if group.text.1 > text.0 || (statement.shape == Shape::Empty && text.0 - group.text.1 < 3) =>
                {
                    group.end = next;
                    group.text.1 = group.text.1.max(text.1);
                }
                _ => groups.push(Group { first: id, end: next, text }),
            }
            group_of.push(GroupId(groups.len() as u32 - 1));
        }
        Outline { symbols, statements, names, declared, groups, group_of }
    }

    /// Index of the token from which on a statement's body or initialiser stands.
    pub fn signature_end(&self, unit: &Expanded, statement: StatementId) -> u32 {
        self.statements[statement.0 as usize].signature_end(&self.symbols, unit.interner())
    }

    /// Does a token of a statement stand in parentheses?
    pub fn is_parameter(&self, unit: &Expanded, statement: StatementId, token: u32) -> bool {
        let start = self.statements[statement.0 as usize].start;
        let depth = (start..token).fold(0, |depth, index| match unit.text(index as usize) {
            b"(" => depth + 1,
            b")" => depth - 1,
            _ => depth,
        });
        depth > 0
    }

    /// The definition of a function or object.
    pub fn definition_named(&self, unit: &Expanded, name: &str) -> Option<StatementId> {
        let symbol = unit.interner().find(name.as_bytes())?;
        let all = self.declared.ordinary(symbol);
        let defines = |declaration: &&declared::Declaration| {
            let tokens = self.statements[declaration.statement.0 as usize].tokens();
            declaration.role == Role::Variable && live::defines_objects(&self.symbols[tokens], unit.interner())
        };
        let function = all.iter().find(|declaration| declaration.role == Role::Function);
        function.or_else(|| all.iter().find(defines)).map(|declaration| declaration.statement)
    }

    /// As the closures by names take it.
    pub fn unit<'a>(&'a self, unit: &'a Expanded) -> live::Unit<'a> {
        live::Unit {
            tokens: &self.symbols,
            statements: &self.statements,
            declared: &self.declared,
            interner: unit.interner(),
        }
    }

    /// The statement that a token belongs to.
    pub fn statement_of(&self, token: u32) -> StatementId {
        StatementId(self.statements.partition_point(|s| s.start <= token).saturating_sub(1) as u32)
    }
}

/// From where the first token is spelled, or its invocation starts, to where the last one ends.
fn text_range(unit: &Expanded, statement: &Statement) -> (u32, u32) {
    let range = |index: u32| {
        let token = &unit.tokens[index as usize];
        if token.invocation != NONE {
            let invocation = &unit.invocations[token.invocation as usize];
            return (invocation.start, invocation.end);
        }
        let length = match token.kind {
            super::lex::Kind::Pragma => 1,
            _ => unit.text(index as usize).len() as u32,
        };
        (token.source, token.source + length)
    };
    let (start, first_end) = range(statement.start);
    let (_, last_end) = range(statement.end - 1);
    (start, last_end.max(first_end))
}
