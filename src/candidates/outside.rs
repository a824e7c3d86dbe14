//! Code that includes patched files and that no function is replaced in: assembly, and the vDSO, which runs in user space.

use crate::kernel::commands::is_outside_kernel;

use super::tree::Tree;

/// Where the vDSO's sources are (arch/x86/entry/vdso/Makefile).
const VDSO: &str = "arch/x86/entry/vdso/";

/// Files, relative to the kernel's source, that may include a patched file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Assembly of the kernel proper.
    pub assembly: Vec<String>,
    /// C of the vDSO.
    pub vdso: Vec<String>,
}

impl Outside {
    /// Those of the tree that may include one of these files.
    pub fn find(tree: &Tree, files: &[String]) -> Outside {
        let found = tree.includers(files);
        let including = found.iter().zip(0..).filter(|(found, _)| **found).map(|(_, node)| tree.path(node).to_string());
        let mut outside = Outside::default();
        for path in including {
            match (path.ends_with(".S"), is_outside_kernel(&path)) {
                (true, false) => outside.assembly.push(path),
                (false, true) if path.starts_with(VDSO) && path.ends_with(".c") => outside.vdso.push(path),
                _ => {}
            }
        }
        outside
    }

    /// What they are, in words, with the first of them; nothing where there are none.
    pub fn words(&self) -> Option<String> {
        let first = |files: &[String]| match files {
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        match (&self.assembly[..], &self.vdso[..]) {
            ([], []) => None,
            (assembly, []) => Some(format!("assembly ({})", first(assembly))),
            ([], vdso) => Some(format!("the vDSO, which runs in user space ({})", first(vdso))),
            (assembly, vdso) => Some(format!("assembly ({}) and the vDSO ({})", first(assembly), first(vdso))),
        }
    }
}
