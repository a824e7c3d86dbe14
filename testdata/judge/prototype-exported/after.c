/* SPDX-License-Identifier: GPL-2.0-only */
int hash(int a, unsigned int v) { return a * 3 + v; }
int user(int a) { return hash(a, 1) + 1; }
