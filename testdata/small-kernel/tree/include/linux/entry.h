/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_ENTRY_H
#define _LINUX_ENTRY_H
#include <linux/stamp.h>
struct entry {
	struct stamp at;
};

static inline long entry_seconds(const struct entry *entry)
{
	return entry->at.seconds;
}
#endif
