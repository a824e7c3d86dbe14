/* SPDX-License-Identifier: GPL-2.0-only */
/* Read anew for each list that is made of it. */
CODE(first, 11)
CODE(second, 12)
#undef CODE
