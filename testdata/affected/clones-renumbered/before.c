/* SPDX-License-Identifier: GPL-2.0-only */
int use(int, int);
static __attribute__((noinline)) int both(int x, int mode)
{
	if (mode == 1)
		return use(x, 5) + use(x, 6);
	if (mode == 2)
		return use(x, 7) * use(x, 9) * use(x + 1, 3);
	return use(x, mode) - use(x, mode + 1);
}

int one(int x) { return both(x, 1) + both(x + 1, 1); }
int two(int x) { return both(x, 2) + both(x + 2, 2); }
