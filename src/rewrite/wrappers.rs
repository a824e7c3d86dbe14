//! Macros of the kernel that define functions, and how a module uses them under the livepatch's names.
//!
//! Each row is an exception that can't fall out of the rules; it is one row here with its case in `testdata`.

use super::Naming;

/// A family of defining macros.
pub struct Wrapper {
    /// The macro by whose body the target is spelled, at any depth.
    pub macro_name: &'static str,
    /// Macros whose statements the redefinitions leave out.
    pub dropped: &'static [&'static str],
    /// Redefinitions that stand before the copied text. `PREFIX` is the function prefix, `STATIC`
    /// the storage class of targets.
    pub redefinitions: &'static str,
}

/// arch/x86/include/asm/syscall_wrapper.h: the entries get the prefix; what registers the call with tracing
/// (include/linux/syscalls.h, SYSCALL_METADATA) and with error injection is left out.
const ENTRIES: Wrapper = Wrapper {
    macro_name: "__SYS_STUBx",
    dropped: &["SYSCALL_METADATA", "ALLOW_ERROR_INJECTION"],
    redefinitions: "\
/* System call entries under the livepatch's names, without trace metadata and error injection */
#undef SYSCALL_METADATA
#define SYSCALL_METADATA(sname, nb, ...)
#undef __SYS_STUBx
#define __SYS_STUBx(abi, name, ...)					\\
	STATIClong PREFIX__##abi##_##name(const struct pt_regs *regs)	\\
	{								\\
		return __se_##name(__VA_ARGS__);			\\
	}
",
};

/// Calls without arguments: their entries are aliases of the function itself, which is replaced under its own name.
const WITHOUT_ARGUMENTS: Wrapper = Wrapper {
    macro_name: "SYSCALL_DEFINE0",
    dropped: &["SYSCALL_METADATA", "__X64_SYS_STUB0", "__IA32_SYS_STUB0"],
    redefinitions: "\
/* The system call under the livepatch's name, without entries and trace metadata */
#undef SYSCALL_DEFINE0
#define SYSCALL_DEFINE0(sname)						\\
	STATIClong PREFIX__do_sys_##sname(const struct pt_regs *__unused)
",
};

/// The same in the table of 32-bit programs.
const COMPAT_WITHOUT_ARGUMENTS: Wrapper = Wrapper {
    macro_name: "COMPAT_SYSCALL_DEFINE0",
    dropped: &["__IA32_COMPAT_SYS_STUB0", "__X32_COMPAT_SYS_STUB0"],
    redefinitions: "\
/* The system call under the livepatch's name, without entries */
#undef COMPAT_SYSCALL_DEFINE0
#define COMPAT_SYSCALL_DEFINE0(sname)					\\
	STATIClong PREFIX__do_compat_sys_##sname(const struct pt_regs *__unused)
",
};

impl Wrapper {
    /// The redefinitions for these names.
    pub fn text(&self, naming: &Naming) -> String {
        let storage = if naming.shared { "" } else { "static " };
        self.redefinitions.replace("PREFIX", &naming.prefix).replace("STATIC", storage)
    }
}

pub const WRAPPERS: &[Wrapper] = &[ENTRIES, WITHOUT_ARGUMENTS, COMPAT_WITHOUT_ARGUMENTS];

/// The row by which a target with this macro chain is renamed.
pub fn of(origin: &[String]) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| origin.iter().any(|name| name == wrapper.macro_name))
}
