/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
void report(int) __attribute__((cold));
int api(int x) { if (x < 0) { report(x); report(x + 1); } return use(x) + 1; }
