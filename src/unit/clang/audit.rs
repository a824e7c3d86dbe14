//! Mentions that no cursor of libclang's accounts for.

use crate::unit::assembly;
use crate::unit::declared::Declaration;
use crate::unit::groups::StatementId;
use crate::unit::lex::{Kind, Symbol};
use crate::unit::names;

use super::Need;
use super::visitor::Visitor;

impl Visitor<'_, '_> {
    /// Looks up every identifier that no cursor accounts for but that names something at file scope: attributes are
    /// opaque in libclang (`cleanup(fn)`, `alias`), and so are tags under `__alignof__` and the like.
    pub(super) fn audit(&mut self, statement: StatementId, end: u32) {
        let parsed = self.parsed;
        let declared = &parsed.outline.declared;
        let range = &parsed.outline.statements[statement.0 as usize];
        let text = |index: usize| if index >= range.start as usize { parsed.unit.text(index) } else { b"" };
        for index in range.start as usize..(end.min(range.end)) as usize {
            let token = &parsed.unit.tokens[index];
            let offset = parsed.flat.offsets[index];
            if token.kind != Kind::Identifier || self.covered.contains(&offset) || self.is_unread(offset) {
                continue;
            }
            self.token = index as u32;
            let before = index.checked_sub(1).map_or(&b""[..], text);
            if matches!(before, b"struct" | b"union" | b"enum") {
                let outer = index.checked_sub(3).map_or(&b""[..], text);
                let measured = names::is_typeof(outer) || matches!(outer, b"__alignof__" | b"_Alignof" | b"sizeof");
                if let (true, Some(definition)) = (measured, declared.tag(token.symbol)) {
                    self.push(Need::Statement(definition));
                }
                continue;
            }
            if matches!(before, b"." | b"->" | b"goto") {
                continue;
            }
            let declarations = declared.ordinary(token.symbol);
            if !declarations.iter().any(|declaration| declaration.statement == statement) {
                self.named(token.symbol, declarations);
            }
        }
        self.assembly(statement, end);
    }

    /// Symbols that assembler text names; libclang visits operands but not templates.
    fn assembly(&mut self, statement: StatementId, end: u32) {
        let parsed = self.parsed;
        let range = &parsed.outline.statements[statement.0 as usize];
        let (start, end) = (range.start as usize, end.min(range.end) as usize);
        let interner = parsed.unit.interner();
        for (index, word) in assembly::words(&parsed.outline.symbols[start..end], interner) {
            let Some(symbol) = interner.find(word) else { continue };
            let declarations = parsed.outline.declared.ordinary(symbol);
            let is_object = |declaration: &Declaration| declaration.role.is_object();
            if declarations.iter().any(is_object) {
                self.token = (start + index) as u32;
                self.named(symbol, declarations);
            }
        }
    }

    /// A name found without libclang: by what its statements declare.
    fn named(&mut self, symbol: Symbol, declarations: &[Declaration]) {
        let (Some(first), Some(last)) = (declarations.first(), declarations.last()) else { return };
        let declaration = first.statement;
        match first.role {
            names::Role::Function | names::Role::Prototype => {
                let definition = declarations.iter().rfind(|d| d.role == names::Role::Function).map(|d| d.statement);
                self.push(Need::Object { declaration, definition, name: symbol, function: true });
            }
            names::Role::Variable => {
                let definition = Some(last.statement);
                self.push(Need::Object { declaration, definition, name: symbol, function: false });
            }
            _ => self.push(Need::Statement(declaration)),
        }
    }
}
