/* SPDX-License-Identifier: GPL-2.0-only */
int table[2] = { 1, 2 };
int run(unsigned int i) { return i < 2 ? table[i] : 0; }
