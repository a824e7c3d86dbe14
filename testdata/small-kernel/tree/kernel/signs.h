/* SPDX-License-Identifier: GPL-2.0-only */
extern int sign_left[], sign_right[];
int sign_cap(int by);
