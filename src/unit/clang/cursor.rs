//! libclang's handles, asked for one thing at a time.

use std::ffi::{CStr, c_void};

use clang_sys::*;

/// # Safety
/// `string` must come from libclang and not have been disposed of.
pub(super) unsafe fn owned(string: CXString) -> String {
    // SAFETY: as promised by the caller; libclang's strings end in NUL.
    unsafe {
        let pointer = clang_getCString(string);
        let text =
            if pointer.is_null() { String::new() } else { CStr::from_ptr(pointer).to_string_lossy().into_owned() };
        clang_disposeString(string);
        text
    }
}

extern "C" fn collect(cursor: CXCursor, _: CXCursor, data: CXClientData) -> CXChildVisitResult {
    // SAFETY: `data` is the vector that the caller of clang_visitChildren lends for the time of the call.
    unsafe { (*data.cast::<Vec<CXCursor>>()).push(cursor) };
    CXChildVisit_Continue
}

pub(super) fn children(cursor: CXCursor) -> Vec<CXCursor> {
    let mut found: Vec<CXCursor> = Vec::new();
    // SAFETY: the vector outlives the call, and `collect` is the only one to touch it.
    unsafe { clang_visitChildren(cursor, collect, (&raw mut found).cast::<c_void>()) };
    found
}

/// Offsets of a cursor's extent; `None` for what has no place in the text.
pub(super) fn extent(cursor: CXCursor) -> Option<(u32, u32)> {
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

pub(super) fn location(cursor: CXCursor) -> u32 {
    let mut offset = 0;
    let null = std::ptr::null_mut();
    // SAFETY: as in `extent`.
    unsafe { clang_getFileLocation(clang_getCursorLocation(cursor), std::ptr::null_mut(), null, null, &mut offset) };
    offset
}

pub(super) fn kind(cursor: CXCursor) -> CXCursorKind {
    // SAFETY: takes any cursor.
    unsafe { clang_getCursorKind(cursor) }
}

pub(super) fn definition(cursor: CXCursor) -> Option<CXCursor> {
    // SAFETY: takes any cursor.
    unsafe { Some(clang_getCursorDefinition(cursor)).filter(|found| clang_Cursor_isNull(*found) == 0) }
}
