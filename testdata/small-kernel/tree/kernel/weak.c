// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>

#define NAMED_FIRST 4
#include <linux/named.h>

void __weak weak_wait(int depth)
{
}

/* There is another one in strong.c. GCC lets this one call its equal above, and takes that in. */
void __weak weak_stay(int depth)
{
}

int weak_both(int depth)
{
	weak_wait(depth);
	weak_stay(depth);
	return depth;
}

int named_level(int level)
{
	return named_next(level) * 2;
}
