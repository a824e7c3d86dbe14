/* SPDX-License-Identifier: GPL-2.0-only */
double name(double x) { return x * 3.25; }
double other(double x) { return x * 4.5; }
