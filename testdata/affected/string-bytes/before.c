/* SPDX-License-Identifier: GPL-2.0-only */
void use(const char *);
int name(int x) { use("\x80 per cent"); return x; }
