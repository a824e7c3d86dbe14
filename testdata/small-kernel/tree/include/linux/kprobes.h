/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_KPROBES_H
#define _LINUX_KPROBES_H
struct kprobe {
	const char *symbol_name;
	void *addr;
};

int register_kprobe(struct kprobe *probe);
void unregister_kprobe(struct kprobe *probe);
#endif
