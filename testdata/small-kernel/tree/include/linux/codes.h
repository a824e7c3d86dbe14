/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_CODES_H
#define _LINUX_CODES_H
#define CODE(name, value) static inline int code_##name(void) { return value; }
#include <linux/codes_list.h>
enum code {
#define CODE(name, value) CODE_##name = value,
#include <linux/codes_list.h>
};
#endif
