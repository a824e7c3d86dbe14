//! Static variables of functions, by their tokens: how a function reads when such a variable is the running kernel's.
//!
//! Its declaration becomes `extern` and loses its initialiser, and its name gives way to one of the whole module:
//! `static int count = 1;` and `count++` become `extern int klpl_f_count;` and `klpl_f_count++`. Whatever the source
//! spells stays as it is spelled. Where a macro's body spells it (`DO_ONCE()`), the macro's invocation is written out.

use std::collections::BTreeSet;
use std::ops::Range;

use super::clang::{LocalVariable, References};
use super::expand::{Expanded, NONE, Token};
use super::lex::Kind;
use super::names::is_attribute_word;

/// A change of the unit's tokens, and of the text that they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub tokens: Range<u32>,
    /// In the unit's text; nothing in what is written out.
    pub text: Option<Range<u32>>,
    /// The tokens that take their place.
    pub new: Vec<String>,
}

/// An invocation of a macro that gives way to its expansion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrittenOut {
    /// The macro's name.
    pub name: String,
    /// First token of the expansion, and the one behind its last.
    pub tokens: (u32, u32),
    /// The same of the invocation, in the unit's text.
    pub text: (u32, u32),
}

/// All changes for one variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    pub edits: Vec<Edit>,
    pub written_out: BTreeSet<WrittenOut>,
}

/// Words of an attribute that is about where an object lies: GCC takes none in a function for what lies elsewhere.
const OF_DEFINITIONS: &[&str] = &["section", "used", "alias", "weak"];

/// The tokens between a variable's `=` and the `,` or `;` behind it, with the `=`.
pub fn initialiser(unit: &Expanded, name: u32) -> Option<Range<u32>> {
    let end = declarator_end(unit, name);
    let start = next(unit, name + 1, |text| text == b"=")?;
    (start < end).then_some(start..end)
}

/// Do all mentions of a variable take the value of a number out of it, or only ask for its size or type?
pub fn is_only_read(unit: &Expanded, local: &LocalVariable) -> bool {
    let text = |at: u32| unit.tokens.get(at as usize).map_or(&b""[..], |_| unit.text(at as usize));
    local.uses.iter().all(|token| {
        let before =
            |skipped: &[&[u8]]| (0..*token).rev().map(text).find(|word| !skipped.contains(word)).unwrap_or_default();
        if matches!(before(&[b"(", b"&", b"*"]), b"sizeof" | b"typeof" | b"__typeof__" | b"__typeof") {
            return true;
        }
        let (mut brackets, mut at) = (0, token + 1);
        loop {
            match text(at) {
                b"[" => {
                    let Some(end) = next(unit, at + 1, |word| word == b"]") else { return false };
                    brackets += 1;
                    at = end + 1;
                }
                b")" if text(token - 1) == b"(" && matches!(text(at + 1), b"[" | b".") => at += 1,
                b"." => at += 2,
                _ => break,
            }
        }
        local.numbers && brackets == local.dimensions && before(&[b"("]) != b"&"
    })
}

/// Does a variable's initialiser take the addresses of the function's labels (`&&label`)? The running kernel's would lead into
/// the running kernel's function.
pub fn leads_to_labels(unit: &Expanded, function: Range<u32>, local: &LocalVariable) -> bool {
    let text = |at: u32| unit.text(at as usize);
    let is_label = |name: u32| {
        let mut tokens = function.clone().skip(1);
        tokens.any(|at| text(at) == b":" && text(at - 1) == text(name))
    };
    let mut tokens = initialiser(unit, local.token).into_iter().flatten();
    tokens.any(|at| text(at) == b"&&" && is_label(at + 1))
}

/// Does a range of tokens name anything?
pub fn mentions(unit: &Expanded, tokens: Range<u32>) -> bool {
    unit.tokens[tokens.start as usize..tokens.end as usize].iter().any(|token| token.kind == Kind::Identifier)
}

/// The tokens of a variable's declaration from `static` to `;`, a blank between them.
pub fn declaration(unit: &Expanded, local: &LocalVariable) -> String {
    let start = (local.start..local.token).find(|index| unit.text(*index as usize) == b"static");
    let tokens = start.unwrap_or(local.start)..declaration_end(unit, local.token) + 1;
    let words = tokens.filter(|index| (*index as usize) < unit.tokens.len());
    words.map(|index| String::from_utf8_lossy(unit.text(index as usize)).into_owned()).collect::<Vec<_>>().join(" ")
}

/// The `,` or `;` behind a declarator.
fn declarator_end(unit: &Expanded, name: u32) -> u32 {
    next(unit, name + 1, |text| matches!(text, b"," | b";")).unwrap_or(unit.tokens.len() as u32)
}

/// The `;` behind a declaration.
fn declaration_end(unit: &Expanded, name: u32) -> u32 {
    next(unit, name + 1, |text| text == b";").unwrap_or(unit.tokens.len() as u32)
}

/// The first token from `at` on that is no part of a bracket opened there. A bracket closed that was not opened ends the
/// search: the name stands in parentheses.
fn next(unit: &Expanded, at: u32, wanted: impl Fn(&[u8]) -> bool) -> Option<u32> {
    let mut depth = 0i32;
    for index in at as usize..unit.tokens.len() {
        let text = unit.text(index);
        if depth <= 0 && wanted(text) {
            return Some(index as u32);
        }
        match text {
            b"(" | b"[" | b"{" => depth += 1,
            b")" | b"]" => depth -= 1,
            b"}" if depth <= 0 => return None,
            b"}" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The edits by which a function's static variable `local` becomes the running kernel's under the name `new_name`, or why
/// that can't be. `function` are the function's tokens, `references` what libclang says of them.
pub fn edits(
    unit: &Expanded,
    function: Range<u32>,
    references: &References,
    local: &LocalVariable,
    new_name: &str,
) -> Result<Edits, String> {
    let writer = Writer { unit, local, new_name, function: function.clone() };
    let mut written_out = BTreeSet::new();
    let mut edits = match writer.declaration(|tokens| writer.text(tokens)) {
        Some(edits) => edits,
        None => writer.whole_declaration().map(|edit| vec![edit]).or_else(|why| {
            let out = writer.written_out(local.token).ok_or(&why)?;
            let statement = writer.statement();
            let is_inside = (out.tokens.0..out.tokens.1).contains(&statement.start) && statement.end < out.tokens.1;
            written_out.insert(out);
            let edits = writer.declaration(|_| Some(NOWHERE)).filter(|_| is_inside).ok_or(why)?;
            Ok::<_, String>(edits.into_iter().map(|edit| Edit { text: None, ..edit }).collect())
        })?,
    };
    let dropped = |token: u32| {
        let unread = references.static_locals.iter().filter_map(|local| local.unread.as_ref());
        unread.chain(initialiser(unit, local.token).as_ref()).any(|range| range.contains(&token))
    };
    // What the source spells, be it for several tokens.
    let mut renamed: BTreeSet<u32> = writer.spelled(local.token).into_iter().map(|text| text.start).collect();
    for token in local.uses.iter().copied().filter(|token| !dropped(*token)) {
        let text = writer.spelled(token);
        match &text {
            Some(text) => drop(renamed.insert(text.start)),
            None => {
                let out = writer.written_out(token);
                written_out.insert(out.ok_or_else(|| format!("{} mentions it", writer.macro_of(token)))?);
            }
        }
        edits.push(Edit { tokens: token..token + 1, text, new: vec![new_name.into()] });
    }
    for token in function.clone().filter(|token| unit.tokens[*token as usize].symbol == local.name) {
        let means_it = token == local.token || local.uses.contains(&token) || dropped(token);
        if means_it {
            continue;
        }
        let before = if token > function.start { unit.text(token as usize - 1) } else { b"" };
        let apart = matches!(before, b"." | b"->" | b"goto" | b"struct" | b"union" | b"enum");
        // Its scope begins with its declaration: before that, the function itself may have the name.
        if token > local.token && !apart && !references.named.contains(&token) {
            return Err("what one mention of its name means can't be told".into());
        }
        if renamed.contains(&unit.tokens[token as usize].source) {
            return Err("a macro takes its name for two things".into());
        }
    }
    edits.sort_by_key(|edit| (edit.tokens.start, std::cmp::Reverse(edit.tokens.end)));
    Ok(Edits { edits, written_out })
}

/// For what is no edit of the text.
const NOWHERE: Range<u32> = 0..0;

struct Writer<'a> {
    unit: &'a Expanded,
    local: &'a LocalVariable,
    new_name: &'a str,
    /// The function's tokens.
    function: Range<u32>,
}

impl Writer<'_> {
    fn token(&self, index: u32) -> &Token {
        &self.unit.tokens[index as usize]
    }

    fn word(&self, index: u32) -> &[u8] {
        self.unit.text(index as usize)
    }

    /// Where the source spells this very token, be it as a macro's argument.
    fn spelled(&self, index: u32) -> Option<Range<u32>> {
        let token = self.token(index);
        let length = self.word(index).len() as u32;
        let text = token.source..token.source.checked_add(length)?;
        let is_there = self.unit.reader.source.get(text.start as usize..text.end as usize) == Some(self.word(index));
        (token.expansion == NONE && token.source != NONE && is_there).then_some(text)
    }

    /// The text of a range of tokens, if no other token comes from it.
    fn text(&self, tokens: Range<u32>) -> Option<Range<u32>> {
        let (first, last) = (tokens.start, tokens.end.checked_sub(1)?);
        let invocation = |index: u32| self.unit.tokens.get(index as usize).map_or(NONE, |token| token.invocation);
        let shared =
            |inside: u32, outside: u32| invocation(inside) != NONE && invocation(inside) == invocation(outside);
        if (first > 0 && shared(first, first - 1)) || shared(last, tokens.end) {
            return None;
        }
        let start = match self.unit.invocations.get(invocation(first) as usize) {
            Some(invocation) => invocation.start,
            None => self.spelled(first)?.start,
        };
        let end = match self.unit.invocations.get(invocation(last) as usize) {
            Some(invocation) => invocation.end,
            None => self.spelled(last)?.end,
        };
        Some(start..end)
    }

    fn macro_of(&self, index: u32) -> String {
        self.outermost(index).map_or("a macro".into(), |name| format!("the macro {name}"))
    }

    /// The macro that the source invokes for a token.
    fn outermost(&self, index: u32) -> Option<String> {
        let id = self.unit.chain(self.token(index)).last()?;
        Some(self.unit.interner().string(self.unit.reader.macros[id.0 as usize].name))
    }

    /// The invocation that a token is from, within the function.
    fn written_out(&self, index: u32) -> Option<WrittenOut> {
        let number = self.token(index).invocation;
        let invocation = self.unit.invocations.get(number as usize)?;
        let is_own = |index: &u32| self.token(*index).invocation == number;
        let first = (self.function.start..=index).rev().take_while(is_own).last()?;
        let end = (index..self.function.end).take_while(is_own).last()? + 1;
        let whole = self.function.clone().filter(is_own).count() == (end - first) as usize;
        let has_pragma =
            || (first..end).any(|index| self.word(index).starts_with(b"#") || self.word(index) == b"_Pragma");
        (whole && first > self.function.start && end < self.function.end && !has_pragma()).then(|| WrittenOut {
            name: self.outermost(index).unwrap_or_default(),
            tokens: (first, end),
            text: (invocation.start, invocation.end),
        })
    }

    /// The declaration's tokens, up to its `;`.
    fn statement(&self) -> Range<u32> {
        self.local.start..declaration_end(self.unit, self.local.token)
    }

    /// Its attributes that only a definition may have.
    fn definition_attributes(&self) -> Vec<Range<u32>> {
        let mut found = Vec::new();
        let statement = self.statement();
        let mut at = statement.start;
        while at < statement.end {
            let start = at;
            at += 1;
            if !is_attribute_word(self.word(start)) || self.word(at) != b"(" {
                continue;
            }
            let mut depth = 0;
            while at < statement.end {
                match self.word(at) {
                    b"(" => depth += 1,
                    b")" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            let named = |index: u32| {
                let word = String::from_utf8_lossy(self.word(index)).into_owned();
                OF_DEFINITIONS.contains(&word.trim_matches('_'))
            };
            if (start..at).any(named) {
                found.push(start..at);
            }
        }
        found
    }

    /// The `static` of the declaration; other words `static` are in its initialisers.
    fn storage(&self) -> Option<u32> {
        (self.local.start..self.local.token).find(|index| self.word(*index) == b"static")
    }

    fn length(&self) -> Option<(u32, String)> {
        let open = self.local.token + 1;
        let unsized_array = self.word(open) == b"[" && self.word(open + 1) == b"]";
        unsized_array.then(|| self.local.length.map(|length| (open, length.to_string()))).flatten()
    }

    /// The edits of the declaration where the source spells it so far that each can be made alone; `text` says where.
    fn declaration(&self, text: impl Fn(Range<u32>) -> Option<Range<u32>>) -> Option<Vec<Edit>> {
        let edit = |tokens: Range<u32>, new: Vec<String>| {
            let text = Some(text(tokens.clone())?);
            Some(Edit { tokens, text, new })
        };
        let storage = self.storage()?;
        let mut edits = vec![edit(storage..storage + 1, vec!["extern".into()])?];
        let name = self.local.token;
        edits.push(edit(name..name + 1, vec![self.new_name.into()])?);
        if let Some((open, length)) = self.length() {
            edits.push(edit(open..open + 1, vec!["[".into(), length])?);
        }
        if let Some(initialiser) = initialiser(self.unit, name) {
            edits.push(edit(initialiser, Vec::new())?);
        }
        for attribute in self.definition_attributes() {
            edits.push(edit(attribute, Vec::new())?);
        }
        Some(edits)
    }

    /// The declaration written anew, where a macro makes it.
    fn whole_declaration(&self) -> Result<Edit, String> {
        let statement = self.statement();
        let made_by = || format!("{} declares it", self.macro_of(self.local.token));
        let tokens = statement.start..statement.end + 1;
        let text = self.text(tokens.clone()).ok_or_else(made_by)?;
        let storage = self.storage().ok_or_else(made_by)?;
        let end = declarator_end(self.unit, self.local.token);
        if end != statement.end {
            return Err(format!("{}, with others", made_by()));
        }
        let dropped = self.definition_attributes();
        let initialiser = initialiser(self.unit, self.local.token);
        let mut new = vec!["extern".to_string()];
        for index in statement.clone() {
            let is_dropped = dropped.iter().chain(&initialiser).any(|range| range.contains(&index));
            if is_dropped || index == storage {
                continue;
            }
            if self.word(index) == b"{" {
                return Err(format!("{}, and its type with it", made_by()));
            }
            let word = String::from_utf8_lossy(self.word(index)).into_owned();
            new.push(if index == self.local.token { self.new_name.into() } else { word });
            if let Some((open, length)) = self.length()
                && open == index
            {
                new.push(length);
            }
        }
        if self.token(self.local.token).kind != Kind::Identifier {
            return Err(made_by());
        }
        new.push(";".into());
        Ok(Edit { tokens, text: Some(text), new })
    }
}
