//! libclang over the expanded unit as one flat buffer: what each name means, and which types must be complete.
//!
//! **The only module that touches libclang, and the only one with `unsafe`.** It hands out owned values: statements,
//! token indices, enums. libclang's traps and their work-rounds are in FACTS.md ("Front end: what trips a reader of kernel
//! C"). A parsed unit must stay on the thread that loaded the library; the tool runs it in a process of its own.
#![allow(unsafe_code, reason = "libclang is a C library; every call below passes handles that libclang made and owns")]
#![allow(non_upper_case_globals, reason = "clang-sys spells the enumerators of libclang as constants")]

mod audit;
mod cursor;
mod visitor;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};

use clang_sys::*;
use cursor::{children, extent, kind, location, owned};
use rustc_hash::FxHashSet;

use crate::finding::{EXTENSION_UNSUPPORTED, FRONT_END, Result, TOOL_MISSING, refuse};

use super::dialect;
use super::expand::{Expanded, NONE};
use super::flat::Flat;
use super::groups::{Outline, StatementId};
use super::lex::Symbol;
use super::live::{Extent, Selection};

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
    /// Has it no bytes (`struct lock_class_key` without lockdep)?
    pub empty: bool,
    pub constant: bool,
    /// What its elements are, all brackets away, is numbers alone: they can be read, and lead nowhere.
    pub numbers: bool,
    /// How many brackets lead to an element.
    pub dimensions: usize,
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

/// Makes a warning, the only one, of a function that nothing declares.
const UNDECLARED: &[&CStr] = &[c"-Wimplicit-function-declaration", c"-Wno-error=implicit-function-declaration"];

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
        Ok(visitor::references(self, statement, (end, limit), kept))
    }
}
