// SPDX-License-Identifier: GPL-2.0-only
/*
 * {{ module }}: what it needs of {{ source }}
 */
{% for block in blocks %}
{{ block }}
{%- endfor %}
