// SPDX-License-Identifier: GPL-2.0-only
/*
{%- for line in header %}
 *{% if line %} {{ line }}{% endif %}
{%- endfor %}
 */
{% for block in blocks %}
{{ block }}
{%- endfor %}
{%- for object in objects %}
{%- if object.srcversion %}
/* Another build of {{ object.name }} may have other code: it is not let in. */
static int {{ object.symbol }}_pre_patch(struct klp_object *obj)
{
	const char *srcversion = obj->mod->srcversion;

	if (srcversion && !strcmp(srcversion, "{{ object.srcversion }}"))
		return 0;

	pr_err("%s: made for another build of {{ object.name }}\n", THIS_MODULE->name);
	return -ENODEV;
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
{%- if object.srcversion %}
		.callbacks.pre_patch = {{ object.symbol }}_pre_patch,
{%- endif %}
	},
{%- endfor %}
	{ }
};

static struct klp_patch livepatch = {
	.mod = THIS_MODULE,
	.objs = livepatch_objects,
};

static int __init livepatch_init(void)
{
	static const char kernel_version[] __initconst =
		"{{ kernel_version }}";

	/* vermagic doesn't tell two builds of one release apart; this does. */
	if (strcmp(init_utsname()->version, kernel_version)) {
		pr_err("%s: made for another build of this kernel: %s\n",
		       THIS_MODULE->name, kernel_version);
		return -ENODEV;
	}

	return klp_enable_patch(&livepatch);
}

static void __exit livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_DESCRIPTION("{{ description }}");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
{%- for namespace in namespaces %}
MODULE_IMPORT_NS({{ namespace }});
{%- endfor %}
