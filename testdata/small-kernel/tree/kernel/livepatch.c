// SPDX-License-Identifier: GPL-2.0-only
/* What modules need of a kernel. Nothing of it runs. */
#include <linux/livepatch.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>

static noinline int level(int depth)
{
	barrier();
	return depth + 1;
}

int klp_enable_patch(struct klp_patch *patch)
{
	return patch->objs ? level(patch->replace) - 1 : -EINVAL;
}
EXPORT_SYMBOL_GPL(klp_enable_patch);

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a - *b;
}
EXPORT_SYMBOL(strcmp);

int register_kprobe(struct kprobe *probe)
{
	return probe->symbol_name ? 0 : -EINVAL;
}
EXPORT_SYMBOL_GPL(register_kprobe);

void unregister_kprobe(struct kprobe *probe)
{
	probe->addr = NULL;
}
EXPORT_SYMBOL_GPL(unregister_kprobe);
