static int (*klpe_each_symbol)(int (*fn)(void *, const char *, struct module *, unsigned long), void *data);
static int (*klpe_each_symbol_of_modules)(int (*fn)(void *, const char *, struct module *, unsigned long), void *data);

/* kallsyms_lookup_name() isn't exported since 5.7; a kprobe knows where it is. */
static int klpe_open(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *name);
	int err = register_kprobe(&probe);

	if (err)
		return err;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);

	klpe_each_symbol = (void *)lookup("kallsyms_on_each_symbol");
	klpe_each_symbol_of_modules = (void *)lookup("module_kallsyms_on_each_symbol");
	return klpe_each_symbol && klpe_each_symbol_of_modules ? 0 : -ENOENT;
}

struct klpe_search {
	struct klpe_symbol *symbols;
	const char *patched;
};

/* As klp_find_callback() in kernel/livepatch/core.c does. */
static int klpe_seen(void *data, const char *name, struct module *mod, unsigned long address)
{
	const struct klpe_search *search = data;
	struct klpe_symbol *symbol;

	for (symbol = search->symbols; symbol->name; symbol++) {
		if (strcmp(symbol->name, name) || strcmp(symbol->patched, search->patched))
			continue;
		if (strcmp(symbol->object, mod ? mod->name : "vmlinux"))
			continue;
		symbol->seen++;
		if (!symbol->sympos || symbol->seen == symbol->sympos)
			*symbol->pointer = (void *)address;
	}
	return 0;
}

/*
 * Sets the pointers that can be set once an object is there. A module's are set by the livepatch's callback and not by a
 * module notifier, for those are called after the module's functions have been replaced (prepare_coming_module() in
 * kernel/module/main.c).
 */
static int klpe_find(struct klpe_symbol *symbols, const char *patched)
{
	struct klpe_search search = { .symbols = symbols, .patched = patched };
	struct klpe_symbol *symbol;

	for (symbol = symbols; symbol->name; symbol++)
		if (!strcmp(symbol->patched, patched))
			symbol->seen = 0;

	if (strcmp(patched, "vmlinux"))
		klpe_each_symbol_of_modules(klpe_seen, &search);
	else
		klpe_each_symbol(klpe_seen, &search);

	for (symbol = symbols; symbol->name; symbol++) {
		if (strcmp(symbol->patched, patched))
			continue;
		if (symbol->sympos ? symbol->seen < symbol->sympos : symbol->seen != 1) {
			pr_err("%s: %s of %s is there %lu times\n", THIS_MODULE->name, symbol->name,
			       symbol->object, symbol->seen);
			return -ENOENT;
		}
	}
	return 0;
}
