/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SERIAL_H
#define _LINUX_SERIAL_H
static inline int serial_next(void)
{
	static int serial;

	return ++serial;
}
#endif
