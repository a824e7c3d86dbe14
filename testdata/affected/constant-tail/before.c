/* SPDX-License-Identifier: GPL-2.0-only */
struct limits { long v[40]; };
void use(struct limits *);
int name(void)
{
	struct limits l = { { 1, 2, 3, [30] = 7, [39] = 0x0500000000000000 } };
	use(&l);
	return 0;
}
int other(void)
{
	struct limits l = { { 11, 2, 3, [30] = 7, [39] = 0x0700000000000000 } };
	use(&l);
	return 0;
}
