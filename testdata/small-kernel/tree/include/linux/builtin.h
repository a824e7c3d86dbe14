/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BUILTIN_H
#define _LINUX_BUILTIN_H
#ifndef MODULE
struct builtin {
	int count;
};
#endif

static inline int builtin_count(const struct builtin *builtin)
{
	return builtin->count;
}
#endif
