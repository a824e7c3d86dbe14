/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_EARLY_H
#define _LINUX_EARLY_H
/* What is built in never sees linux/livepatch.h, which has another one. */
struct klp_callbacks {
	int early;
};

#define EARLY_LIMIT 7
static inline int early_limit(int value)
{
	return value < EARLY_LIMIT ? value : EARLY_LIMIT;
}
#endif
