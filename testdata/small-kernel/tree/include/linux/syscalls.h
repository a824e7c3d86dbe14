/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SYSCALLS_H
#define _LINUX_SYSCALLS_H
struct pt_regs {
	unsigned long di, si;
};

struct syscall_metadata {
	const char *name;
	int args;
};

#define SYSCALL_METADATA(sname, nb, ...)					\
	static struct syscall_metadata __used __syscall_meta_##sname = { "sys" #sname, nb }

#define __X64_SYS_STUB0(name)							\
	long __x64_sys_##name(const struct pt_regs *regs)			\
		__attribute__((alias("__do_sys_" #name)));

#define SYSCALL_DEFINE0(sname)							\
	SYSCALL_METADATA(_##sname, 0);						\
	static long __do_sys_##sname(const struct pt_regs *__unused);		\
	__X64_SYS_STUB0(sname)							\
	static long __do_sys_##sname(const struct pt_regs *__unused)

#define __SYS_STUBx(abi, name, ...)						\
	long __##abi##_##name(const struct pt_regs *regs);			\
	long __##abi##_##name(const struct pt_regs *regs)			\
	{									\
		return __se_##name(__VA_ARGS__);				\
	}

#define SYSCALL_DEFINE1(name, type, arg)					\
	SYSCALL_METADATA(_##name, 1, type, arg);				\
	static long __se_sys_##name(long arg);					\
	static inline long __do_sys_##name(type arg);				\
	__SYS_STUBx(x64, sys_##name, regs->di)					\
	static long __se_sys_##name(long arg)					\
	{									\
		return __do_sys_##name((type)arg);				\
	}									\
	static inline long __do_sys_##name(type arg)
#endif
