//! libclang over the expanded unit as one flat buffer: what each name means, and which types must be complete.
//!
//! **The only module that touches libclang, and the only one with `unsafe`.** It hands out owned values: statements,
//! token indices, enums. libclang's traps and their work-rounds are in FACTS.md ("Front end: what trips a reader of kernel
//! C"). A parsed unit must stay on the thread that loaded the library; the tool runs it in a process of its own.
#![allow(unsafe_code, reason = "libclang is a C library; every call below passes handles that libclang made and owns")]
#![allow(non_upper_case_globals, reason = "clang-sys spells the enumerators of libclang as constants")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_void};

use clang_sys::*;
use rustc_hash::FxHashSet;

use crate::finding::{EXTENSION_UNSUPPORTED, FRONT_END, Result, TOOL_MISSING, refuse};

use super::assembly;
use super::declared::Declaration;
use super::dialect;
use super::expand::{Expanded, NONE};
use super::flat::Flat;
use super::groups::{Outline, StatementId};
use super::lex::{Kind, Symbol};
use super::live::{Extent, Selection};
use super::names;
use super::statics;

/// What a mention needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The statement as it stands: a type's definition, a typedef, an enumerator's enum.
    Statement(StatementId),
    /// A function or object at file scope.
    Object { declaration: StatementId, definition: Option<StatementId>, name: Symbol, function: bool },
    /// A struct or union that may stay incomplete.
    Tag { name: Symbol, union: bool },
}

/// A mention of something at file scope.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Token that mentions it.
    pub token: u32,
    pub need: Need,
}

/// A variable with static storage inside of a function, by its tokens.
#[derive(Debug, Clone)]
pub struct LocalVariable {
    pub name: Symbol,
    pub function: String,
    /// Is it constant, or without any bytes (`struct lock_class_key` without lockdep)?
    pub stateless: bool,
    /// Elements of the array that it is, where it is one.
    pub length: Option<u64>,
    /// Token that names it.
    pub token: u32,
    /// The function's other variables of this name: how many are declared before it, and how many there are with it.
    pub namesakes: (usize, usize),
    /// First token of the statement that declares it.
    pub start: u32,
    /// Its initialiser, whose mentions aren't followed.
    pub unread: Option<std::ops::Range<u32>>,
    /// Tokens that mean it.
    pub uses: Vec<u32>,
}

/// Everything that a statement refers to.
#[derive(Debug, Default)]
pub struct References {
    pub references: Vec<Reference>,
    /// In the order of their names.
    pub static_locals: Vec<LocalVariable>,
    /// Tokens that name something, by libclang's word.
    pub named: FxHashSet<u32>,
    /// Tokens that name a variable where it is declared, whatever its storage; parameters are none.
    pub variables: BTreeSet<u32>,
    /// Tokens that mean a function or object at file scope by its name.
    pub objects: BTreeSet<u32>,
}

/// A unit that libclang has parsed.
pub struct Parsed<'a> {
    unit: &'a Expanded,
    outline: &'a Outline,
    selection: &'a Selection,
    flat: Flat,
    index: CXIndex,
    handle: CXTranslationUnit,
    /// By statement: the cursors at file scope that begin in it.
    cursors: Vec<Vec<CXCursor>>,
    /// Location and kind of every cursor at file scope: what libclang declares elsewhere is an implicit builtin.
    declared: FxHashSet<(u32, CXCursorKind)>,
}

impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        // SAFETY: both handles were made by `parse` and are not used any more.
        unsafe {
            clang_disposeTranslationUnit(self.handle);
            clang_disposeIndex(self.index);
        }
    }
}

/// Loads the library that the environment names in `LIBCLANG_PATH`, else the first one found, for this thread.
pub fn load() -> Result<()> {
    match clang_sys::load() {
        Ok(()) => Ok(()),
        Err(error) => refuse(TOOL_MISSING, format!("libclang can't be loaded: {error}; `klp-extract doctor` helps")),
    }
}

/// The version that the loaded library gives of itself.
pub fn version() -> String {
    // SAFETY: takes nothing, and the string is disposed of by `owned`.
    unsafe { owned(clang_getClangVersion()) }
}

/// # Safety
/// `string` must come from libclang and not have been disposed of.
unsafe fn owned(string: CXString) -> String {
    // SAFETY: as promised by the caller; libclang's strings end in NUL.
    unsafe {
        let pointer = clang_getCString(string);
        let text =
            if pointer.is_null() { String::new() } else { CStr::from_ptr(pointer).to_string_lossy().into_owned() };
        clang_disposeString(string);
        text
    }
}

/// Makes a warning, the only one, of a function that nothing declares.
const UNDECLARED: &[&CStr] = &[c"-Wimplicit-function-declaration", c"-Wno-error=implicit-function-declaration"];

extern "C" fn collect(cursor: CXCursor, _: CXCursor, data: CXClientData) -> CXChildVisitResult {
    // SAFETY: `data` is the vector that the caller of clang_visitChildren lends for the time of the call.
    unsafe { (*data.cast::<Vec<CXCursor>>()).push(cursor) };
    CXChildVisit_Continue
}

fn children(cursor: CXCursor) -> Vec<CXCursor> {
    let mut found: Vec<CXCursor> = Vec::new();
    // SAFETY: the vector outlives the call, and `collect` is the only one to touch it.
    unsafe { clang_visitChildren(cursor, collect, (&raw mut found).cast::<c_void>()) };
    found
}

/// Offsets of a cursor's extent; `None` for what has no place in the text.
fn extent(cursor: CXCursor) -> Option<(u32, u32)> {
    let (mut start, mut end) = (0, 0);
    let mut file: CXFile = std::ptr::null_mut();
    // SAFETY: libclang accepts null for the parts that aren't wanted, and any cursor.
    unsafe {
        let range = clang_getCursorExtent(cursor);
        let null = std::ptr::null_mut();
        clang_getFileLocation(clang_getRangeStart(range), &mut file, null, null, &mut start);
        if file.is_null() {
            return None;
        }
        clang_getFileLocation(clang_getRangeEnd(range), &mut file, null, null, &mut end);
    }
    Some((start, end))
}

fn location(cursor: CXCursor) -> u32 {
    let mut offset = 0;
    let null = std::ptr::null_mut();
    // SAFETY: as in `extent`.
    unsafe { clang_getFileLocation(clang_getCursorLocation(cursor), std::ptr::null_mut(), null, null, &mut offset) };
    offset
}

fn kind(cursor: CXCursor) -> CXCursorKind {
    // SAFETY: takes any cursor.
    unsafe { clang_getCursorKind(cursor) }
}

fn definition(cursor: CXCursor) -> Option<CXCursor> {
    // SAFETY: takes any cursor.
    unsafe { Some(clang_getCursorDefinition(cursor)).filter(|found| clang_Cursor_isNull(*found) == 0) }
}

impl<'a> Parsed<'a> {
    /// Parses what is selected of the unit, which GCC preprocesses with `args`. An error that libclang finds in it is a
    /// refusal: GCC has accepted the whole. In a part of it, so is a function that nothing declares.
    pub fn new(
        unit: &'a Expanded,
        outline: &'a Outline,
        selection: &'a Selection,
        args: &[String],
    ) -> Result<Parsed<'a>> {
        let flat = Flat::new(unit, outline, selection);
        let told = match selection {
            Selection::All => &[][..],
            Selection::Some(_) => UNDECLARED,
        };
        let dialect = dialect::arguments(args);
        let arguments: Vec<_> = dialect
            .iter()
            .map(|argument| argument.as_ptr())
            .chain(told.iter().map(|argument| argument.as_ptr()))
            .collect();
        let name = CString::from(c"/unit.i");
        // SAFETY: all buffers outlive the call; libclang copies what it keeps of the unsaved file.
        let (index, handle, error) = unsafe {
            let index = clang_createIndex(0, 0);
            let mut file = CXUnsavedFile {
                Filename: name.as_ptr(),
                Contents: flat.text.as_ptr().cast(),
                Length: flat.text.len() as _,
            };
            let mut handle = std::ptr::null_mut();
            let error = clang_parseTranslationUnit2(
                index,
                name.as_ptr(),
                arguments.as_ptr(),
                arguments.len() as i32,
                &mut file,
                1,
                0,
                &mut handle,
            );
            (index, handle, error)
        };
        if error != CXError_Success || handle.is_null() {
            return refuse(FRONT_END, format!("libclang can't parse the unit (error {error})"));
        }
        let mut parsed = Parsed {
            unit,
            outline,
            selection,
            flat,
            index,
            handle,
            cursors: vec![Vec::new(); outline.statements.len()],
            declared: FxHashSet::default(),
        };
        parsed.check_errors()?;
        parsed.index();
        Ok(parsed)
    }

    fn check_errors(&self) -> Result<()> {
        // SAFETY: the handle is valid, and each diagnostic is disposed of once.
        unsafe {
            for index in 0..clang_getNumDiagnostics(self.handle) {
                let diagnostic = clang_getDiagnostic(self.handle, index);
                let severity = clang_getDiagnosticSeverity(diagnostic);
                let text = owned(clang_getDiagnosticSpelling(diagnostic));
                let mut offset = 0;
                let null = std::ptr::null_mut();
                let place = clang_getDiagnosticLocation(diagnostic);
                clang_getFileLocation(place, std::ptr::null_mut(), null, null, &mut offset);
                clang_disposeDiagnostic(diagnostic);
                let token = self.flat.token_at(offset);
                // A builtin that libclang doesn't know is declared nowhere.
                let undeclared = severity == CXDiagnostic_Warning
                    && matches!(self.selection, Selection::Some(_))
                    && !self.unit.text(token as usize).starts_with(b"__builtin_");
                if severity >= CXDiagnostic_Error || undeclared {
                    let place = self.place(token);
                    if let Some(extension) = dialect::extension(&text) {
                        let message = format!("{place}: {extension}: GCC takes it, libclang does not");
                        return refuse(EXTENSION_UNSUPPORTED, message);
                    }
                    return refuse(FRONT_END, format!("libclang does not accept what GCC compiles: {text} ({place})"));
                }
            }
        }
        Ok(())
    }

    fn place(&self, token: u32) -> String {
        let before = self.unit.tokens[..=token as usize].iter().rev();
        let source = before.map(|token| token.source).find(|source| *source != NONE);
        let (file, line, _) = self.unit.reader.location(source.unwrap_or(0));
        format!("{}:{line}", self.unit.reader.files[file.0 as usize])
    }

    fn index(&mut self) {
        // SAFETY: the handle is valid.
        let top = children(unsafe { clang_getTranslationUnitCursor(self.handle) });
        for cursor in top {
            let Some((start, _)) = extent(cursor) else { continue };
            let statement = self.outline.statement_of(self.flat.token_at(start));
            self.cursors[statement.0 as usize].push(cursor);
            self.declared.insert((location(cursor), kind(cursor)));
        }
    }

    fn statement(&self, cursor: CXCursor) -> Option<StatementId> {
        let (start, _) = extent(cursor)?;
        Some(self.outline.statement_of(self.flat.token_at(start)))
    }

    /// The number of elements of an array at file scope, which may be its initialiser's.
    pub fn array_length(&self, name: Symbol) -> Option<u64> {
        let declarations = self.outline.declared.ordinary(name).iter();
        let cursors =
            declarations.flat_map(|declaration| self.cursors[declaration.statement.0 as usize].iter().copied());
        let named = |cursor: &CXCursor| {
            let token = self.flat.token_at(location(*cursor));
            kind(*cursor) == CXCursor_VarDecl && self.unit.tokens[token as usize].symbol == name
        };
        let lengths = cursors.filter(named).map(|cursor| {
            // SAFETY: takes any type; the length of what is no array of known length is -1.
            unsafe { clang_getArraySize(clang_getCanonicalType(clang_getCursorType(cursor))) }
        });
        lengths.filter_map(|length| u64::try_from(length).ok()).max()
    }

    /// Everything that a statement mentions, in the order of the mentions. Static variables of a function that are named in
    /// `kept` won't be initialised: what only their initialisers mention is left out. Refused where libclang was not given
    /// as much of the statement.
    pub fn references(&self, statement: StatementId, extent: Extent, kept: &BTreeSet<String>) -> Result<References> {
        if self.selection.of(statement) < Some(extent) {
            let place = self.place(self.outline.statements[statement.0 as usize].start);
            return refuse(FRONT_END, format!("what is declared at {place} is needed, but was thought not to be"));
        }
        let end = match extent {
            Extent::Whole => self.outline.statements[statement.0 as usize].end,
            Extent::Signature => self.outline.signature_end(self.unit, statement),
        };
        let limit = self.flat.offsets.get(end as usize).copied().unwrap_or(u32::MAX);
        let mut visitor = Visitor {
            parsed: self,
            limit,
            kept,
            covered: FxHashSet::default(),
            seen: FxHashSet::default(),
            uses: Vec::new(),
            found: References::default(),
            token: 0,
        };
        for cursor in &self.cursors[statement.0 as usize] {
            visitor.visit(*cursor, *cursor);
            // SAFETY: the visitor outlives the call, and `descend` is the only one to touch it.
            unsafe { clang_visitChildren(*cursor, descend, (&raw mut visitor).cast::<c_void>()) };
        }
        visitor.audit(statement, end);
        Ok(visitor.finish())
    }
}

struct Visitor<'a, 'b> {
    parsed: &'b Parsed<'a>,
    /// Cursors from this offset on are not looked at.
    limit: u32,
    /// Static variables of functions whose initialisers are left out.
    kept: &'b BTreeSet<String>,
    /// Offsets of the tokens that a cursor accounts for.
    covered: FxHashSet<u32>,
    seen: FxHashSet<(StatementId, u8)>,
    /// Mentions of a function's variables: the token that declares it, and the one that means it.
    uses: Vec<(u32, u32)>,
    found: References,
    /// Token of the mention under way.
    token: u32,
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
    fn push(&mut self, need: Need) {
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

    fn is_unread(&self, offset: u32) -> bool {
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
            while matches!(type_of.kind, CXType_ConstantArray | CXType_IncompleteArray) {
                type_of = clang_getCanonicalType(clang_getArrayElementType(type_of));
                constant |= clang_isConstQualifiedType(type_of) != 0;
            }
            LocalVariable {
                name: self.parsed.unit.tokens[self.token as usize].symbol,
                function: owned(clang_getCursorSpelling(owner)),
                stateless: constant || empty,
                length,
                token: self.token,
                namesakes: (0, 0),
                start: extent(parent).map_or(self.token, |(start, _)| self.parsed.flat.token_at(start)),
                unread: None,
                uses: Vec::new(),
            }
        };
        let is_kept = !local.stateless && self.kept.contains(&self.parsed.unit.interner().string(local.name));
        let unread = if is_kept { statics::initialiser(self.parsed.unit, local.token) } else { None };
        self.found.static_locals.push(LocalVariable { unread, ..local });
    }

    /// Looks up every identifier that no cursor accounts for but that names something at file scope: attributes are
    /// opaque in libclang (`cleanup(fn)`, `alias`), and so are tags under `__alignof__` and the like.
    fn audit(&mut self, statement: StatementId, end: u32) {
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
            let is_object = |declaration: &Declaration| {
                matches!(declaration.role, names::Role::Function | names::Role::Prototype | names::Role::Variable)
            };
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
