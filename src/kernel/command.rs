//! Compile commands: how the kernel's build compiles each translation unit (TU).

use serde::{Deserialize, Serialize};

use crate::kernel::symbols::VMLINUX;

/// How one object file is compiled. Run with the build folder as working directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileCommand {
    /// C source relative to the kernel source (`net/unix/af_unix.c`), or to the build folder where it is generated.
    pub source: String,
    /// Object file relative to the build folder (`net/unix/af_unix.o`).
    pub output: String,
    /// The compiler as the build names it (`gcc`, `gcc-12`).
    pub compiler: String,
    /// All arguments but `-c`, `-o FILE`, the source and the dependency output (`-Wp,-MMD,FILE`).
    pub args: Vec<String>,
    /// The kernel object that the code ends up in, as livepatch names it: `vmlinux`, or the module's name with `_` for
    /// `-` (`kvm_amd`).
    pub object: String,
}

impl CompileCommand {
    /// Is the TU part of a loadable module?
    pub fn is_modular(&self) -> bool {
        self.object != VMLINUX
    }
}
