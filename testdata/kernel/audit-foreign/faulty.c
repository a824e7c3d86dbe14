// SPDX-License-Identifier: GPL-2.0-only
/*
 * A livepatch as people write it by hand, with the faults that -DFAULT_... switches on.
 */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>
#include <linux/cred.h>
#include <linux/fs.h>

#ifdef FAULT_unexported
extern const char linux_proc_banner[];
#define BANNER linux_proc_banner
#else
#define BANNER "a banner\n"
#endif

#ifdef FAULT_writable
static int shown;
#endif

#ifdef FAULT_parameter
static int level;
module_param(level, int, 0444);
#elif defined(FAULT_namespace)
extern int crypto_cipher_setkey(void);
#define level crypto_cipher_setkey()
#else
#define level 0
#endif

#ifdef FAULT_depends
extern int vsock_addr_validate(const void *addr);
#endif

static noinline int version_text(struct seq_file *m)
{
	seq_printf(m, BANNER);
	return level;
}

static int new_version_proc_show(struct seq_file *m, void *v)
{
#ifdef FAULT_writable
	shown++;
	seq_printf(m, "%d\n", shown);
#endif
#ifdef FAULT_depends
	if (vsock_addr_validate(m))
		return -EINVAL;
#endif
#ifdef FAULT_cold
	if (WARN_ON(!m->private))
		pr_err("no private data for %pS\n", v);
#endif
#ifdef FAULT_tail
	return version_text(m);
#else
	return version_text(m) + 1;
#endif
}

static struct klp_func funcs[] = {
	{
#if defined(FAULT_missing)
		.old_name = "version_proc_shown",
#elif defined(FAULT_ambiguous)
		.old_name = "state_show",
#elif defined(FAULT_no_site)
		.old_name = "clear_page_rep",
#elif defined(FAULT_data)
		.old_name = "linux_banner",
#else
		.old_name = "version_proc_show",
#endif
		.new_func = new_version_proc_show,
	}, { }
};

static struct klp_object objs[] = {
	{
#ifdef FAULT_no_module
		.name = "no_such_module",
#endif
		.funcs = funcs,
	}, { }
};

#ifdef FAULT_tables
static struct klp_patch patch;
#else
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };
#endif

static int __init faulty_init(void)
{
#ifdef FAULT_tables
	patch.mod = THIS_MODULE;
	patch.objs = objs;
#endif
	return klp_enable_patch(&patch);
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_LICENSE("GPL");
#ifdef FAULT_namespace
MODULE_IMPORT_NS(CRYPTO_INTERNAL);
#endif
#ifndef FAULT_no_livepatch
MODULE_INFO(livepatch, "Y");
#endif
