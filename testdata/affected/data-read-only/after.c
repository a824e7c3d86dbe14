/* SPDX-License-Identifier: GPL-2.0-only */
static int limits[4] = { 8, 16, 32, 64 };
int limit(unsigned int i)
{
	if (i > 100)
		limits[0] = 1;
	return i < 4 ? limits[i] : 0;
}
