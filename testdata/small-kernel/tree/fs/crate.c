// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/early.h>
#include "private.h"

BOX_SHOW(shelf)
BOX_PAIR(weight)

int crate_show(const struct box *box)
{
	return early_limit(box_show_shelf(box)) + box_second_weight(box);
}
