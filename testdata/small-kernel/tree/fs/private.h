/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _FS_PRIVATE_H
#define _FS_PRIVATE_H
#include <linux/box.h>

struct box_shelf {
	struct list_head boxes;
	int count;
};

/* Makes a function that shows a member. */
#define BOX_SHOW(member)							\
static noinline int box_show_##member(const struct box *box)			\
{										\
	return box_valid(box) ? (int)box->member : -ENOENT;			\
}

/* Two at once, the second one inline. */
#define BOX_PAIR(member)							\
static noinline int box_first_##member(const struct box *box)			\
{										\
	return box_valid(box) ? (int)box->member : 0;				\
}										\
static inline __attribute__((__unused__)) int					\
box_second_##member(const struct box *box)					\
{										\
	return box_first_##member(box) - 1;					\
}

static inline int box_valid(const struct box *box)
{
	return box && box->name[0];
}
#endif
