/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int first(int x) { static int count; { static int seen; if (seen++) use(3); } return use(x) + count++; }
int second(int x) { static int count; return use(x) - count++; }
