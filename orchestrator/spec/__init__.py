"""YAML to a frozen, validated model: the spec, the inventory, secrets' sources and templates.

Owns reading what the user wrote, with a position (file:line:column and key path) for every error.
It must not know hosts' state, SSH or Docker. Import from the modules: this package file stays
empty so that each command pays only for what it uses.
"""
