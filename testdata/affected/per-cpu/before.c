/* SPDX-License-Identifier: GPL-2.0-only */
#define WHICH one
__attribute__((section(".data..percpu"))) static int one = 1, two = 2;
int name(int x) { int y; asm("movl %%gs:%P1, %0" : "=r"(y) : "i"(&WHICH)); return x + y; }
int other(int x) { int y; asm("movl %%gs:%P1, %0" : "=r"(y) : "i"(&two)); return x + y; }
