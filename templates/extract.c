/* Copied from {{ source }}, with what it needs. */
{% for block in blocks %}
{{ block }}
{%- endfor %}
