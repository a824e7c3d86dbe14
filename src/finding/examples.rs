//! For every kind of finding: what brings it about, for `explain` and docs/refusals.md.

use super::*;

/// The example of a kind; a test keeps the table complete.
pub fn of(id: Id) -> Option<&'static str> {
    EXAMPLES.iter().find(|(known, _)| *known == id).map(|(_, example)| *example)
}

#[rustfmt::skip]
const EXAMPLES: &[(Id, &str)] = &[
    (IO, "`klp-extract create no-such.patch -k KERNEL`, or a full disk."),
    (TOOL_MISSING, "`klp-extract test DIR` on a machine without QEMU."),
    (TOOL_FAILED, "GCC is killed because the machine has no memory left."),
    (USAGE, "`klp-extract create -k KERNEL`, without a patch."),
    (KERNEL_UNKNOWN, "`-k 6.1.0-1-amd64` before `klp-extract prepare debian 6.1.0-1-amd64`."),
    (KERNEL_INVALID, "`prepare local` with the image of another build than the build folder's."),
    (REPORT_INVALID, "`--ipa-clones` names a report that a broken build has cut off in the middle of a line."),
    (FRONT_END, "The unit has `#pragma push_macro(\"x\")`."),
    (EXTENSION_UNSUPPORTED, "`struct { int n; char name[n]; } s;` in a function."),
    (LINE_DIRECTIVE, "The patched function stands in a file that flex wrote, with `#line 12 \"scan.l\"`."),
    (MISSING_DEFINITION, "The patch calls `helper()`, which it adds to a file that this kernel doesn't build."),
    (LAYOUT_CHANGED, "`struct epitem { ...; struct rcu_head rcu; }`: a member is added to a struct that the kernel has allocated long ago."),
    (TYPE_CHANGED, "`unsigned flags;` becomes `unsigned int flags;`."),
    (MEMBER_IN_PADDING, "`u8 kind; u32 len;` becomes `u8 kind; u8 closed; u32 len;`."),
    (MEMBER_RETYPED, "`int refs;` becomes `atomic_t refs;`."),
    (ENUM_EXTENDED, "`enum state { OPEN, CLOSED };` becomes `enum state { OPEN, CLOSED, DYING };`."),
    (FUNCTION_POINTER_CHANGED, "`int (*open)(struct inode *);` in an ops struct gets a second parameter."),
    (EXPORTED_PROTOTYPE_CHANGED, "`int kern_path(const char *, unsigned int);` with `EXPORT_SYMBOL(kern_path)` gets a third parameter."),
    (PROTOTYPE_CHANGED, "`static int show(struct seq_file *m)`, whose address stands in a table, gets a second parameter."),
    (NOTHING_CHANGED, "The patch mends a comment, or code under `#ifdef CONFIG_X` where X is off."),
    (TOKENS_DIFFER, "A header that the module includes expands a macro otherwise for modules (`#ifdef MODULE`)."),
    (MODULE_DOES_NOT_COMPILE, "Copied code needs a declaration that the tool left out."),
    (TARGET_NOT_SPELLED, "`DEFINE_SHOW(foo)` makes the function `foo_show`, which is to be replaced."),
    (STATIC_LOCAL, "`static int count;` in a patched function, where the patch makes it `static long count;`."),
    (NOT_RELOADABLE, "`create --no-reload` for a module whose own functions the copied code calls."),
    (MODULE_UNIDENTIFIED, "The target module was built without `CONFIG_MODULE_SRCVERSION_ALL`."),
    (OUTPUT_EXISTS, "`create` is run again after the C file in its folder was edited."),
    (TEMPLATE, "A template of one's own names the variable `{{ subjekt }}`."),
    (DATA_DUPLICATED, "`static int limit = 3;`, which two copied functions read, and of which the kernel's symbol table knows nothing."),
    (DATA_ADDED, "The patch adds `static DEFINE_SPINLOCK(fix_lock);`."),
    (DATA_REPLACED, "`create --base livepatch-first --replace` of a patch that adds `static DEFINE_IDA(ids);`."),
    (TARGET_HELD, "`--base livepatch-first` without `--replace`, where both patches change `do_coredump()`."),
    (BASE_INVALID, "`--base` names a folder that `create` wrote for another kernel."),
    (BASE_EDITED, "A line of livepatch-first.c was changed by hand, and `--base livepatch-first` is given."),
    (BASE_TARGET_GONE, "The newer patch takes back what livepatch-first changed in `f()`."),
    (DATA_DISSOLVED, "`static bool debug;`, which nothing ever sets: GCC has put `false` in its place."),
    (PRAGMA_UNKNOWN, "A copied function stands behind `#pragma GCC optimize(\"O1\")`."),
    (READ_ONLY_KEY, "Copied code calls an inline function of a header that has `static_branch_unlikely(&k)`, with `DEFINE_STATIC_KEY_FALSE_RO(k)` in vmlinux."),
    (DATA_READ_ONLY, "`static int level = 3;`, which nothing writes to, so that GCC has put it into .rodata; the patch adds `level = 4;`."),
    (MODULE_SWITCH, "Copied code of kvm.ko has `trace_kvm_exit(vcpu, isa)`, kvm's own tracepoint."),
    (SYMBOLS_UNSUPPORTED, "`--symbols kallsyms` on a kernel with CONFIG_X86_KERNEL_IBT."),
    (THIS_MODULE, "The patch adds `static struct file_operations f = { .owner = THIS_MODULE };` to a module."),
    (ADDRESS_ESCAPES, "`call_rcu(&p->rcu, p_free);` in a target, where `p_free` is a static function that the module has a copy of."),
    (ASSEMBLY_CHANGED, "`asm(\".globl entry...\");` outside of any function is changed."),
    (NAME_TWICE, "net/a.c and net/b.c both have a `static int limit`, and the module refers to both."),
    (PATCH_INVALID, "A hunk says `@@ -1,3 +1,4 @@` and has five lines, or names `../../etc/passwd`."),
    (PATCH_DOES_NOT_APPLY, "A fix for 6.12 whose context 6.1 doesn't have."),
    (PATCH_FUZZ, "`--fuzz 1`, and the first line of context differs."),
    (FILE_NOT_BUILT, "A fix to drivers/gpu/drm/ for a cloud kernel without graphics."),
    (UNIT_NOT_THERE, "drivers/tty/vt/defkeymap.c, which only a full build generates."),
    (TOO_MANY_UNITS, "A patch to `list_add()` in include/linux/list.h."),
    (FILE_NOT_LIVEPATCHABLE, "A patch to arch/x86/entry/entry_64.S."),
    (PATCH_OFFSET, "The patch says line 100, and the same lines stand at 104."),
    (PATCH_PLACE_UNSURE, "The patch says line 100, and the same lines stand at 90 and at 120."),
    (FILE_IGNORED, "The patch also changes Documentation/networking/ip-sysctl.rst."),
    (OBJECT_INVALID, "An object file of the build folder is cut off, or of another architecture."),
    (SYMBOL_MISSING, "The function is in the source, but the image was built from another version of it."),
    (AMBIGUOUS_SYMBOL, "Two functions `init` of one source that is compiled twice into vmlinux."),
    (WEAK_OVERRIDDEN, "`__weak arch_setup()` in kernel/, where arch/x86 has its own."),
    (NO_FTRACE_SITE, "A patch to a `noinstr` function that only assembly calls."),
    (INIT_ONLY, "A patch to `static int __init foo_init(void)`."),
    (INIT_CODE, "A patch to `foo_init()`, and to `foo_ioctl()`, which is replaced."),
    (FOLDED_FUNCTION, "`a_put()` and `b_put()` have equal code, and the image has both names at one address."),
    (DATA_CHANGED, "`static const int limits[] = { 1, 2 };` becomes `{ 1, 3 }`."),
    (DATA_RESIZED, "`static char name[16];` becomes `static char name[32];`."),
    (COLD_PART, "The symbol table has `foo` and `foo.cold`."),
    (NO_CODE_CHANGE, "The patch turns `x * 2` into `x + x`, and GCC makes the same of both."),
    (NOT_EMITTED, "The patch changes a `static inline` function that nothing in this unit calls."),
    (CODE_CHANGED, "`get()` returned 0 always, and its caller was compiled knowing that."),
    (NOT_FAITHFUL, "The kernel was built by another version of GCC than this machine's."),
    (FIDELITY_UNKNOWN, "`prepare local` without an image."),
    (FUNCTION_UNKNOWN, "`klp-extract plan --function udp_sendmsgs --file net/ipv4/udp.c`: there is only `udp_sendmsg`."),
    (EXTERNAL_UNUSED, "`extract --externalize log`, where the function no longer calls `log`."),
    (EXTERNAL_COPIED, "`extract --externalize min_of`, where `min_of` is `static inline` in a header."),
    (HALF_PAIR, "The patch adds `dev_hold(dev);` to the function that opens, and `dev_put(dev);` to the one that closes: what is open already was never held."),
    (SHARED_CONTRACT, "`#define BUF_SIZE 64` becomes 128, and a function that isn't replaced allocates by it."),
    (EXISTING_OBJECTS, "The patch adds `spin_lock_init(&sk->fix_lock);` to the function that makes sockets."),
    (TRANSITION_MAY_NOT_END, "A patch to `worker_thread()`, which idle workers sleep in."),
    (ALLOWED_UNUSED, "`--allow half-pair=...` for a patch without such a finding."),
    (KLP_SYMBOLS_INVALID, "A line `foo vmlinux foo`, without the sympos."),
    (KLP_SYMBOL_UNUSED, "A helper was deleted by hand, and its line in klp.symbols stays."),
    (KLP_SYMBOL_EXPORTED, "`printk vmlinux _printk 0`, where vmlinux exports `_printk`."),
    (KLP_RELA_SECTION, "A static branch of the module is on a key of the patched module."),
    (KLP_OBJECT_NOT_PATCHED, "`foo kvm foo 0` in a livepatch that only patches vmlinux."),
    (MODULE_INVALID, "`klp-extract link` of a module that has no `MODULE_INFO(livepatch, \"Y\")`."),
    (MODULE_ALREADY_LINKED, "`klp-extract link` is called a second time."),
    (MODULE_LINK_STALE, "klp.symbols was edited after the module was linked."),
    (SYMBOL_UNRESOLVED, "A call to `tcp_v4_rcv` was added by hand, and no line of klp.symbols has it."),
    (VM_KERNEL_WARNING, "The kernel's log has `WARNING: CPU: 0 PID: 1 at net/core/sock.c:12`."),
    (VM_TRANSITION_STUCK, "A kernel thread sleeps in the replaced function for ever."),
    (VM_LOAD_FAILED, "`insmod` says `Invalid module format`."),
    (VM_TIMEOUT, "A trigger waits for a device that the virtual machine doesn't have."),
    (VM_TRIGGER_INVALID, "`--trigger ./program`, where the program is linked dynamically."),
    (VM_NOT_RESTORED, "The trigger prints `refused` also after the livepatch was removed."),
    (VM_RELOAD_DIFFERS, "The trigger prints `refused` before the patched module is loaded again, and `accepted` after."),
    (VM_BEHAVIOUR_UNCHANGED, "`--trigger 'sh -c true'`, which says the same in every state."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_example() {
        for known in REGISTRY {
            let count = EXAMPLES.iter().filter(|(id, _)| id == known).count();
            assert_eq!(count, 1, "{known:?} needs one row in src/finding/examples.rs");
        }
        assert!(EXAMPLES.iter().all(|(_, example)| example.ends_with('.')), "an example is a sentence");
    }
}
