/* SPDX-License-Identifier: GPL-2.0-only */
struct big { int a, b, c[100]; };
int use(int);
static __attribute__((noinline)) int sum(struct big *p) { return use(p->a + p->b + 2); }
int api(struct big *p) { return sum(p) + p->b; }
