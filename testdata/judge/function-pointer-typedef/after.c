/* SPDX-License-Identifier: GPL-2.0-only */
typedef int (*callback_t)(long);
int run(callback_t f) { return f(1); }
