/* SPDX-License-Identifier: GPL-2.0-only */
typedef int (*callback_t)(int);
int run(callback_t f) { return f(1); }
