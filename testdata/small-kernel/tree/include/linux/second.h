/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SECOND_H
#define _LINUX_SECOND_H
/* Users have included linux/first.h. */
struct second {
	struct first first;
};
#endif
