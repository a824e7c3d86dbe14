/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TALK_H
#define _LINUX_TALK_H
#include <linux/printk.h>
/* What users define before decides. */
#ifdef TALK_DEBUG
#define talk(text) _printk("debug: " text)
#else
#define talk(text) 0
#endif
#ifdef TALK_LATE
#define talk_level 2
#else
#define talk_level 1
#endif
#ifdef TALK_ABOUT
#define talk_about TALK_ABOUT
#else
#define talk_about 0
#endif

/* What a pragma of a public header does, it does in the module too. */
#pragma GCC visibility push(default)
int talk_more(int level);
#pragma GCC visibility pop
#endif
