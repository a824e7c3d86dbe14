/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_JUMP_LABEL_H
#define _LINUX_JUMP_LABEL_H
#include <linux/types.h>
struct static_key {
	int enabled;
};

struct static_key_false {
	struct static_key key;
};

#define DEFINE_STATIC_KEY_FALSE(name) struct static_key_false name = { }
#define DEFINE_STATIC_KEY_FALSE_RO(name) struct static_key_false name __section(".data..ro_after_init") = { }
#define DECLARE_STATIC_KEY_FALSE(name) extern struct static_key_false name
#define static_key_enabled(x) ((x)->key.enabled > 0)

static __always_inline bool arch_static_branch(struct static_key *const key)
{
	asm goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\n\t"
		 ".pushsection __jump_table, \"aw\"\n\t"
		 ".balign 8\n\t"
		 ".long 1b - .\n\t"
		 ".long %l[l_yes] - .\n\t"
		 ".quad %c0 - .\n\t"
		 ".popsection\n\t"
		 : : "i" (key) : : l_yes);
	return false;
l_yes:
	return true;
}

/* As the kernel's, it has its argument several times. */
#define static_branch_unlikely(x)						\
	unlikely(sizeof(*(x)) == sizeof(struct static_key_false) && arch_static_branch(&(x)->key))
#endif
