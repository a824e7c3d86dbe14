/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int api(int x) { return use(x + 1); }
