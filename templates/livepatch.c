// SPDX-License-Identifier: GPL-2.0-only
/*
{%- for line in header %}
 *{% if line %} {{ line }}{% endif %}
{%- endfor %}
 */
{% for block in blocks %}
{{ block }}
{%- endfor %}
{%- if restores_this_module %}
/* From here on, this module */
{%- if this_module_is_none %}
#undef THIS_MODULE
#define THIS_MODULE (&__this_module)
{%- else %}
#undef __this_module
{%- endif %}
{% endif %}
{%- for object in objects %}
{%- if object.pre_patch %}
{%- if object.srcversion and not object.takers and not object.finders %}
/* Another build of {{ object.name }} may have other code: it is not let in. */
{%- else %}
/* Called before anything of {{ object.name }} runs new code, whenever it is loaded. */
{%- endif %}
static int {{ object.symbol }}_pre_patch(struct klp_object *obj)
{
{%- if object.srcversion %}
	const char *srcversion = obj->mod->srcversion;
{%- endif %}
{%- if object.finders %}
	int err;
{%- endif %}
{%- if object.srcversion or object.finders %}
{% endif %}
{%- for suffix in object.takers %}
	klpe_take{{ suffix }}(obj->mod);
{%- endfor %}
{%- if object.srcversion %}
	if (!srcversion || strcmp(srcversion, "{{ object.srcversion }}")) {
		pr_err("%s: made for another build of {{ object.name }}\n", THIS_MODULE->name);
{%- for suffix in object.forgetters %}
		klpe_forget{{ suffix }}();
{%- endfor %}
		return -ENODEV;
	}
{%- endif %}
{%- for suffix in object.finders %}
	err = klpe_find(klpe_symbols{{ suffix }}, "{{ object.name }}");
	if (err)
		return err;
{%- endfor %}
{%- if callbacks %}
	/*
	 * Before any task runs new code. An error keeps the livepatch out{% if object.name != "vmlinux" %}, or the module
	 * where that is loaded later{% endif %}.
	 */
{%- endif %}
	return 0;
}
{% endif %}
{%- if callbacks %}
static void {{ object.symbol }}_post_patch(struct klp_object *obj)
{
	/* All tasks run new code: objects that exist can be set up for it. */
}

static void {{ object.symbol }}_pre_unpatch(struct klp_object *obj)
{
	/* Before any task runs old code again: end what only new code ends. */
}
{% endif %}
{%- if object.forgetters or callbacks %}
static void {{ object.symbol }}_post_unpatch(struct klp_object *obj)
{
{%- if callbacks %}
	/* No task runs new code any more{% if object.forgetters %}; what is called below must come last{% endif %}. */
{%- endif %}
{%- for suffix in object.forgetters %}
	klpe_forget{{ suffix }}();
{%- endfor %}
}
{% endif %}
{%- endfor %}
{%- for object in objects %}
static struct klp_func {{ object.symbol }}_funcs[] = {
{%- for function in object.functions %}
	{
		.old_name = "{{ function.name }}",
		.new_func = {{ function.new_name }},
{%- if function.sympos > 0 %}
		.old_sympos = {{ function.sympos }},
{%- endif %}
	},
{%- endfor %}
	{ }
};
{% endfor %}
static struct klp_object livepatch_objects[] = {
{%- for object in objects %}
	{
{%- if object.name != "vmlinux" %}
		.name = "{{ object.name }}",
{%- else %}
		/* no name: vmlinux */
{%- endif %}
		.funcs = {{ object.symbol }}_funcs,
{%- if object.pre_patch %}
		.callbacks.pre_patch = {{ object.symbol }}_pre_patch,
{%- endif %}
{%- if callbacks %}
		.callbacks.post_patch = {{ object.symbol }}_post_patch,
		.callbacks.pre_unpatch = {{ object.symbol }}_pre_unpatch,
{%- endif %}
{%- if object.forgetters or callbacks %}
		.callbacks.post_unpatch = {{ object.symbol }}_post_unpatch,
{%- endif %}
	},
{%- endfor %}
	{ }
};

static struct klp_patch livepatch = {
	.mod = THIS_MODULE,
	.objs = livepatch_objects,
{%- if replace %}
	/* Has all that the livepatches had that it takes the place of */
	.replace = true,
{%- endif %}
};

static int __init livepatch_init(void)
{
	static const char kernel_version[] __initconst =
		"{{ kernel_version }}";
{%- if finds %}
	int err;
{%- endif %}

	/* vermagic doesn't tell two builds of one release apart; this does. */
	if (strcmp(init_utsname()->version, kernel_version)) {
		pr_err("%s: made for another build of this kernel: %s\n",
		       THIS_MODULE->name, kernel_version);
		return -ENODEV;
	}
{%- if finds %}

	err = klpe_open();
	if (err)
		return err;
{%- endif %}
{%- for suffix in finders %}
	err = klpe_find(klpe_symbols{{ suffix }}, "vmlinux");
	if (err)
		return err;
{%- endfor %}

	return klp_enable_patch(&livepatch);
}

static void __exit livepatch_exit(void)
{
{%- if shadow %}
	/* No task runs new code any more. */
	klp_shadow_free_all(KLP_SHADOW_ID, klp_shadow_dtor);
{%- endif %}
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_DESCRIPTION("{{ description }}");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
{%- for namespace in namespaces %}
MODULE_IMPORT_NS({{ namespace }});
{%- endfor %}
