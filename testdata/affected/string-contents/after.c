/* SPDX-License-Identifier: GPL-2.0-only */
int say(const char *);
#define VERSION "uno"
int first(int x) { return say(VERSION) + x; }
int second(int x) { return say("two") + x; }
