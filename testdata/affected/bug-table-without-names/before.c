/* SPDX-License-Identifier: GPL-2.0-only */
#define FLAGS "3"
#define BUG(flags) asm volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - .\n.word " flags "\n.popsection")
int first(int x) { if (x) BUG("1"); return x; }
int name(int x) { if (x) BUG(FLAGS); return x; }
int last(int x) { if (x) BUG("1"); return x; }
