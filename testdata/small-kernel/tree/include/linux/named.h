/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_NAMED_H
#define _LINUX_NAMED_H
#ifndef NAMED_FIRST
#error "define NAMED_FIRST before"
#endif
#define named_next(number) ((number) + NAMED_FIRST)
#endif
