/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int check(int a) { if (use(a)) return -12; if (a > 7) return -22; return 0; }
int user(int a) { if (check(a)) return use(2); return use(3); }
