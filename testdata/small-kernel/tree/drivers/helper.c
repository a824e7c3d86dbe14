// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>

int helper_level = 3;
EXPORT_SYMBOL_GPL(helper_level);

int helper_turn(int speed)
{
	return speed + helper_level;
}
EXPORT_SYMBOL_GPL(helper_turn);

MODULE_LICENSE("GPL");
