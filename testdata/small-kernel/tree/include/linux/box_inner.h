/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BOX_H
#error "include linux/box.h"
#endif

static inline int box_on_shelf(const struct box *box, int shelf)
{
	return box->shelf == shelf;
}

static inline int box_shelves(int rooms)
{
	return rooms / 4;
}
