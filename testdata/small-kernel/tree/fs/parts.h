/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _FS_PARTS_H
#define _FS_PARTS_H
#include <linux/types.h>

/* The public header of the parts has these in its text. */
typedef u32 part_size_t;
enum { PART_MOST = 4 };
struct part_bag;
#endif
