/* SPDX-License-Identifier: GPL-2.0-only */
struct pair { unsigned char v[29]; };
void use(struct pair);
int name(void)
{
	use((struct pair){ { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29 } });
	return 0;
}
