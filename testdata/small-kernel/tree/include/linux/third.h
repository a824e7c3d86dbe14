/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_THIRD_H
#define _LINUX_THIRD_H
/* Users have included linux/first.h and linux/second.h. */
static inline int third_count(const struct second *second)
{
	return second->first.count;
}

static inline int third_of(int by)
{
	return by / 3;
}
#endif
