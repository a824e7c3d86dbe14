/* SPDX-License-Identifier: GPL-2.0-only */
#define FIXUP "2b"
int name(int x)
{
	asm volatile("1: movl (%0), %0\n2: nop\n3: nop; nop\n"
		     ".pushsection __ex_table,\"a\"\n.long 1b - .\n.long " FIXUP " - .\n.long 7\n.popsection" : "+r"(x));
	return x;
}
int other(int x) { asm volatile("nop"); return x; }
