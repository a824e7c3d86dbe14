/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BOX_OPS_H
#define _LINUX_BOX_OPS_H
/* Users have included linux/box.h and linux/units.h. */
static inline int box_is_open(const struct box *box)
{
	return box->state == BOX_OPEN;
}

static inline int box_grams(const struct box *box, const struct unit_table *table)
{
	return box->weight * table->gram;
}

#ifndef MODULE
/* For what is built in. */
static inline void box_seal(struct box *box)
{
	box->state = BOX_CLOSED;
}
#endif
#endif
