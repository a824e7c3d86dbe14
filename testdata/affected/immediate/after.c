/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
enum { LIMIT = 513 };
int first(int x) { return x > LIMIT ? -1 : use(x); }
int second(int x) { return use(x) + 512; }
