/* SPDX-License-Identifier: GPL-2.0-only */
struct dev;
struct ops { int (*open)(struct dev *, int); void (*close)(struct dev *); };
struct dev { const struct ops *ops; };
int run(struct dev *d) { return d->ops->open(d, 1); }
