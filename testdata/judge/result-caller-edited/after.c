/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int check(int a) { if (use(a)) return 0; if (a < 0) return -22; return 1; }
int user(int a) { if (check(a) > 0) return use(2); return use(3); }
