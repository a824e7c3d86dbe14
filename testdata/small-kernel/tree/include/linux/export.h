/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_EXPORT_H
#define _LINUX_EXPORT_H
struct kernel_symbol {
	int value_offset;
	int name_offset;
	int namespace_offset;
};

/* As the kernel's of before 6.4: an entry of a table, whose name tells the symbol's. */
#define ___EXPORT_SYMBOL(sym, sec, ns)						\
	extern typeof(sym) sym;							\
	extern const char __kstrtab_##sym[];					\
	extern const char __kstrtabns_##sym[];					\
	asm("	.section \"__ksymtab_strings\",\"aMS\",%progbits,1	\n"	\
	    "__kstrtab_" #sym ":					\n"	\
	    "	.asciz \"" #sym "\"					\n"	\
	    "__kstrtabns_" #sym ":					\n"	\
	    "	.asciz \"" ns "\"					\n"	\
	    "	.previous						\n");	\
	asm("	.section \"___ksymtab" sec "+" #sym "\", \"a\"		\n"	\
	    "	.balign 4						\n"	\
	    "__ksymtab_" #sym ":					\n"	\
	    "	.long " #sym "- .					\n"	\
	    "	.long __kstrtab_" #sym "- .				\n"	\
	    "	.long __kstrtabns_" #sym "- .				\n"	\
	    "	.previous						\n")
#define EXPORT_SYMBOL(sym)		___EXPORT_SYMBOL(sym, "", "")
#define EXPORT_SYMBOL_GPL(sym)		___EXPORT_SYMBOL(sym, "_gpl", "")
#define EXPORT_SYMBOL_NS_GPL(sym, ns)	___EXPORT_SYMBOL(sym, "_gpl", #ns)

#ifdef MODULE
extern struct module __this_module;
#define THIS_MODULE (&__this_module)
#else
#define THIS_MODULE ((struct module *)0)
#endif
#endif
