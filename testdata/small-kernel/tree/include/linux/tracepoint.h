/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TRACEPOINT_H
#define _LINUX_TRACEPOINT_H
#include <linux/jump_label.h>
#include <linux/smp.h>
struct tracepoint {
	struct static_key_false key;
	void *probe;
};

#define TP_PROTO(args...) args
#define TP_ARGS(args...) args

/* As the kernel's, with one probe: the key, the condition, the call. */
#define DECLARE_TRACE(name, proto, args)					\
	extern struct tracepoint __tracepoint_##name;				\
	extern int __traceiter_##name(void *__data, proto);			\
	static inline void trace_##name(proto)					\
	{									\
		if (static_branch_unlikely(&__tracepoint_##name.key))		\
			do {							\
				void *__data = NULL;				\
				if (!(cpu_online(raw_smp_processor_id())))	\
					return;					\
				preempt_disable_notrace();			\
				((typeof(__traceiter_##name) *)			\
				 __tracepoint_##name.probe)(__data, args);	\
				preempt_enable_notrace();			\
			} while (0);						\
	}									\
	static inline bool trace_##name##_enabled(void)				\
	{									\
		return static_branch_unlikely(&__tracepoint_##name.key);	\
	}

#define DEFINE_TRACE(name) struct tracepoint __tracepoint_##name = { }
#endif
