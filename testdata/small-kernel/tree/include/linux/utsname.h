/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_UTSNAME_H
#define _LINUX_UTSNAME_H
struct new_utsname {
	char release[65];
	char version[65];
};

struct new_utsname *init_utsname(void);
#endif
