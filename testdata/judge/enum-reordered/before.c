/* SPDX-License-Identifier: GPL-2.0-only */
enum state { ST_OFF, ST_ON };
int get(enum state s) { return s == ST_ON; }
