/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * {{ name }}: the new functions, of which {{ name }}-main.c only needs the addresses
 */
{% for function in functions %}
void {{ function }}(void);
{%- endfor %}
