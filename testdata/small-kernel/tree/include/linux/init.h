/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_INIT_H
#define _LINUX_INIT_H
#define __init __section(".init.text")
#define __exit __section(".exit.text") __used
#define __initconst __section(".init.rodata")
#define __initdata __section(".init.data")
#define INIT_GRAIN 4
#endif
