/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_LEDGER_H
#define _LINUX_LEDGER_H
#include <linux/stamp.h>
struct ledger {
	struct stamp begun;
};
#endif
