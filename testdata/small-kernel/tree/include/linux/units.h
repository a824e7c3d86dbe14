/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_UNITS_H
#define _LINUX_UNITS_H
enum unit {
#define UNIT(name, value) UNIT_##name,
#include <linux/units_list.h>
	UNIT_COUNT,
};

extern int unit_steps[];

struct unit_table {
#define UNIT(name, value) int name;
#include <linux/units_list.h>
};
#endif
