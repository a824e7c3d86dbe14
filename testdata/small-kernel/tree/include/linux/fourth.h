/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_FOURTH_H
#define _LINUX_FOURTH_H
/* Users have included linux/first.h. */
static inline int fourth_count(const struct first *first)
{
	return first->count;
}

static inline int fourth_of(int by)
{
	return by / 4;
}
#endif
