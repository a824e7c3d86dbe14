/* SPDX-License-Identifier: GPL-2.0-only */
/* Read anew for each list that is made of it. */
UNIT(gram, 1)
UNIT(kilo, 1000)
#undef UNIT
