/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * {{ name }}: data that the fix adds to objects of the running kernel
 * (Documentation/livepatch/shadow-vars.rst). To be edited: what it is, how it begins, who holds it.
 */
#ifndef KLP_SHADOW_H
#define KLP_SHADOW_H

#include <linux/livepatch.h>
#include <linux/slab.h>

/* Tells it from other shadow variables of the same object; of this livepatch's name. */
#define KLP_SHADOW_ID {{ id }}UL

struct klp_shadow_data {
	unsigned long value;
};

/* Called once for each object, under klp_shadow_lock: must not sleep. */
static inline int klp_shadow_ctor(void *obj, void *shadow_data, void *ctor_data)
{
	struct klp_shadow_data *data = shadow_data;

	data->value = 0;
	return 0;
}

static inline void klp_shadow_dtor(void *obj, void *shadow_data)
{
}

/* The object's data, made at the first call; NULL where there is no memory. */
static inline struct klp_shadow_data *klp_shadow_of(void *obj, gfp_t gfp)
{
	return klp_shadow_get_or_alloc(obj, KLP_SHADOW_ID, sizeof(struct klp_shadow_data), gfp,
				       klp_shadow_ctor, NULL);
}

/* Where the object is freed: the function that does it has to be replaced too. */
static inline void klp_shadow_drop(void *obj)
{
	klp_shadow_free(obj, KLP_SHADOW_ID, klp_shadow_dtor);
}

#endif
