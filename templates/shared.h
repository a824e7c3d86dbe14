/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * {{ name }}: the new functions, of which {{ name }}-main.c only needs the addresses
 */
{% for function in functions %}
void {{ function }}(void);
{%- endfor %}
{%- for suffix in takers %}
void klpe_take{{ suffix }}(struct module *mod);
{%- endfor %}
{%- for suffix in forgetters %}
void klpe_forget{{ suffix }}(void);
{%- endfor %}
{%- if finders %}

/* A symbol that isn't exported, and the pointer by which it is reached */
struct klpe_symbol {
	/* Whose loading tells where it is */
	const char *patched;
	const char *object;
	const char *name;
	/* Which one of that name, from 1; 0 where there is only one */
	unsigned long sympos;
	void **pointer;
	unsigned long seen;
};
{% for suffix in finders %}
extern struct klpe_symbol klpe_symbols{{ suffix }}[];
{%- endfor %}
{%- endif %}
