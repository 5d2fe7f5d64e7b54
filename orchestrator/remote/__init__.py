"""Sessions with agents on hosts: SSH, local processes, the agent's bundle and how it gets there.

Owns reaching a host, trusting it, starting its agent and carrying requests to it. It must not know
what is deployed. Import from the modules: paramiko loads only when a host is reached by SSH.
"""
