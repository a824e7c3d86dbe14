//! Findings: what the tool has to say about an input or a decision, as data with stable ids.
//!
//! Text and JSON are renderings of this data. A finding of severity [`Severity::Refuse`] that is not allowed means that
//! nothing is written and the exit status is 2; one of [`Severity::Judge`] means exit status 1.

pub mod examples;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// How much a finding weighs, heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The tool can't or won't go on.
    Refuse,
    /// The module is written, but a person has to decide whether it is right (exit status 1).
    Judge,
    Warning,
    Note,
}

impl Severity {
    /// How messages begin.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Refuse => "error",
            Severity::Judge => "judge",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One row of the registry: everything that is the same for every finding of an id.
#[derive(Debug)]
pub struct Kind {
    /// Stable, kebab-case; scripts and `--allow` refer to it.
    pub id: &'static str,
    pub severity: Severity,
    /// What it means and what a person can do; shown by `explain` and in the docs.
    pub explanation: &'static str,
}

/// A reference into the registry; compares by id.
#[derive(Clone, Copy)]
pub struct Id(pub &'static Kind);

impl PartialEq for Id {
    fn eq(&self, other: &Id) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for Id {}
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.id)
    }
}
impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.0.id)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Id, D::Error> {
        let id = String::deserialize(deserializer)?;
        let found = REGISTRY.iter().find(|known| known.0.id == id);
        found.copied().ok_or_else(|| serde::de::Error::custom(format!("no finding has the id {id}")))
    }
}

macro_rules! registry {
    ($($name:ident $severity:ident $id:literal $explanation:literal)*) => {
        $(
            #[doc = $explanation]
            pub const $name: Id = Id(&Kind { id: $id, severity: Severity::$severity, explanation: $explanation });
        )*
        /// Every kind of finding there is, in the order of the documentation.
        pub const REGISTRY: &[Id] = &[$($name),*];
    };
}

registry! {
    // The machine and the kernel.
    IO Refuse "io" "A file could not be read or written; the message names it and says why."
    TOOL_MISSING Refuse "tool-missing" "A program or library that is needed is not installed; `klp-extract doctor` lists what to install."
    TOOL_FAILED Refuse "tool-failed" "A program that was started (compiler, make, QEMU, ...) failed; its last lines are shown."
    USAGE Refuse "usage" "The command line asks for something that does not exist or does not go together."
    KERNEL_UNKNOWN Refuse "kernel-unknown" "No prepared kernel has this name; `klp-extract kernels list` shows those there are, `klp-extract prepare` makes one."
    BUNDLE_INVALID Refuse "bundle-invalid" "A bundle is damaged, or asks for something that no bundle may: a file outside of its folder, another program."
    BUNDLE_DIFFERS Judge "bundle-differs" "A run that was done again from a bundle wrote or printed something else. Another version of GCC, libclang or this program is the usual reason: bundle.json has those of the first run."
    KERNEL_INVALID Refuse "kernel-invalid" "The kernel's image, tree, configuration or build folder can't be used or don't belong together."
    REPORT_INVALID Refuse "report-invalid" "A clone report is missing, empty, truncated or of another build; remove it, and it is made on demand."
    // The front end and the module.
    FRONT_END Refuse "front-end" "A translation unit holds something that the front end can't carry, or its tokens differ from those of `gcc -E`: a fault of the tool, please report it."
    EXTENSION_UNSUPPORTED Refuse "extension-unsupported" "The unit has something that GCC takes and libclang doesn't, such as a nested function or an array of variable length in a struct. Code of such a unit has to be copied by hand."
    LINE_DIRECTIVE Refuse "line-directive" "A file that text has to be copied from has #line directives, as generated sources have: the compiler's places are not where the text is. Take the file without them (yacc -l, flex -L)."
    INCLUDE_OUTSIDE Refuse "include-outside" "The patched source, or a module's, includes a file outside of the kernel's trees and of the module's folder: what it means would be decided by each machine's own file."
    MACRO_CLASH Refuse "macro-clash" "Copied text defines a macro whose name the module's own code uses: its tables, or what registers them and asks for the kernel's build. Rename it in the patch, or write that part by hand."
    FUNCTION_ELSEWHERE Refuse "function-elsewhere" "The patch defines a function that the running kernel has from another place: it moves it, overrides a weak one, or makes an alias of it. Callers all over the kernel go on calling the old one. Leave the function where it is in the livepatch's patch, and change its code there."
    FUNCTION_REMOVED Judge "function-removed" "The patch removes a function that other files may call. The running kernel keeps it, and its callers there go on calling it. Where that matters, replace it in the livepatch's patch by one that does what they should."
    MODINFO_CHANGED Note "modinfo-changed" "The patch changes an alias, a parameter's description or the like, which user space reads from the module's file; a livepatch leaves that as it is."
    MISSING_DEFINITION Refuse "missing-definition" "Something that the module has to contain is not defined in the patched source."
    LAYOUT_CHANGED Refuse "layout-changed" "The patch changes the layout or the meaning of a type that objects of the running kernel already have. Keep the old layout and put new members into shadow variables (Documentation/livepatch/shadow-vars.rst)."
    TYPE_CHANGED Note "type-changed" "A type is written otherwise, but no member moves, grows or changes its type: objects that exist stay right."
    MEMBER_IN_PADDING Judge "member-in-padding" "A type gets a member where there was padding, or in a union: nothing moves, but objects that exist hold whatever was there. Make sure that the new code copes with that, or use a shadow variable (Documentation/livepatch/shadow-vars.rst)."
    MEMBER_RETYPED Judge "member-retyped" "A member, or a typedef, gets another type of the same size: objects that exist hold values of the old type, and functions that aren't replaced go on storing them. Make sure that all values mean the same in both."
    ENUM_EXTENDED Judge "enum-extended" "An enum gets new values behind the old ones. No object has them yet, but code that isn't replaced doesn't know them: look for its switches, and for arrays that are sized by the enum's count."
    FUNCTION_POINTER_CHANGED Refuse "function-pointer-changed" "The type of a pointer to functions changes. Tables of the running kernel hold functions of the old type, and whoever isn't replaced calls them so. Keep the pointer as it is, and hand the new value on in a shadow variable or a new function."
    EXPORTED_PROTOTYPE_CHANGED Refuse "exported-prototype-changed" "An exported function changes its prototype; modules, also such as aren't in the tree, call it as it was. Keep the function, and give the fix a new one with the new prototype."
    PROTOTYPE_CHANGED Refuse "prototype-changed" "A function changes its prototype, and it may have callers that aren't replaced: through its address, or in files that were not looked at. Keep the function, and give the fix a new one with the new prototype."
    NOTHING_CHANGED Refuse "nothing-changed" "After preprocessing, no function of this kernel differs: the patch changes only comments, or code that this configuration leaves out."
    TOKENS_DIFFER Refuse "tokens-differ" "What the compiler would see of the emitted C is not what it sees of the (patched) source (translation validation)."
    MODULE_DOES_NOT_COMPILE Refuse "module-does-not-compile" "The emitted C doesn't compile with the flags of the unit that it was copied from: a fault of the tool, please report it. After an edit by hand, the edit's fault."
    TARGET_NOT_SPELLED Refuse "target-not-spelled" "The name of a function to replace is made by macros in such a way that their output can't be written out in its place."
    STATIC_LOCAL Refuse "static-local" "A copied function has a static variable whose value must be shared with the running kernel, and the copy can't be made to use the kernel's: its symbol can't be told, or the patch changes how it is declared. Write it by hand, or allow that the livepatch has one of its own, which starts anew."
    NOT_RELOADABLE Warning "not-reloadable" "Code of the livepatch refers by klp relocations to symbols of the module that it patches (with --no-reload, or where no pointer can stand in: the name means something else too, or the function has no ENDBR and the kernel has IBT); this kernel doesn't clear those, so that module can't be loaded a second time while the livepatch is there."
    MODULE_UNIDENTIFIED Note "module-unidentified" "Nothing in the target module tells its build apart, so the livepatch can't refuse another build of it."
    OUTPUT_EXISTS Refuse "output-exists" "The output folder exists and differs from what would be written; hand edits are never overwritten."
    TEMPLATE Refuse "template" "A template can't be rendered; the message names the template and what is wrong."
    DATA_DUPLICATED Refuse "data-duplicated" "A copied function uses data of which the running kernel has no symbol; a copy would be another object."
    INIT_REFERRED Judge "init-referred" "The module refers to __init code or data, which the running kernel has freed after boot: it must not come there any more (functions marked __ref ask first)."
    ADDED_LEFT_OUT Judge "added-left-out" "The patch adds functions or data that nothing of the module uses: constructors, initcalls, what only __init code or a table calls, exports for others. The module doesn't have them; set up in a callback what they would have."
    DATA_ADDED Warning "data-added" "The patch adds data: it lives in the livepatch, starts anew with every load, and is gone when the livepatch is removed or replaced."
    DATA_REPLACED Judge "data-replaced" "The patch adds data, and the module replaces livepatches that are loaded: what an older one's data of that name holds is lost, and the next one starts anew. Make sure that the fix copes with that, or hand the state on in shadow variables (Documentation/livepatch/cumulative-patches.rst)."
    TARGET_HELD Refuse "target-held" "A livepatch that is loaded replaces the function too, and this module doesn't have that one's fix: it would undo it. Make a cumulative module with --replace."
    BASE_INVALID Refuse "base-invalid" "A livepatch given with --base can't be built on: it is of another kernel, or doesn't say which patches it was made of."
    BASE_EDITED Judge "base-edited" "A livepatch given with --base was edited by hand; the cumulative module is made of its patches, and doesn't have these edits."
    BASE_TARGET_GONE Judge "base-target-gone" "A livepatch given with --base replaces a function that the cumulative module doesn't: with the newer patches its code is as it was, or the two were made in different ways."
    DATA_DISSOLVED Note "data-dissolved" "Copied code names static data that neither version's object file has: GCC has done away with it, since nobody writes to it or nobody reads it. The livepatch has it for itself, and copies every function that mentions it."
    PRAGMA_UNKNOWN Refuse "pragma-unknown" "Copied text stands behind a #pragma whose effect on it the tool doesn't know; only `pack` is carried over."
    READ_ONLY_KEY Refuse "read-only-key" "An inline function that copied code calls has a static branch on a key that is read-only after boot; on this kernel, loading such a module Oopses. Where copied code itself has it, it asks the key instead."
    MODULE_SWITCH Refuse "module-switch" "Copied code depends on a tracepoint, static key or static call that the kernel can't switch in code of a livepatch: a module's, or with --symbols kallsyms one that isn't exported. Keys, calls and tracepoints of copied code are asked instead; what inline functions of headers have must be rewritten by hand."
    SYMBOLS_UNSUPPORTED Refuse "symbols-unsupported" "Symbols that aren't exported can't be reached by kallsyms here: the kernel forbids it, or an inline function of a header refers to one, or copied text has the name for something else too. Use klp relocations, the default."
    THIS_MODULE Refuse "this-module" "New data, or an inline function that can't be copied, names THIS_MODULE: would that be the livepatch or the module that is patched? Copied code keeps the patched one (none in vmlinux). Write the module that is meant by hand."
    ADDRESS_ESCAPES Judge "address-escapes" "The address of a function, an object or a string of the livepatch is stored or passed on (call_rcu, timer, work, ops): it may be used after the livepatch is gone. Make sure that it can't, or never unload the livepatch."
    ASSEMBLY_CHANGED Refuse "assembly-changed" "The patch changes assembly at file scope, or a header that an assembly file of the kernel includes in a way that changes it: replacing functions doesn't reach it."
    NAME_TWICE Refuse "name-twice" "Two units of one module need one name for two symbols of the running kernel where a header declares it, or for two functions that a macro names; make two livepatches, or rename by hand."
    CONFIG_INVALID Refuse "config-invalid" "A klp-extract.toml can't be read, or has a key or a value that means nothing; `klp-extract config --show-origin` lists what is set, and where."
    // A module that was edited by hand (`check`, `refresh`).
    PRISTINE_INVALID Refuse "pristine-invalid" "The pristine text or the patches beside a module (`.pristine/`), or its livepatch.json, are missing or were changed, so that nobody can tell what the hand has changed. Restore them, or create the module again and move the edits there."
    MODULE_OUTDATED Judge "module-outdated" "This program (or the kernel as it is prepared now) makes another text of the same patch than the one that was edited. `klp-extract refresh` merges the two."
    CODE_EDITED Judge "code-edited" "A copied function is no longer the patched kernel's, word for word, or is no longer there. That is what editing is for; somebody else should look at it."
    TARGETS_EDITED Judge "targets-edited" "The module's tables replace other functions than those that the patch asks for."
    TARGETS_UNKNOWN Judge "targets-unknown" "The module has no tables (`struct klp_patch`) that can be followed in the file, so what it replaces could not be checked."
    READINGS_DIFFER Judge "readings-differ" "The second reading of the C file (lang-c) doesn't see the functions, or the names that they use, as the compiler's side does: something is written in a way that fools a reader, or lang-c doesn't know an extension."
    SYMBOL_UNVERIFIED Judge "symbol-unverified" "klp.symbols names one of several symbols of a name, and nothing that the tool knows tells whether it is the right one. Compare the addresses in /proc/kallsyms with the object's layout."
    MERGE_BROKEN Judge "merge-broken" "The edits and the new module touch different lines, but the C that they make together doesn't compile, for one of them needs what the other took away. Mend the edit where the compiler says."
    MERGE_CONFLICT Judge "merge-conflict" "A hand and the new module have changed the same lines. The file has all three texts between markers, as diff3 leaves them; choose, and remove the markers."
    // The patch.
    PATCH_INVALID Refuse "patch-invalid" "The patch can't be read or names something outside of the kernel tree."
    PATCH_DOES_NOT_APPLY Refuse "patch-does-not-apply" "A hunk does not match the kernel's source; make the patch apply, or allow fuzz with --fuzz."
    PATCH_FUZZ Judge "patch-fuzz" "A hunk was applied although its context differs from the source."
    FILE_NOT_BUILT Refuse "file-not-built" "The patch changes a file that this kernel's configuration does not build; such a kernel doesn't need the fix, or has it elsewhere."
    UNIT_NOT_THERE Warning "unit-not-there" "The build generates the source of a unit, and it is not there: nobody has looked at whether it includes a patched file. Build the kernel, and prepare it again, if it may."
    TOO_MANY_UNITS Refuse "too-many-units" "The patch changes a header or a macro that very many units use; the message lists them. A livepatch of that size is hardly reviewable: patch the callers that matter, or raise the limit with --max-units."
    FILE_NOT_LIVEPATCHABLE Refuse "file-not-livepatchable" "The patch changes assembly, vDSO, boot or build files: function replacement can't reach such code."
    // Reading and applying patches (`patch`).
    PATCH_OFFSET Note "patch-offset" "A hunk was applied at another line than the patch says; its context is complete."
    PATCH_PLACE_UNSURE Judge "patch-place-unsure" "A hunk was applied at another line than the patch says, and its lines occur more than once in the file."
    FILE_IGNORED Note "file-ignored" "The patch also changes a file that no code of this kernel depends on (documentation, tests, what its configuration doesn't build); it doesn't matter to the livepatch."
    // Object code and the affected set.
    OBJECT_INVALID Refuse "object-invalid" "An object file of the kernel's own build can't be read; only x86-64 ELF objects can."
    SYMBOL_MISSING Refuse "symbol-missing" "The running kernel has no symbol of this name in the object; is it the kernel that the sources are of?"
    AMBIGUOUS_SYMBOL Refuse "ambiguous-symbol" "The running kernel has several symbols of this name and the object's layout doesn't tell which is meant; patch a caller or rename by hand."
    WEAK_OVERRIDDEN Refuse "weak-overridden" "The function is weak and the running kernel has another object's version; hooking its name would replace that one. Patch the architecture's version. Where other functions are replaced too and only GCC's own copying brings this one in, it is a note: it never runs."
    NO_FTRACE_SITE Refuse "no-ftrace-site" "Somewhere on the way up from the changed code there is nobody to hook: a function without ftrace site is called through a pointer or from other files. Patch the callers by hand."
    INIT_ONLY Refuse "init-only" "The change only concerns code that runs while booting, loading or unloading: a livepatch comes too late."
    INIT_CODE Warning "init-code" "A part of the change only concerns code that runs while booting, loading or unloading; that part has no effect on a running kernel."
    FOLDED_FUNCTION Refuse "folded-function" "GCC made one function of two with equal code; hooking one would replace the other as well. Patch the callers."
    DATA_CHANGED Refuse "data-changed" "The patch changes the contents of an object that the running kernel already has; function replacement doesn't reach it. Change it in a pre-patch callback, or use shadow variables."
    DATA_READ_ONLY Refuse "data-read-only" "The patch writes to an object to which nothing wrote before. GCC has made a constant of it, which lies in read-only memory of the running kernel; a write would be a fault. Give the fix an object of its own, and patch all functions that read the old one."
    DATA_RESIZED Refuse "data-resized" "The patch changes the size of an object that the running kernel already has; new code would reach beyond it. Keep its size, and put what is new into an object of the livepatch's own or into shadow variables."
    COLD_PART Warning "cold-part" "A target's original has a part that GCC moved away (`.cold`): a task asleep in it may be switched while it runs old code."
    NO_CODE_CHANGE Note "no-code-change" "The function's source or position in the report makes it affected, but its object code is the same before and after the patch."
    NOT_EMITTED Note "not-emitted" "A changed function has no code in this TU: GCC dropped it as unused."
    CODE_CHANGED Note "code-changed" "GCC's code of this function changes although no clone report says why (pure/const, noreturn, value ranges, folding)."
    NOT_FAITHFUL Refuse "not-faithful" "A function compiled from this source, configuration and compiler is not the one that the running kernel has; conclusions drawn from it would be about another kernel. The message names what is known to differ."
    FIDELITY_UNKNOWN Judge "fidelity-unknown" "Nothing shows whether the recompiled code is what the running kernel has, because its image or modules are missing or don't tell."
    FUNCTION_UNKNOWN Refuse "function-unknown" "No function of this name (or, to externalise, no object) is in the clone report or in the translation unit; the message names those that are similar."
    EXTERNAL_UNUSED Note "external-unused" "A name that was to be externalised is nothing that the extracted functions need."
    EXTERNAL_COPIED Refuse "external-copied" "A name that was to be externalised can't be referred to, since every unit has its own: an inline function of a header. Let it be copied."
    // What a person has to judge (`judge`).
    HALF_PAIR Judge "half-pair" "The patch adds or removes one half of a pair (lock and unlock, get and put, alloc and free, add and del). Objects and tasks that are under way when the livepatch is loaded or removed may have had the other half of the old code: count what they hold in both directions. A livepatch that can't be right in one direction can be made permanent, or drain first in a callback."
    SHARED_CONTRACT Judge "shared-contract" "The patch changes a size, a constant or a kind of result that code which isn't replaced shares. Look at each user that is named: does it cope with both? Else patch it too, or keep the contract."
    EXISTING_OBJECTS Judge "existing-objects" "The patch sets up something when an object is made. Objects that exist when the livepatch is loaded never had it done: set them up in a post-patch callback, or have the new code cope with them."
    TRANSITION_MAY_NOT_END Judge "transition-may-not-end" "A target is a function that some task never leaves (a kernel thread's main loop, the scheduler). Such a task stays unpatched, and the livepatch can't be removed or replaced meanwhile. Patch what the loop calls instead, or make sure that the thread ends, parks or is woken (Documentation/livepatch/livepatch.rst, Consistency model)."
    ALLOWED_UNUSED Note "allowed-unused" "A finding that was allowed with --allow did not occur; the exception can go."
    // The built module and the virtual machine.
    KLP_SYMBOLS_INVALID Refuse "klp-symbols-invalid" "A line of klp.symbols can't be read; each has a C name, an object (vmlinux or a module), a symbol and its sympos."
    KLP_SYMBOL_UNUSED Note "klp-symbol-unused" "klp.symbols lists a symbol that the built module doesn't refer to; the line can go."
    KLP_SYMBOL_EXPORTED Refuse "klp-symbol-exported" "klp.symbols gives a C name that vmlinux exports to a klp relocation; modpost would refuse it as exported twice. Use the export, or another C name."
    KLP_RELA_SECTION Refuse "klp-rela-section" "A klp relocation stands in a section that the kernel has processed before it applies such relocations (or never applies them to); the module would load and Oops later."
    KLP_OBJECT_NOT_PATCHED Refuse "klp-object-not-patched" "A klp relocation belongs to a module that this livepatch does not patch, so the kernel would never apply it; name the patched object in the fifth column of klp.symbols."
    MODULE_INVALID Refuse "module-invalid" "The built module is no loadable x86-64 livepatch module, or it is truncated or signed already."
    MODULE_ALREADY_LINKED Note "module-already-linked" "The module has its klp relocations already; nothing was changed."
    MODULE_LINK_STALE Refuse "module-link-stale" "The module was linked with another klp.symbols; remove the .ko and build again."
    SYMBOL_KIND Refuse "symbol-kind" "A line of klp.symbols names data of the running kernel where the module's code calls a function, or the other way round."
    SYMBOL_UNRESOLVED Refuse "symbol-unresolved" "The module refers to a symbol that neither an export nor klp.symbols provides; the kernel would refuse to load it."
    // The audit of a built module (`check MODULE.ko`).
    FORBIDDEN_SECTION Refuse "forbidden-section" "The built module has a section by which the kernel takes up exports, tracepoints, events, system calls, parameters or kfuncs; the copied code's macros made it. The kernel would have them twice."
    WRITABLE_OBJECT Judge "writable-object" "The built module has data that can be written to and that nothing accounts for. A copy of an object that the running kernel has is another object."
    SYMBOL_UNACCOUNTED Judge "symbol-unaccounted" "The built module has a function or object that is neither copied, nor made by the templates, nor added by the patch."
    TAIL_JUMP Refuse "tail-jump" "A new function ends in a jump to another one. The kernel's stack check doesn't see a task that sleeps there, so the livepatch could be removed under it, and Oops. Build with -fno-optimize-sibling-calls."
    NEW_COLD_PART Refuse "new-cold-part" "GCC has moved a part of a new function elsewhere (`.cold`). The kernel's stack check doesn't see a task that sleeps there. Build with -fno-reorder-blocks-and-partition."
    NO_ENDBR Refuse "no-endbr" "The address of a function is taken that has no ENDBR in the running kernel, or loses it at boot (`.ibt_endbr_seal`), since nothing there calls it through a pointer. On a processor with IBT, such a call ends in an exception (#CP). Let the pointer lead to a function of the livepatch's own that calls it."
    KLP_REFERENCE_PLAIN Refuse "klp-reference-plain" "A symbol that the livepatch core resolves is referred to by an ordinary relocation: the reference would keep whatever the file holds."
    MODULE_DEPENDS Judge "module-depends" "The livepatch refers to a module's exports in the ordinary way, so that it can't be loaded without that module, nor the module be removed."
    MODULE_OTHER Judge "module-other" "The built module beside the sources is not what they make: it was built from other sources, with other flags or another klp.symbols, or changed afterwards. Run `make`; where Kbuild has flags of a hand's own, the module differs by them, and somebody must look at what they do."
    MODULE_STALE Warning "module-stale" "The built module is older than a file that it is made from; build it again."
    VM_KERNEL_WARNING Refuse "vm-kernel-warning" "The kernel in the virtual machine printed a warning, a BUG, an Oops or a livepatch failure, or ended early."
    VM_TRANSITION_STUCK Refuse "vm-transition-stuck" "A task didn't leave the old (or new) code within the limit; the tasks still in transition are listed."
    VM_LOAD_FAILED Refuse "vm-load-failed" "A module could not be loaded, disabled or removed in the virtual machine."
    VM_TIMEOUT Refuse "vm-timeout" "The virtual machine didn't finish within its time limit and was ended."
    VM_TRIGGER_INVALID Refuse "vm-trigger-invalid" "A trigger can't run in the virtual machine: it has to be a static x86-64 program (gcc -static) or a #!/bin/sh script."
    VM_NOT_RESTORED Judge "vm-not-restored" "A trigger behaves differently after the livepatch was removed than before it was loaded."
    VM_RELOAD_DIFFERS Refuse "vm-reload-differs" "A trigger behaves differently once the patched module was removed and loaded again under the livepatch."
    VM_BEHAVIOUR_UNCHANGED Judge "vm-behaviour-unchanged" "No trigger behaves differently while the livepatch is loaded: it may fix nothing, or the triggers don't reach the fix."
}

/// Refusals that a person can allow: what comes after them still yields a module that is what it says, only its rightness is
/// that person's judgement. All others say that something is missing without which there is no right module. Findings to judge
/// can all be allowed.
pub const ALLOWABLE: &[Id] = &[
    LAYOUT_CHANGED,
    FUNCTION_POINTER_CHANGED,
    EXPORTED_PROTOTYPE_CHANGED,
    PROTOTYPE_CHANGED,
    DATA_CHANGED,
    DATA_DUPLICATED,
    STATIC_LOCAL,
    ASSEMBLY_CHANGED,
    INIT_ONLY,
    NO_FTRACE_SITE,
    FOLDED_FUNCTION,
    NO_ENDBR,
    NOT_FAITHFUL,
    TOKENS_DIFFER,
];

/// Can `--allow` name it?
pub fn is_allowable(id: Id) -> bool {
    match id.0.severity {
        Severity::Refuse => ALLOWABLE.contains(&id),
        Severity::Judge => true,
        Severity::Warning | Severity::Note => false,
    }
}

/// The weight of a kind, in words.
pub fn weight(id: Id) -> &'static str {
    match id.0.severity {
        Severity::Refuse if is_allowable(id) => "refuses, can be allowed",
        Severity::Refuse => "refuses",
        Severity::Judge => "to judge",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// One finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    pub id: Id,
    pub severity: Severity,
    /// What, where and what to do; one or more lines, no trailing newline.
    pub message: String,
    /// Relative to the kernel source where it is a kernel file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The reason why a person allows it (`--allow`); its severity is then a note's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Finding {
    pub fn new(id: Id, message: impl Into<String>) -> Finding {
        Finding { id, severity: id.0.severity, message: message.into(), file: None, line: None, allowed: None }
    }

    pub fn at(mut self, file: impl Into<String>, line: Option<u32>) -> Finding {
        self.file = Some(file.into());
        self.line = line;
        self
    }
}

impl Finding {
    /// Is its place one of the file before the patch?
    pub fn is_of_unpatched(&self) -> bool {
        [PATCH_FUZZ, PATCH_OFFSET, PATCH_PLACE_UNSURE].contains(&self.id)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity.word(), self.id.0.id, self.message)?;
        if let Some(reason) = &self.allowed {
            write!(f, "\n  allowed: {reason}")?;
        }
        if let Some(file) = &self.file {
            write!(f, "\n  --> {file}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
        }
        Ok(())
    }
}

/// Why a run ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// At least one finding of severity [`Severity::Refuse`].
    #[error("{}", .0.iter().map(|f| f.to_string()).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Finding>),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Are all of its findings of these kinds?
    pub fn is_only(&self, ids: &[Id]) -> bool {
        let Error::Refused(findings) = self;
        findings.iter().all(|finding| ids.contains(&finding.id))
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Error {
        Error::Refused(vec![finding])
    }
}

/// A refusal as an `Err`: `return refuse(PATCH_INVALID, "...")`.
pub fn refuse<T>(id: Id, message: impl Into<String>) -> Result<T> {
    Err(Finding::new(id, message).into())
}

/// Names the action and the path that an I/O error belongs to: `fs::read(p).map_err(io("read", p))?`.
pub fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| Finding::new(IO, format!("cannot {doing} {}: {error}", path.display())).into()
}
