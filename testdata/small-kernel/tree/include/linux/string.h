/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_STRING_H
#define _LINUX_STRING_H
#include <linux/types.h>
int strcmp(const char *a, const char *b);
void *memset(void *to, int byte, size_t size);
#endif
