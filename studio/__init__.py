"""The `pingvas` command: the whole platform on one machine, and a client for any deployment of it.

`studio.stack` starts and watches the processes of the local stack; `studio.cli` is the command line; `studio.demo` is
the guided tour. Nothing here is needed in a cluster, where other machinery starts the same services.
"""
