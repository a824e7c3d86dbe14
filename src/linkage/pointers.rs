//! Which symbols the module reaches through pointers of its own, and which static keys and calls it asks instead of having
//! the kernel patch its code.
//!
//! A name that becomes a macro, `#define f (*klpe_f)`, leaves the bodies verbatim: that is easier to review than an edit at
//! each place, and reaches what macros mention too. Translation validation knows by libclang which tokens mean the
//! symbol, and refuses where the macro would change another one.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::check::Compiled;
use crate::closure::{Closure, WILDCARD};
use crate::finding::{Finding, MODULE_SWITCH, READ_ONLY_KEY, SYMBOLS_UNSUPPORTED};
use crate::kernel::Kernel;
use crate::kernel::symbols::VMLINUX;

use super::events::Event;
use super::{External, How, Resolver};

/// How symbols that aren't exported are reached (`--symbols`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Symbols {
    /// klp relocations, which `klp-extract link` writes into the built module
    #[default]
    KlpReloc,
    /// Pointers that the module sets when it is loaded; after `make` no tool is needed
    Kallsyms,
}

/// What a kernel does, by its source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// Clears klp relocations when the module goes that they are for (arch/x86/kernel/module.c, clear_relocate_add(), 6.4).
    pub clears_relocations: bool,
    /// Takes jump entries on keys that are read-only after boot (include/linux/jump_label.h, `static_key_sealed`, 6.12):
    /// before that, jump_label_add_module() writes to the key when the module is loaded, which Oopses.
    pub seals_keys: bool,
    /// Hands the module to what kallsyms_on_each_symbol() calls (include/linux/kallsyms.h, before 6.4).
    pub names_modules: bool,
}

impl Features {
    pub fn of(source: &Path) -> Features {
        let has = |file: &str, text: &str| std::fs::read_to_string(source.join(file)).is_ok_and(|t| t.contains(text));
        Features {
            clears_relocations: has("arch/x86/kernel/module.c", "clear_relocate_add"),
            seals_keys: has("include/linux/jump_label.h", "static_key_sealed"),
            names_modules: has(
                "include/linux/kallsyms.h",
                "int kallsyms_on_each_symbol(int (*fn)(void *, const char *, struct module *",
            ),
        }
    }
}

/// Why symbols can't be looked up by kallsyms in this kernel.
pub fn unsupported(kernel: &Kernel, features: Features) -> Option<Finding> {
    let is_set = |option: &str| kernel.config(option) == Some("y");
    let why = if is_set("X86_KERNEL_IBT") {
        "calls through pointers that it doesn't know of end in a #CP exception (CONFIG_X86_KERNEL_IBT)"
    } else if !is_set("KPROBES") {
        "kallsyms_lookup_name() is found by a kprobe (CONFIG_KPROBES)"
    } else if !features.names_modules {
        "its kallsyms_on_each_symbol() has another prototype than the template's"
    } else {
        return None;
    };
    let message = format!("--symbols kallsyms doesn't do on this kernel: {why}. Use klp relocations, the default");
    Some(Finding::new(SYMBOLS_UNSUPPORTED, message))
}

/// One pointer of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pointer {
    /// The name in C, a macro.
    pub name: String,
    /// What the macro leads to.
    pub pointer: String,
    /// Is it declared in a function only, whose text doesn't tell the type elsewhere?
    pub is_local: bool,
    pub object: String,
    pub symbol: String,
    pub sympos: u32,
    /// The object whose loading tells where it is.
    pub patched_object: String,
}

/// How one unit's text reaches what isn't plainly there.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Access {
    pub pointers: Vec<Pointer>,
    /// Definitions that stand in for macros of static keys and calls.
    pub switches: Vec<&'static str>,
    /// What stands in for the functions of tracepoints.
    pub events: Vec<Event>,
    /// Does its text use THIS_MODULE?
    pub this_module: bool,
    /// Of vmlinux: THIS_MODULE is NULL there.
    pub is_vmlinux: bool,
    pub is_kallsyms: bool,
}

/// By macro (or function) of [`crate::closure::switches::SWITCHES`]: what stands in for it, with the same value. A
/// static call without a target does nothing (include/linux/static_call.h, DEFINE_STATIC_CALL_NULL()), as
/// __static_call_return0() does.
const STAND_INS: &[(&str, &str)] = &[
    (
        "static_branch_likely",
        "#undef static_branch_likely\n#define static_branch_likely(key) likely(static_key_enabled(key))",
    ),
    (
        "static_branch_unlikely",
        "#undef static_branch_unlikely\n#define static_branch_unlikely(key) unlikely(static_key_enabled(key))",
    ),
    ("static_key_false", "#define static_key_false(key) unlikely(static_key_enabled(key))"),
    ("static_key_true", "#define static_key_true(key) likely(static_key_enabled(key))"),
    (
        "static_call",
        "#undef static_call\n#define static_call(name)						\\\n	((typeof(STATIC_CALL_TRAMP(name)) *)(static_call_query(name) ?: (void *)__static_call_return0))",
    ),
    (
        "static_call_cond",
        "#undef static_call_cond\n#define static_call_cond(name)					\\\n	(void)((typeof(STATIC_CALL_TRAMP(name)) *)(static_call_query(name) ?: (void *)__static_call_return0))",
    ),
];

/// What stands in for those macros that copied text uses.
pub fn stand_ins(closure: &Closure) -> Vec<&'static str> {
    let copied = closure.graph.node_weights().filter(|node| node.copied);
    let used: BTreeSet<&str> = copied.flat_map(|node| &node.switches).map(|switch| switch.name.as_str()).collect();
    let text = |token: &u32| closure.texts[(token & !WILDCARD) as usize].as_str();
    // Of the functions among them the text has the name itself; `struct static_key_false` is something else.
    let calls = |name: &str| {
        let mut copied = closure.graph.node_weights().filter(|node| node.copied);
        copied.any(|node| node.tokens.windows(2).any(|pair| text(&pair[0]) == name && text(&pair[1]) == "("))
    };
    let wanted = |name: &str| used.contains(name) || (name.starts_with("static_key_") && calls(name));
    STAND_INS.iter().filter(|(name, _)| wanted(name)).map(|(_, text)| *text).collect()
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub symbols: Symbols,
    /// Can the patched modules be removed and loaded again under the livepatch?
    pub reload: bool,
    pub features: Features,
}

impl Wanted {
    /// How a symbol is reached, where nothing forbids a pointer.
    pub fn how(&self, external: &External) -> How {
        let of_module = external.patched_object != VMLINUX;
        match self.symbols {
            _ if external.how == How::Export => How::Export,
            Symbols::Kallsyms => How::Kallsyms,
            Symbols::KlpReloc if of_module && self.reload && !self.features.clears_relocations => {
                How::KlpRelocationOfPointer
            }
            Symbols::KlpReloc => How::KlpRelocation,
        }
    }

    /// Static keys and calls whose places in the module's code the kernel can't patch. `compiled` is a text without pointers.
    pub fn troubled<'a>(
        &self,
        compiled: &Compiled,
        externals: &'a [External],
        resolver: &Resolver,
    ) -> Vec<&'a External> {
        let switches = compiled.switches();
        let is_troubled = |external: &&External| {
            switches.contains(&external.name)
                && match self.symbols {
                    Symbols::Kallsyms => external.is_private() || self.is_read_only(external, resolver),
                    Symbols::KlpReloc => external.object != VMLINUX || self.is_read_only(external, resolver),
                }
        };
        externals.iter().filter(is_troubled).collect()
    }

    fn is_read_only(&self, key: &External, resolver: &Resolver) -> bool {
        key.object == VMLINUX && !self.features.seals_keys && resolver.is_read_only(&key.symbol)
    }

    /// What to say of those that are still there after the macros were redefined: inline functions of headers have them.
    pub fn refused(&self, troubled: &[&External], left: &BTreeSet<String>, resolver: &Resolver) -> Vec<Finding> {
        let left = troubled.iter().filter(|external| left.contains(&external.name));
        let finding = |external: &&&External| {
            let External { name, object, .. } = external;
            if let Some(event) = name.strip_prefix("__tracepoint_") {
                return Some(Finding::new(
                    MODULE_SWITCH,
                    format!(
                        "copied code has trace_{event}(), a tracepoint of {object} that {}. Leave the event out by hand, or call \
                         __traceiter_{event}(NULL, ...) under static_key_enabled(&__tracepoint_{event}.key)",
                        self.why()
                    ),
                ));
            }
            // Each comes with its tracepoint.
            if name.starts_with("__SCT__tp_func_") || name.starts_with("__SCK__tp_func_") {
                return None;
            }
            let (id, why) = match self.is_read_only(external, resolver) {
                true => (
                    READ_ONLY_KEY,
                    "is read-only after boot: loading a module with a jump entry on it Oopses on this kernel",
                ),
                false => (MODULE_SWITCH, self.why()),
            };
            let message = format!(
                "copied code, or an inline function that it calls, depends on {name} of {object}, which {why}. Write \
                 static_key_enabled() or static_call_query() in its place by hand"
            );
            Some(Finding::new(id, message))
        };
        left.filter_map(|external| finding(&external)).collect()
    }

    fn why(&self) -> &'static str {
        match self.symbols {
            Symbols::KlpReloc => {
                "the kernel can't switch in code of a livepatch: it reads a module's table of such places before it knows \
                 where another module's are"
            }
            Symbols::Kallsyms => {
                "the kernel can't switch in code that finds it by a pointer; use klp relocations, the default, for those of \
                 vmlinux"
            }
        }
    }
}
