/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
#define WARN() asm volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - 2b\n.long %c0 - 2b\n" \
	".word %c1\n.word 0\n.popsection" : : "i" ("file.c"), "i" (__LINE__))
int first(int x)
{
	if (x < 0)
		return -1;
	return use(x) + 1;
}
int second(int x)
{
	if (x)
		WARN();
	return use(x) + 3;
}
