/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_FIRST_H
#define _LINUX_FIRST_H
struct first {
	int count;
};
#endif
