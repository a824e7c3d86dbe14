/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_STAMP_H
#define _LINUX_STAMP_H
struct stamp {
	long seconds;
};
#endif
