/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PLAIN_H
#define _LINUX_PLAIN_H
/* Has a name that is a macro where linux/parts.h is included before. */
static inline int plain_sum(int part_plain, int more)
{
	return part_plain + more;
}
#endif
