/* SPDX-License-Identifier: GPL-2.0-only */
#define KEY two
struct key { long enabled; } one, two;
int use(int);
int name(int x)
{
	asm goto("1: jmp %l[yes]\n.pushsection __jump_table,\"aw\"\n.long 1b - .\n.long %l[yes] - .\n.quad %c0 - .\n.popsection"
		 : : "i"(&KEY) : : yes);
	return x;
yes:
	return use(x);
}
