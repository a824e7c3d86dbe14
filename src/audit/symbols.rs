//! Symbols of the running kernel that a module names: are they there, and is it the right one of several?

use crate::finding::{AMBIGUOUS_SYMBOL, Finding, NO_FTRACE_SITE, Result, SYMBOL_MISSING};
use crate::kernel::Kernel;
use crate::kernel::modules;
use crate::kernel::symbols::{Symbol, VMLINUX};
use crate::object::facts::{Facts, Function};

/// The symbol that the kernel would find (klp_find_object_symbol() in kernel/livepatch/core.c), or why it would find none.
/// Yields how many there are of the name beside it.
pub fn find<'k>(
    kernel: &'k Kernel,
    object: &str,
    name: &str,
    sympos: u64,
) -> Result<std::result::Result<(&'k Symbol, usize), Finding>> {
    let missing = |why: String| Ok(Err(Finding::new(SYMBOL_MISSING, why)));
    if object != VMLINUX && kernel.modules()?.names().all(|known| known != object) {
        return missing(format!("{} has no module {object}", kernel.descriptor.name));
    }
    let named: Vec<&Symbol> = kernel.symbols(object)?.named(name).collect();
    match (named.len(), sympos) {
        (0, _) => missing(format!("{object} of {} has no symbol {name}", kernel.descriptor.name)),
        (1, 0) => Ok(Ok((named[0], 1))),
        (count, 0) => {
            let message =
                format!("{object} has {count} symbols {name}; the sympos tells which is meant, and 0 is none of them");
            Ok(Err(Finding::new(AMBIGUOUS_SYMBOL, message)))
        }
        (count, sympos) => match named.get(sympos as usize - 1) {
            Some(symbol) => Ok(Ok((symbol, count))),
            None => missing(format!("{object} has {count} symbols {name}, and none of sympos {sympos}")),
        },
    }
}

/// Can the livepatch core hook a function? The finding says why not.
pub fn hookable(kernel: &Kernel, object: &str, name: &str, sympos: u64) -> Result<Option<Finding>> {
    let symbol = match find(kernel, object, name, sympos)? {
        Ok((symbol, _)) => symbol,
        Err(finding) => return Ok(Some(finding)),
    };
    let refused = |why: String| Ok(Some(Finding::new(NO_FTRACE_SITE, why)));
    if !symbol.is_function() {
        return refused(format!("{name} of {object} is no function"));
    }
    let has_site = match object {
        VMLINUX => match kernel.memory()? {
            Some(memory) => memory.from(symbol.address).is_some_and(|code| calls(kernel, symbol.address, code)),
            // Without an image nobody can tell.
            None => true,
        },
        _ => {
            let path = kernel.modules()?.file(object).map(modules::contents).transpose()?.unwrap_or_default();
            let facts = Facts::of(&path, object)?;
            functions_at(&facts, symbol).any(|function| function.ftrace_site)
        }
    };
    match has_site {
        true => Ok(None),
        false => refused(format!("{name} of {object} has no ftrace site: the livepatch core can't hook it")),
    }
}

/// The functions of a module's file that a symbol may be: by offset and by any of their names.
pub(super) fn functions_at<'f>(facts: &'f Facts, symbol: &'f Symbol) -> impl Iterator<Item = &'f Function> {
    facts
        .functions
        .iter()
        .filter(|function| function.offset == symbol.address && function.names().any(|known| *known == symbol.name))
}

/// Where an indirect branch may land under IBT (Intel SDM, ENDBR64).
pub(super) const ENDBR: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];

/// Does code begin with the call that ftrace patches, after an ENDBR where there is one? In the image it is a call of
/// `__fentry__`, or a nop of the same length (arch/x86/kernel/ftrace.c).
fn calls(kernel: &Kernel, address: u64, code: &[u8]) -> bool {
    const NOP: &[u8] = &[0x0f, 0x1f, 0x44, 0x00, 0x00];
    let (address, code) = match code.strip_prefix(ENDBR) {
        Some(rest) => (address + ENDBR.len() as u64, rest),
        None => (address, code),
    };
    let fentry = kernel.symbols(VMLINUX).ok().and_then(|table| table.named("__fentry__").next()).map(|s| s.address);
    match code.first_chunk::<5>() {
        Some([0xe8, distance @ ..]) => {
            let target = address.wrapping_add(5).wrapping_add_signed(i32::from_le_bytes(*distance).into());
            Some(target) == fentry
        }
        Some(bytes) => bytes == NOP,
        None => false,
    }
}
