/* SPDX-License-Identifier: GPL-2.0-only */
int get(int *o) { return *o; }
