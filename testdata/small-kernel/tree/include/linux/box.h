/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BOX_H
#define _LINUX_BOX_H
#include <uapi/linux/box.h>
#include <linux/types.h>
struct box {
	struct list_head list;
	char name[BOX_NAME_MAX];
	enum box_state state;
	u32 weight;
	int shelf;
};

int box_open(struct box *box);
u32 box_weigh(const struct box *box);

#include <linux/box_inner.h>
#endif
