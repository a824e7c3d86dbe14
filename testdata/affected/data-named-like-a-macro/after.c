/* SPDX-License-Identifier: GPL-2.0-only */
struct descriptor { int id; };
const struct descriptor descriptors[] = { { 1 }, { 3 } };
