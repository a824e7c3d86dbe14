/* SPDX-License-Identifier: GPL-2.0-only */
enum state { ST_OFF, ST_ON, ST_NEW, __ST_MAX };
int get(enum state s) { switch (s) { case ST_OFF: return 4; case ST_ON: return 9; default: return 1; } }
int set(enum state *s) { *s = ST_ON; return 0; }
