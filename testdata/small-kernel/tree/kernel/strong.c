// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>

void weak_stay(int depth)
{
	barrier();
}
