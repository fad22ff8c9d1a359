"""ocbuild: turns a tree of Dockerfile directories into published, deployable releases.

Code flows one way::

    build.toml -> config -> tree (discover, dockerfile) -> graph -> select -> plan
               -> execute (engines) -> publish (registry) -> report
"""

__version__ = "0.1.0"
