/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MODULE_H
#define _LINUX_MODULE_H
#include <linux/kernel.h>
#include <linux/init.h>
#include <linux/string.h>
#include <linux/export.h>
struct module {
	char name[56];
	const char *srcversion;
};

#define __MODULE_INFO(tag, name, info)						\
	static const char name[] __used __section(".modinfo") __aligned(1) = #tag "=" info
#define ___UNIQUE(a, b) a##b
#define __UNIQUE(a, b) ___UNIQUE(a, b)
#define MODULE_INFO(tag, info) __MODULE_INFO(tag, __UNIQUE(__modinfo_##tag, __COUNTER__), info)
#define MODULE_LICENSE(text) MODULE_INFO(license, text)
#define MODULE_DESCRIPTION(text) MODULE_INFO(description, text)
#define MODULE_IMPORT_NS(ns) MODULE_INFO(import_ns, #ns)

#ifdef MODULE
#define module_init(function) int init_module(void) __attribute__((__alias__(#function)));
#define module_exit(function) void cleanup_module(void) __attribute__((__alias__(#function)));
#else
#define module_init(function) static int (*__initcall_##function)(void) __used __section(".initcall") = function;
#define module_exit(function)
#endif
#endif
