/* SPDX-License-Identifier: GPL-2.0-only */
#define REPLACEMENT "two"
static __attribute__((noinline, noclone)) int grows(int x) { asm volatile("nop"); return x; }
static __attribute__((noinline, noclone)) int one(int x) { asm volatile("# one"); return x; }
static __attribute__((noinline, noclone, used)) int two(int x) { asm volatile("# two" : "+r"(x)); return x + 1; }
int name(int x)
{
	asm volatile("661: call one\n662:\n"
		     ".pushsection .altinstructions,\"a\"\n"
		     ".long 661b - .\n.long 6641f - .\n.word 3\n.byte 5\n.byte 5\n"
		     ".popsection\n"
		     ".pushsection .altinstr_replacement,\"ax\"\n"
		     "6641: call " REPLACEMENT "\n6651:\n"
		     ".popsection" : "+D"(x) : "i"(one), "i"(two) : "rax", "memory");
	return x;
}
int first(int x) { return grows(x) + one(x); }
