/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BOOK_H
#define _LINUX_BOOK_H
#include <linux/entry.h>
struct book {
	struct entry *entries;
};
#endif
