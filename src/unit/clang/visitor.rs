//! What one statement mentions, by libclang's cursors.

use std::collections::BTreeSet;
use std::ffi::c_void;

use clang_sys::*;
use rustc_hash::FxHashSet;

use crate::unit::groups::StatementId;
use crate::unit::lex::{Kind, Symbol};
use crate::unit::statics;

use super::cursor::{definition, extent, kind, location, owned};
use super::{LocalVariable, Need, Parsed, Reference, References};

/// See [`Parsed::references`]. The statement counts up to the token `end`, whose offset is `limit`.
pub(super) fn references(
    parsed: &Parsed,
    statement: StatementId,
    (end, limit): (u32, u32),
    kept: &BTreeSet<String>,
) -> References {
    let mut visitor = Visitor {
        parsed,
        limit,
        kept,
        covered: FxHashSet::default(),
        seen: FxHashSet::default(),
        uses: Vec::new(),
        found: References::default(),
        token: 0,
    };
    for cursor in &parsed.cursors[statement.0 as usize] {
        visitor.visit(*cursor, *cursor);
        // SAFETY: the visitor outlives the call, and `descend` is the only one to touch it.
        unsafe { clang_visitChildren(*cursor, descend, (&raw mut visitor).cast::<c_void>()) };
    }
    visitor.audit(statement, end);
    visitor.finish()
}

pub(super) struct Visitor<'a, 'b> {
    pub(super) parsed: &'b Parsed<'a>,
    /// Cursors from this offset on are not looked at.
    limit: u32,
    /// Static variables of functions whose initialisers are left out.
    kept: &'b BTreeSet<String>,
    /// Offsets of the tokens that a cursor accounts for.
    pub(super) covered: FxHashSet<u32>,
    seen: FxHashSet<(StatementId, u8)>,
    /// Mentions of a function's variables: the token that declares it, and the one that means it.
    uses: Vec<(u32, u32)>,
    found: References,
    /// Token of the mention under way.
    pub(super) token: u32,
}

extern "C" fn descend(cursor: CXCursor, parent: CXCursor, data: CXClientData) -> CXChildVisitResult {
    // SAFETY: `data` is the visitor that `references` lends for the time of the call.
    let visitor = unsafe { &mut *data.cast::<Visitor>() };
    if extent(cursor).is_some_and(|(start, _)| start >= visitor.limit || visitor.is_unread(start)) {
        return CXChildVisit_Continue;
    }
    visitor.visit(cursor, parent);
    // Never pruned on a missing location: LLVM 14 and 16 hang initialisers through anonymous members under one.
    CXChildVisit_Recurse
}

impl Visitor<'_, '_> {
    pub(super) fn push(&mut self, need: Need) {
        if let Need::Object { name, .. } = need
            && self.parsed.unit.tokens[self.token as usize].symbol == name
        {
            self.found.objects.insert(self.token);
        }
        let key = match need {
            Need::Statement(statement) => (statement, 0),
            // One statement may declare several, each with its own decision.
            Need::Object { name, .. } => (StatementId(name.0), 1),
            Need::Tag { name, .. } => (StatementId(name.0), 2),
        };
        if self.seen.insert(key) {
            self.found.references.push(Reference { token: self.token, need });
        }
    }

    fn need(&mut self, cursor: CXCursor) {
        if let Some(statement) = self.parsed.statement(cursor) {
            self.push(Need::Statement(statement));
        }
    }

    /// The definition of a record or enum type, through arrays.
    fn complete(&mut self, kind_of: CXType) {
        // SAFETY: takes any type.
        unsafe {
            let mut canonical = clang_getCanonicalType(kind_of);
            while matches!(
                canonical.kind,
                CXType_ConstantArray | CXType_IncompleteArray | CXType_VariableArray | CXType_Vector
            ) {
                canonical = clang_getCanonicalType(clang_getArrayElementType(canonical));
            }
            if matches!(canonical.kind, CXType_Record | CXType_Enum) {
                let declaration = clang_getTypeDeclaration(canonical);
                self.need(definition(declaration).unwrap_or(declaration));
            }
        }
    }

    fn visit(&mut self, cursor: CXCursor, parent: CXCursor) {
        let at = location(cursor);
        self.covered.insert(at);
        self.token = self.parsed.flat.token_at(at);
        // SAFETY: takes any cursor.
        let referenced = unsafe { clang_getCursorReferenced(cursor) };
        // SAFETY: takes any cursors.
        let refers = unsafe { clang_Cursor_isNull(referenced) == 0 && clang_equalCursors(referenced, cursor) == 0 };
        if refers {
            self.found.named.insert(self.token);
            self.refer(cursor, parent, referenced);
        }
        self.complete_types(cursor, parent);
        self.static_local(cursor, parent);
    }

    pub(super) fn is_unread(&self, offset: u32) -> bool {
        let token = self.parsed.flat.token_at(offset);
        self.found.static_locals.iter().any(|local| local.unread.as_ref().is_some_and(|range| range.contains(&token)))
    }

    fn finish(self) -> References {
        let mut found = self.found;
        found.static_locals.sort_by_key(|local| local.token);
        for local in &mut found.static_locals {
            let uses = self.uses.iter().filter(|(declaration, _)| *declaration == local.token).map(|(_, token)| *token);
            let meaning = uses.filter(|token| self.parsed.unit.tokens[*token as usize].symbol == local.name);
            local.uses = meaning.collect::<BTreeSet<u32>>().into_iter().collect();
            let symbol = |token: &&u32| self.parsed.unit.tokens[**token as usize].symbol == local.name;
            let before = found.variables.range(..local.token).filter(symbol).count();
            local.namesakes = (before, found.variables.iter().filter(symbol).count());
        }
        found
    }

    fn refer(&mut self, cursor: CXCursor, parent: CXCursor, referenced: CXCursor) {
        match kind(referenced) {
            CXCursor_StructDecl | CXCursor_UnionDecl => {
                // `sizeof(struct x)` has the type as a child of the expression.
                if kind(parent) == CXCursor_UnaryExpr
                    && let Some(definition) = definition(referenced)
                {
                    self.need(definition);
                }
                let name = self.parsed.unit.tokens[self.parsed.flat.token_at(location(referenced)) as usize];
                if name.kind == Kind::Identifier && !self.is_keyword(name.symbol) {
                    let union = kind(referenced) == CXCursor_UnionDecl;
                    self.push(Need::Tag { name: name.symbol, union });
                } else {
                    // An anonymous record can only be taken whole.
                    self.need(referenced);
                }
            }
            CXCursor_EnumDecl => self.need(definition(referenced).unwrap_or(referenced)),
            CXCursor_FunctionDecl => self.function(cursor, referenced),
            CXCursor_FieldDecl => {
                // SAFETY: takes any cursor.
                let owner = unsafe { clang_getCursorSemanticParent(referenced) };
                self.need(owner);
                self.need(referenced);
            }
            CXCursor_VarDecl => self.variable(referenced),
            CXCursor_ParmDecl | CXCursor_LabelStmt => {}
            _ => self.need(referenced),
        }
    }

    fn is_keyword(&self, symbol: Symbol) -> bool {
        matches!(self.parsed.unit.interner().text(symbol), b"struct" | b"union" | b"enum")
    }

    fn function(&mut self, cursor: CXCursor, referenced: CXCursor) {
        // SAFETY: takes any cursor.
        let canonical = unsafe { clang_getCanonicalCursor(referenced) };
        let definition = definition(referenced);
        if !self.parsed.declared.contains(&(location(canonical), CXCursor_FunctionDecl)) {
            // An implicitly declared builtin sits at its first use. A library builtin (memcpy) may be declared at file
            // scope later on: the audit finds that by name.
            self.covered.remove(&location(cursor));
            if let Some(definition) = definition {
                self.need(definition);
            }
            return;
        }
        self.object(canonical, definition, true);
    }

    fn variable(&mut self, referenced: CXCursor) {
        // SAFETY: takes any cursor.
        let canonical = unsafe { clang_getCanonicalCursor(referenced) };
        // SAFETY: as above.
        let parent = unsafe { clang_getCursorSemanticParent(canonical) };
        // Not `== CXCursor_TranslationUnit`: that enumerator's value changed with LLVM 16 (300, now 350).
        if kind(parent) == CXCursor_FunctionDecl {
            self.uses.push((self.parsed.flat.token_at(location(canonical)), self.token));
            return;
        }
        self.object(canonical, definition(referenced), false);
    }

    fn object(&mut self, canonical: CXCursor, definition: Option<CXCursor>, function: bool) {
        let Some(declaration) = self.parsed.statement(canonical) else { return };
        let definition = definition.and_then(|cursor| self.parsed.statement(cursor));
        let name = self.parsed.unit.tokens[self.parsed.flat.token_at(location(canonical)) as usize].symbol;
        self.push(Need::Object { declaration, definition, name, function });
    }

    fn complete_types(&mut self, cursor: CXCursor, parent: CXCursor) {
        let cursor_kind = kind(cursor);
        // SAFETY: all of these take any cursor or type.
        unsafe {
            let is_expression = clang_isExpression(cursor_kind) != 0;
            if is_expression || matches!(cursor_kind, CXCursor_VarDecl | CXCursor_ParmDecl | CXCursor_FieldDecl) {
                let type_of = clang_getCursorType(cursor);
                self.complete(type_of);
                let canonical = clang_getCanonicalType(type_of);
                if canonical.kind != CXType_Pointer {
                    return;
                }
                let arithmetic = matches!(
                    cursor_kind,
                    CXCursor_UnaryOperator
                        | CXCursor_BinaryOperator
                        | CXCursor_CompoundAssignOperator
                        | CXCursor_ArraySubscriptExpr
                );
                if arithmetic || (kind(parent) == CXCursor_BinaryOperator && self.is_sum(cursor, parent)) {
                    self.complete(clang_getPointeeType(canonical));
                }
            } else if cursor_kind == CXCursor_FunctionDecl && clang_isCursorDefinition(cursor) != 0 {
                self.complete(clang_getCursorResultType(cursor));
            }
        }
    }

    /// Is the operator between the operands of `parent` `+` or `-`? (libclang names it only from LLVM 17 on.)
    fn is_sum(&self, operand: CXCursor, parent: CXCursor) -> bool {
        let (Some((parent_start, _)), Some((start, end))) = (extent(parent), extent(operand)) else { return false };
        let offsets = &self.parsed.flat.offsets;
        let operator = if parent_start == start {
            offsets.partition_point(|offset| *offset < end)
        } else {
            offsets.partition_point(|offset| *offset < start).saturating_sub(1)
        };
        operator < offsets.len() && matches!(self.parsed.unit.text(operator), b"+" | b"-")
    }

    fn static_local(&mut self, cursor: CXCursor, parent: CXCursor) {
        if !matches!(kind(cursor), CXCursor_VarDecl | CXCursor_ParmDecl | CXCursor_FieldDecl) {
            return;
        }
        self.found.named.insert(self.token);
        // SAFETY: all of these take any cursor or type.
        let local = unsafe {
            let owner = clang_getCursorSemanticParent(cursor);
            let storage = clang_Cursor_getStorageClass(cursor);
            let is_local = kind(cursor) == CXCursor_VarDecl && kind(owner) == CXCursor_FunctionDecl;
            if !is_local || storage == CX_SC_Extern {
                return;
            }
            self.found.variables.insert(self.token);
            if storage != CX_SC_Static {
                return;
            }
            let mut type_of = clang_getCanonicalType(clang_getCursorType(cursor));
            let length = u64::try_from(clang_getArraySize(type_of)).ok();
            let empty = clang_Type_getSizeOf(type_of) == 0;
            let mut constant = clang_isConstQualifiedType(type_of) != 0;
            let mut dimensions = 0;
            while matches!(type_of.kind, CXType_ConstantArray | CXType_IncompleteArray) {
                type_of = clang_getCanonicalType(clang_getArrayElementType(type_of));
                constant |= clang_isConstQualifiedType(type_of) != 0;
                dimensions += 1;
            }
            LocalVariable {
                name: self.parsed.unit.tokens[self.token as usize].symbol,
                function: owned(clang_getCursorSpelling(owner)),
                empty,
                constant,
                numbers: is_numbers(type_of),
                dimensions,
                length,
                token: self.token,
                namesakes: (0, 0),
                start: extent(parent).map_or(self.token, |(start, _)| self.parsed.flat.token_at(start)),
                unread: None,
                uses: Vec::new(),
            }
        };
        let is_kept =
            !local.empty && !local.constant && self.kept.contains(&self.parsed.unit.interner().string(local.name));
        let unread = if is_kept { statics::initialiser(self.parsed.unit, local.token) } else { None };
        self.found.static_locals.push(LocalVariable { unread, ..local });
    }
}

/// Is a canonical type a number, or a structure of numbers?
fn is_numbers(type_of: CXType) -> bool {
    extern "C" fn visit(field: CXCursor, numbers: CXClientData) -> CXVisitorResult {
        // SAFETY: `numbers` is the flag below, which outlives the visit; any cursor has a type.
        unsafe {
            if is_numbers(clang_getCanonicalType(clang_getCursorType(field))) {
                return CXVisit_Continue;
            }
            *numbers.cast::<bool>() = false;
        }
        CXVisit_Break
    }
    if type_of.kind != CXType_Record {
        return type_of.kind == CXType_Enum || (CXType_Bool..=CXType_LongDouble).contains(&type_of.kind);
    }
    let mut numbers = true;
    // SAFETY: the flag outlives the visit.
    unsafe { clang_Type_visitFields(type_of, visit, (&raw mut numbers).cast()) };
    numbers
}
