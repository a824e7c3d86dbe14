/* SPDX-License-Identifier: GPL-2.0-only */
struct fresh { int a; long b; };
int get(int *o) { struct fresh f = { *o, 1 }; return f.a; }
