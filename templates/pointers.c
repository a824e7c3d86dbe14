{%- if access.switches -%}
/*
 * The kernel can't patch the places of all static keys and calls in this module's code: so the code asks them, at the
 * cost of a load and a branch.
 */
{%- for stand_in in access.switches %}
{{ stand_in }}
{%- endfor %}
{% endif %}
{%- if access.this_module %}
{%- if access.is_vmlinux %}
/* What it is in vmlinux, where this code is from */
#undef THIS_MODULE
#define THIS_MODULE ((struct module *)0)
{% else %}
/* What THIS_MODULE means in the code below: the module that is patched */
static struct module *klpe___this_module;
#define __this_module (*klpe___this_module)
{% if suffix %}
void klpe_take{{ suffix }}(struct module *mod);
{%- endif %}
{% if not suffix %}static {% endif %}void klpe_take{{ suffix }}(struct module *mod)
{
	klpe___this_module = mod;
}
{% endif %}
{%- endif %}
{%- if access.pointers %}
{%- if access.is_kallsyms %}
/* Found by name before any of the code below runs; the macros leave its text as it is. */
{%- for pointer in access.pointers %}
{%- if pointer.is_local %}
static void *{{ pointer.pointer }}_slot asm("{{ pointer.pointer }}") __used;
{%- else %}
static typeof({{ pointer.name }}) *{{ pointer.pointer }};
{%- endif %}
#define {{ pointer.name }} (*{{ pointer.pointer }})
{%- endfor %}
{% if not suffix %}
/* A symbol that isn't exported, and the pointer by which it is reached */
{%- endif %}
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

{% if suffix -%}
extern struct klpe_symbol klpe_symbols{{ suffix }}[];
{% else %}static {% endif %}struct klpe_symbol klpe_symbols{{ suffix }}[] = {
{%- for pointer in access.pointers %}
	{ "{{ pointer.patched_object }}", "{{ pointer.object }}", "{{ pointer.symbol }}", {{ pointer.sympos }},
	  (void **)&{{ pointer.pointer }}{% if pointer.is_local %}_slot{% endif %} },
{%- endfor %}
	{ }
};
{% else %}
/*
 * Of the module that is patched, which may be removed and loaded again while the livepatch stays. This kernel refuses
 * that where code has klp relocations, for it never clears them (arch/x86/kernel/module.c, __apply_relocate_add()). So only
 * these pointers have some: set before new code runs, and cleared when none runs any more. The macros leave the text
 * below as it is.
 */
{%- for pointer in access.pointers %}
{%- if pointer.is_local %}
extern char {{ pointer.name }}[];
static void *{{ pointer.pointer }}_slot asm("{{ pointer.pointer }}") __used = {{ pointer.name }};
{%- else %}
static typeof({{ pointer.name }}) *{{ pointer.pointer }} = &{{ pointer.name }};
{%- endif %}
#define {{ pointer.name }} (*{{ pointer.pointer }})
{%- endfor %}
{% if suffix %}
void klpe_forget{{ suffix }}(void);
{%- endif %}
{% if not suffix %}static {% endif %}void klpe_forget{{ suffix }}(void)
{
{%- for pointer in access.pointers %}
	WRITE_ONCE({{ pointer.pointer }}{% if pointer.is_local %}_slot{% endif %}, NULL);
{%- endfor %}
}
{% endif %}
{%- endif %}
{%- if access.events %}
/*
 * The kernel can't switch these events in this module's code, nor call their probes from it directly: so the code asks
 * whether they are on, and calls what runs their probes.
 */
{%- for event in access.events %}
{{ event.text }}
#define {{ event.name }} {{ event.new_name }}
{% endfor %}
{%- endif %}
