/* SPDX-License-Identifier: GPL-2.0-only */
int _rs_limit = 5;
int name(void) { return _rs_limit; }
